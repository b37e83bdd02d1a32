"""The page of what is running now, and the count in the navigation."""

import re
from decimal import Decimal

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nyxcore import active
from nyxcore.dbtime import later
from nyxcore.states import Status
from tests.factories import make_user, make_workflow, step_of
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import GATED, completed, cut, failed, streaming, url, waiting
from workflows import active as source
from workflows import engine, services
from workflows.models import StepAttempt, Workflow
from workflows.work import Result

pytestmark = pytest.mark.django_db
ACTIVE, COUNT = "/active/", "/active/count/"


def runs(client):
    return list(client.get(ACTIVE).context["overview"].runs)


def shown_count(response):
    return re.search(r'id="active-count"[^>]*>([^<]*)<', response.content.decode())[1].strip()


def test_shows_what_runs_waits_or_is_paused_and_nothing_else(ada, user):
    make_workflow(owner=user)
    completed(owner=user)
    failed(owner=user)
    running = streaming(owner=user).workflow
    paused = cut(owner=user).workflow
    assert [run.dom_id for run in runs(ada)] == [paused.dom_id, running.dom_id]


def test_what_needs_somebody_comes_first_then_the_newest(ada, user):
    gate = waiting().workflow
    older = make_workflow(owner=user, start=True)
    newer = make_workflow(owner=user, start=True)
    assert [run.dom_id for run in runs(ada)] == [gate.dom_id, newer.dom_id, older.dom_id]


def test_a_waiting_step_beside_running_ones_needs_somebody(ada, user):
    steps = [{"key": "draft"}, GATED[1], {"key": "aside", "needs": ["draft"]}]
    workflow = make_workflow(steps, owner=user, start=True)
    finish(claim(), "The draft.")
    aside = claim("other:1")
    if aside.step.key == "check":
        aside, gate = claim("other:1"), aside
    else:
        gate = claim()
    result = Result(Status.WAITING, "waiting", text="The draft.", look_again=60.0)
    engine.finish(gate, result, gate.worker, claim=False)
    workflow.refresh_from_db()
    (run,) = runs(ada)
    assert (workflow.status, run.needs_somebody) == ("running", True)
    assert [(line.word, line.needs_somebody) for line in run.doing] == [
        ("Needs you", True),
        ("Running", False),
    ]


def test_a_running_step_names_worker_model_and_since_when(ada, user):
    step = streaming(owner=user)
    (run,) = runs(ada)
    (line,) = run.doing
    attempt = step.attempts.get()
    assert (line.word, line.worker, line.since) == ("Running", "test:1", attempt.started_at)
    assert line.url == f"{step.workflow.get_absolute_url()}#{step.dom_id}"


def test_queued_and_backing_off_are_told_apart(ada, user):
    make_workflow(owner=user, start=True)
    assert runs(ada)[0].doing[0].word == "Queued"
    StepAttempt.objects.update(queued_at=later(60), due_at=later(60))
    assert runs(ada)[0].doing[0].word == "Trying again"


def test_pauses_say_why_and_what_helps(ada, user):
    workflow = make_workflow(owner=user, start=True)
    services.pause_workflow(workflow, by=user)
    assert runs(ada)[0].said == "Paused by ada."
    cut(owner=make_user())
    assert "token limit" in runs(ada)[0].said
    assert runs(ada)[0].then


def test_tokens_and_cost_so_far(ada, user):
    workflow = make_workflow([{"key": "one"}, {"key": "two"}], owner=user, start=True)
    finish(claim(), "One.")
    StepAttempt.objects.filter(step=step_of(workflow, "one")).update(cost=Decimal("0.25"))
    (run,) = runs(ada)
    assert (run.done, run.total, run.tokens, run.cost) == (1, 2, 15, Decimal("0.25"))


def test_many_open_steps_are_cut_short(ada, user):
    make_workflow([{"key": f"s{n}", "needs": []} for n in range(9)], owner=user, start=True)
    (run,) = runs(ada)
    assert (len(run.doing), run.more) == (4, 5)


def test_others_see_their_own_and_staff_all(ada, eve, client, staff, user):
    make_workflow(owner=user, start=True)
    assert len(runs(ada)) == 1
    assert runs(eve) == []
    client.force_login(staff)
    assert len(runs(client)) == 1
    assert shown_count(eve.get(url("list"))) == ""
    assert shown_count(client.get(url("list"))) == "(1)"


def test_nothing_running_teaches(ada):
    page = ada.get(ACTIVE).content
    assert b"Nothing is running" in page
    assert b"New workflow" in page


def test_signed_out_goes_to_the_login(client):
    assert client.get(ACTIVE)["Location"] == f"/accounts/login/?next={ACTIVE}"
    assert client.get(COUNT).status_code == 204
    assert client.get(f"{ACTIVE}?part=runs", headers={"HX-Request": "true", "X-Live": "1"}).status_code == 401


def test_reading_is_a_get(ada):
    assert ada.post(ACTIVE).status_code == ada.post(COUNT).status_code == 405


def test_fragment_is_204_until_something_changes(ada, user):
    workflow = make_workflow(owner=user, start=True)
    page = ada.get(ACTIVE).content.decode()
    again = re.search(r'hx-get="(/active/\?part=runs[^"]+)"', page)[1].replace("&amp;", "&")
    assert ada.get(again).status_code == 204
    claim()
    fragment = ada.get(again)
    assert fragment.status_code == 200
    assert fragment.content.strip().startswith(b'<div id="active"')
    services.cancel_workflow(workflow, by=user)
    assert b"Nothing is running" in ada.get(again).content


def test_a_running_call_alone_changes_nothing(ada, user):
    streaming(owner=user)
    again = f"{ACTIVE}?part=runs&v={ada.get(ACTIVE).context['version']}"
    StepAttempt.objects.update(
        output="Once upon a time there was more.", heartbeat_at=later(0), due_at=later(60)
    )
    assert ada.get(again).status_code == 204


def test_no_worker_is_said_only_while_something_is_queued(ada, user):
    make_workflow(owner=user, start=True)
    assert b"No worker since" in ada.get(ACTIVE).content
    claim()
    assert b"No worker since" not in ada.get(ACTIVE).content


def test_the_count_asks_for_itself(ada, user):
    make_workflow(owner=user, start=True)
    page = ada.get(url("list"))
    assert shown_count(page) == "(1)"
    assert ada.get(f"{COUNT}?shown=1").status_code == 204
    cut(owner=user)
    assert shown_count(ada.get(f"{COUNT}?shown=1")) == "(2)"


def test_the_count_is_one_query_for_a_page(ada, user):
    make_workflow(owner=user, start=True)
    with CaptureQueriesContext(connection) as queries:
        ada.get(url("list"))
    counting = [
        query for query in queries if "COUNT(*)" in query["sql"] and "'running', 'paused'" in query["sql"]
    ]
    assert len(counting) == 1


def test_number_of_queries_does_not_grow(ada, user):
    def count():
        with CaptureQueriesContext(connection) as queries:
            assert ada.get(ACTIVE).status_code == 200
        return len(queries)

    make_workflow(owner=user, start=True)
    one = count()
    for number in range(12):
        make_workflow(
            [{"key": f"s{n}", "needs": []} for n in range(3)], owner=user, start=True, name=str(number)
        )
    cut(owner=user)
    assert count() == one <= 10


def test_only_so_many_are_shown_and_the_rest_is_counted(ada, user, monkeypatch):
    monkeypatch.setattr(active, "SHOWN", 2)
    for _ in range(3):
        make_workflow([{"key": "one"}], owner=user, start=True)
    response = ada.get(ACTIVE)
    assert response.context["overview"].hidden == 1
    assert shown_count(response) == "(3)"


def test_another_app_registers_its_runs(ada, user, monkeypatch):
    other = active.ActiveRun(
        "analysis-1", "Audit", "/there/", "ada", "running", True, None, 1, 4, said="Look."
    )
    one = get_user_model().objects.filter(pk=user.pk)  # any row counts as one
    source = active.Source("analysis", "Analysis", lambda user: one, lambda user, limit: [other])
    monkeypatch.setitem(active.SOURCES, "analysis", source)
    mine = make_workflow(owner=user, start=True)
    response = ada.get(ACTIVE)
    assert [run.dom_id for run in response.context["overview"].runs] == ["analysis-1", mine.dom_id]
    assert shown_count(response) == "(2)"
    assert b"<span>Analysis</span>" in response.content


def test_hostile_names_are_text(ada, user):
    make_workflow(
        [{"key": "one", "title": "<script>alert(2)</script>"}], owner=user, start=True, name='<b onclick=x>"'
    )
    page = ada.get(ACTIVE).content
    assert b"<b onclick" not in page
    assert b"<script>alert" not in page


def test_the_navigation_marks_the_page(ada):
    assert f'href="{reverse("active")}" aria-current="page"' in ada.get(ACTIVE).content.decode()


def test_deleted_meanwhile_is_no_error(ada, user, monkeypatch):
    """Between the two reads of the page a run may go."""
    gone = make_workflow(owner=user, start=True)
    read = source._doing

    def vanishing(pks):
        found = read(pks)
        services.cancel_workflow(gone, by=user)
        services.delete_workflow(Workflow.objects.get(pk=gone.pk), by=user)
        return found

    monkeypatch.setattr(source, "_doing", vanishing)
    assert ada.get(ACTIVE).status_code == 200
