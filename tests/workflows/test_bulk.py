"""Acts on all matches of a filter: what is asked, what is done, and that it is done once whoever dies meanwhile."""

import re
import threading

import pytest
from django.db import connection, connections
from django.http import QueryDict
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nyxcore import bulk, events, pulse
from nyxcore.dbtime import ago
from nyxcore.models import AuditEntry, BulkAction
from tests.factories import make_user, make_workflow
from tests.processes.tools import eventually
from tests.workflows.engine_helpers import claim
from tests.workflows.views.helpers import completed, cut, failed, streaming, url
from workflows import bulk as workflow_bulk
from workflows import services
from workflows.models import Step, StepAttempt, Workflow

pytestmark = pytest.mark.django_db

VERBS = ["cancel", "retry", "delete"]


@pytest.fixture
def ada(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def eve(stranger):
    client = Client()
    client.force_login(stranger)
    return client


def asked(client, verb, query):
    return client.get(f"{url('bulk', verb)}?{query}")


def confirm(client, verb, query, **changes):
    """Send the form of the page that asks, as a browser would."""
    page = asked(client, verb, query).content.decode()
    form = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page)
    data = {}
    for name, value in form:
        data.setdefault(name, []).append(value)
    return client.post(url("bulk", verb), data | changes)


def begun(client, verb, query):
    response = confirm(client, verb, query)
    assert response.status_code == 302, response.content.decode()
    return BulkAction.objects.get(pk=re.findall(r"\d+", response["Location"])[0])


def counts(action):
    action.refresh_from_db()
    return action.status, action.done, action.skipped, action.failed


def statuses():
    return list(Workflow.objects.order_by("pk").values_list("status", flat=True))


# --- asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("query", ["", "sort=name&size=50", "q=", "owner=ada"])
def test_an_empty_filter_is_refused_with_a_sentence(ada, user, verb, query):
    make_workflow(owner=user, start=True)
    for response in (asked(ada, verb, query), ada.post(url("bulk", verb), {"count": "1"})):
        assert response.status_code == 422
        assert b"Narrow the list first" in response.content
    assert BulkAction.objects.count() == 0


def test_all_statuses_are_no_filter(ada, user):
    make_workflow(owner=user)
    every = "&".join(
        f"status={word}" for word in ("pending", "running", "paused", "failed", "completed", "cancelled")
    )
    assert asked(ada, "delete", every).status_code == 422


@pytest.mark.parametrize(
    "query", ["over=cheap", "since=yesterday", "status=odd&status=failed", "q=Run&over=-1"]
)
def test_a_filter_that_cannot_be_read_is_never_acted_on(ada, user, query):
    failed(owner=user, name="Run")
    assert asked(ada, "delete", query).status_code == 422
    posted = QueryDict(f"{query}&count=1").lists()
    assert ada.post(url("bulk", "delete"), dict(posted)).status_code == 422
    assert Workflow.objects.count() == 1


def test_the_page_that_asks_names_counts_and_what_is_skipped(ada, user):
    for _ in range(2):
        completed(owner=user, name="Run")
    make_workflow(owner=user, name="Run")
    make_workflow(owner=user, start=True, name="Run")
    response = asked(ada, "cancel", "q=Run")
    fates = {fate.status: (fate.count, fate.changes) for fate in response.context["plan"].fates}
    assert fates == {"running": (1, True), "completed": (2, False), "pending": (1, True)}
    assert b"Cancel: 2 workflows" in response.content
    assert b"<b>4</b> match" in response.content


def test_failed_with_a_cut_answer_is_told_apart(ada, user):
    step = cut(owner=user, name="Cut")
    services.cancel_workflow(step.workflow, by=user)
    assert asked(ada, "retry", "q=Cut").status_code == 422  # none has failed
    failed(owner=user, name="Cut too")
    page = asked(ada, "retry", "q=Cut").content
    assert b"Retry failed: 1 workflow?" in page


def test_counts_go_over_all_pages_of_the_list(ada, user):
    for _ in range(28):
        make_workflow([{"key": "one"}], owner=user, name="Run")
    assert begun(ada, "cancel", "q=Run&page=2&size=25").total == 28


def test_a_changed_count_is_asked_again(ada, user):
    make_workflow(owner=user, name="Run")
    response = confirm(ada, "cancel", "q=Run", count="2")
    assert response.status_code == 409
    assert b"2 matched when you were asked; now 1 do" in response.content
    assert b'name="count" value="1"' in response.content
    assert BulkAction.objects.count() == 0


def test_more_to_change_than_confirmed_is_asked_again(ada, user):
    completed(owner=user, name="Run")
    make_workflow(owner=user, name="Run")
    assert confirm(ada, "delete", "q=Run", changed="1").status_code == 409


@pytest.mark.parametrize("count", ["", "x", "-1", "²"])
def test_without_a_count_nothing_begins(ada, user, count):
    make_workflow(owner=user, name="Run")
    assert confirm(ada, "cancel", "q=Run", count=count).status_code == 409
    assert BulkAction.objects.count() == 0


def test_asking_twice_begins_once(ada, user):
    make_workflow(owner=user, name="Run")
    assert begun(ada, "cancel", "q=Run") == begun(ada, "cancel", "q=Run")


def test_nothing_to_do_says_so(ada, user):
    completed(owner=user, name="Run")
    assert b"No workflow matches" in asked(ada, "cancel", "q=nothing").content
    assert b"The workflow that matches cannot be cancelled now." in asked(ada, "cancel", "q=Run").content


def test_too_many_at_once_are_refused(ada, user, monkeypatch):
    monkeypatch.setattr(bulk, "AT_MOST", 1)
    make_workflow(owner=user, name="Run")
    make_workflow(owner=user, name="Run")
    assert b"at most 1 go at once" in asked(ada, "cancel", "q=Run").content


def test_asking_takes_a_fixed_number_of_queries(ada, user):
    def count():
        with CaptureQueriesContext(connection) as queries:
            asked(ada, "delete", "q=Run")
        return len(queries)

    make_workflow(owner=user, name="Run")
    few = count()
    for _ in range(9):
        make_workflow([{"key": "one"}], owner=user, name="Run")
    assert count() == few


# --- access ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", VERBS)
def test_rows_of_strangers_are_neither_counted_nor_touched(ada, user, stranger, verb):
    failed(owner=user, name="Run")
    failed(owner=stranger, name="Run")
    make_workflow(owner=stranger, name="Run")
    before = list(
        Workflow.objects.filter(owner=stranger).values_list("pk", "status", "version").order_by("pk")
    )
    query = "q=Run&status=failed" if verb != "cancel" else "q=Run"
    if verb == "cancel":
        make_workflow(owner=user, name="Run")
    action = begun(ada, verb, query)
    assert action.total == Workflow.objects.filter(owner=user).count()
    bulk.work("w")
    assert (
        list(Workflow.objects.filter(owner=stranger).values_list("pk", "status", "version").order_by("pk"))
        == before
    )


def test_staff_act_for_everybody_and_by_owner(client, staff, user, stranger):
    make_workflow(owner=user)
    make_workflow(owner=stranger)
    client.force_login(staff)
    begun(client, "cancel", "owner=eve")
    bulk.work("w")
    assert statuses() == ["pending", "cancelled"]


def test_who_is_no_longer_staff_acts_on_their_own_only(client, staff, user):
    make_workflow(owner=user, name="Run")
    client.force_login(staff)
    action = begun(client, "cancel", "q=Run")
    staff.is_staff = False
    staff.save()
    bulk.work("w")
    assert counts(action) == ("completed", 0, 1, 0)
    assert statuses() == ["pending"]


def test_a_closed_account_acts_no_more(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    user.is_active = False
    user.save()
    bulk.work("w")
    assert counts(action) == ("cancelled", 0, 0, 0)


@pytest.mark.parametrize("name", ["bulk", "bulk-abort"])
def test_a_stranger_gets_404_for_the_progress(ada, eve, user, name):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    call = eve.post if name == "bulk-abort" else eve.get
    assert call(reverse(name, args=[action.pk])).status_code == 404
    assert counts(action)[0] == "pending"


@pytest.mark.parametrize("verb", VERBS)
def test_posts_need_the_token_and_a_sign_in(user, client, verb):
    make_workflow(owner=user, name="Run")
    data = {"q": "Run", "count": "1"}
    assert client.post(url("bulk", verb), data).status_code == 302
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    assert strict.post(url("bulk", verb), data).status_code == 403
    assert BulkAction.objects.count() == 0


def test_other_methods_and_verbs_are_refused(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    assert ada.put(url("bulk", "cancel")).status_code == 405
    assert ada.get(url("bulk", "explode")).status_code == 404
    assert ada.get(reverse("bulk-abort", args=[action.pk])).status_code == 405
    assert ada.post(reverse("bulk", args=[action.pk])).status_code == 405


# --- doing ----------------------------------------------------------------------------------------------------


def test_cancel_ends_what_is_live_and_skips_the_rest(ada, user):
    done = completed(owner=user, name="Run")
    make_workflow(owner=user, start=True, name="Run")
    action = begun(ada, "cancel", "q=Run")
    bulk.work("w")
    assert counts(action) == ("completed", 1, 1, 0)
    assert action.remarks == [[done.pk, "It has ended already."]]
    assert sorted(statuses()) == ["cancelled", "completed"]


def test_retry_resumes_what_failed_and_nothing_else(ada, user):
    failed(owner=user, name="Run")
    stopped = make_workflow(owner=user, name="Run")
    services.cancel_workflow(stopped, by=user)
    action = begun(ada, "retry", "q=Run")
    bulk.work("w")
    assert counts(action) == ("completed", 1, 1, 0)
    assert statuses() == ["running", "cancelled"]
    assert claim().step.key == "one"


def test_delete_removes_with_history_and_skips_what_is_live(ada, user):
    gone = completed(owner=user, name="Run")
    live = make_workflow(owner=user, start=True, name="Run")
    action = begun(ada, "delete", "q=Run")
    bulk.work("w")
    assert counts(action) == ("completed", 1, 1, 0)
    assert list(Workflow.objects.all()) == [live]
    assert not Step.objects.filter(workflow=gone.pk).exists()


def test_each_change_is_audited_as_the_persons(ada, user):
    workflow = make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    bulk.work("w")
    entries = AuditEntry.objects.filter(model="workflow", row=workflow.pk)
    assert {(entry.actor, entry.user_id) for entry in entries} == {("person", user.pk)}
    assert "cancel" in entries.values_list("action", flat=True)
    asked_for = AuditEntry.objects.get(model="bulkaction", row=action.pk, action="bulk cancel")
    assert asked_for.detail.startswith("1 workflow: “Run”")


def test_what_matches_no_more_is_left_alone(ada, user):
    step = failed(owner=user, name="Run")
    action = begun(ada, "delete", "status=failed")
    services.skip_step(step, by=user)
    bulk.work("w")
    assert counts(action) == ("completed", 0, 1, 0)
    assert action.remarks[0][1] == "It does not match the filter any more."
    assert Workflow.objects.count() == 1


def test_what_matches_since_is_not_touched(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    later = make_workflow(owner=user, name="Run")
    bulk.work("w")
    later.refresh_from_db()
    assert (counts(action)[1], later.status) == (1, "pending")


def test_what_is_gone_meanwhile_is_skipped(ada, user):
    workflow = make_workflow(owner=user, name="Run")
    action = begun(ada, "delete", "q=Run")
    services.delete_workflow(workflow, by=user)
    bulk.work("w")
    assert counts(action) == ("completed", 0, 1, 0)


@pytest.fixture
def breaking(monkeypatch):
    """A verb that does its change and then breaks at the rows named."""
    bad = {}
    verb = workflow_bulk.SOURCE.verbs["cancel"]

    def act(pk, by, query):
        verb.act(pk, by, query)
        if pk in bad:
            raise bad[pk]

    doubled = bulk.Verb("cancel", "Cancel", "Cancelling", "cancelled", act)
    monkeypatch.setitem(workflow_bulk.SOURCE.verbs, "cancel", doubled)
    return bad


def test_one_row_that_breaks_is_undone_counted_and_the_others_go_on(ada, user, breaking):
    first, _ = (make_workflow([{"key": "one"}], owner=user, name="Run") for _ in range(2))
    action = begun(ada, "cancel", "q=Run")
    breaking[first.pk] = RuntimeError("odd")
    bulk.work("w")
    assert counts(action) == ("completed", 1, 0, 1)
    assert statuses() == ["pending", "cancelled"]
    assert "RuntimeError" in action.remarks[0][1]


class Killed(BaseException):
    """What a killed worker looks like to the code that it runs: no handler, nothing after it."""


def die_at(breaking, workflow):
    breaking[workflow.pk] = Killed()
    with pytest.raises(Killed):
        bulk.work("first")
    breaking.clear()


def test_a_killed_workers_bulk_goes_on_where_it_was(ada, user, breaking):
    all_three = [make_workflow([{"key": "one"}], owner=user, name="Run") for _ in range(3)]
    action = begun(ada, "cancel", "q=Run")
    die_at(breaking, all_three[1])
    assert statuses() == ["cancelled", "pending", "pending"]
    assert counts(action) == ("running", 1, 0, 0)
    bulk.work("second")  # the lease of the first still holds
    assert counts(action) == ("running", 1, 0, 0)
    BulkAction.objects.update(due_at=ago(1))
    bulk.work("second")
    assert counts(action) == ("completed", 3, 0, 0)
    assert AuditEntry.objects.filter(model="workflow", action="cancel").count() == 3


def test_a_worker_that_comes_back_too_late_changes_nothing(ada, user, breaking):
    two = [make_workflow([{"key": "one"}], owner=user, name="Run") for _ in range(2)]
    action = begun(ada, "cancel", "q=Run")
    die_at(breaking, two[0])
    late = bulk._held(action.pk, "first")
    BulkAction.objects.update(due_at=ago(1))
    assert bulk.claim("second") == action.pk
    assert not bulk._do(late, workflow_bulk.SOURCE.verbs["cancel"], two[0].pk, "first")
    assert statuses() == ["pending", "pending"]


def test_a_worker_that_has_to_go_lets_the_next_one_begin_at_once(ada, user):
    for _ in range(3):
        make_workflow([{"key": "one"}], owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    asked_for = iter([False, False, True])  # before claiming, before the first row, before the second
    bulk.work("first", lambda: next(asked_for, True))
    assert counts(action) == ("running", 1, 0, 0)
    bulk.work("second")
    assert counts(action) == ("completed", 3, 0, 0)


def test_abort_stops_and_keeps_what_is_done(ada, user, breaking):
    three = [make_workflow([{"key": "one"}], owner=user, name="Run") for _ in range(3)]
    action = begun(ada, "cancel", "q=Run")
    die_at(breaking, three[1])
    assert ada.post(reverse("bulk-abort", args=[action.pk])).status_code == 302
    bulk.work("first")
    assert counts(action) == ("cancelled", 1, 0, 0)
    assert statuses() == ["cancelled", "pending", "pending"]
    page = ada.get(reverse("bulk", args=[action.pk])).content
    assert b"Aborted after 1 of 3 workflows; 2 left untouched." in page


def test_abort_after_the_end_is_409(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    bulk.work("w")
    response = ada.post(reverse("bulk-abort", args=[action.pk]))
    assert response.status_code == 409
    assert b"nothing to abort" in response.content


@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_for_long_is_counted_as_failed(ada, user):
    """Real locks: another connection holds the workflow's row."""
    workflow = make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    held, let_go = threading.Event(), threading.Event()

    def hold():
        with connections["default"].cursor() as cursor:
            cursor.execute("BEGIN; SELECT 1 FROM workflows_workflow WHERE id = %s FOR UPDATE", [workflow.pk])
            held.set()
            let_go.wait(20)
            cursor.execute("ROLLBACK")
        connections["default"].close()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    try:
        bulk.work("w")
    finally:
        let_go.set()
        holder.join()
        connection.close()
    assert counts(action) == ("completed", 0, 0, 1)
    assert "held by something else" in action.remarks[0][1]
    assert statuses() == ["pending"]


def test_the_database_refuses_counts_beyond_the_total_and_odd_edges(ada, user):
    from django.db import IntegrityError, transaction

    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    for change in ("done = 2", "status = 'completed', started_at = now(), finished_at = now()"):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"UPDATE nyxcore_bulkaction SET {change} WHERE id = %s", [action.pk])


@pytest.mark.django_db(transaction=True)
def test_a_worker_process_hears_of_it_and_begins_at_once(ada, user, settings):
    settings.NYXCORE_SWEEP_EVERY = 60.0
    make_workflow(owner=user, name="Run")
    process = pulse.Process(worker="bulk:1", threads=1)
    process.start()
    try:
        heard = threading.Event()
        original = process._bulk_waits.set

        def hearing():
            original()
            heard.set()

        process._bulk_waits.set = hearing
        eventually(lambda: "bulk:1" in names_of_workers())
        action = begun(ada, "cancel", "q=Run")
        assert heard.wait(10)
        eventually(lambda: counts(action)[0] == "completed")
    finally:
        process.close()


def names_of_workers():
    from nyxcore.models import Worker

    return set(Worker.objects.values_list("name", flat=True))


# --- the page of its progress ---------------------------------------------------------------------------------


def test_progress_is_a_fragment_and_204_while_nothing_changes(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    page = ada.get(reverse("bulk", args=[action.pk])).content.decode()
    assert "0 of 1" in page
    again = re.search(r'hx-get="([^"]+part=progress[^"]+)"', page)[1].replace("&amp;", "&")
    assert ada.get(again).status_code == 204
    bulk.work("w")
    fragment = ada.get(again)
    assert fragment.status_code == 200
    assert fragment.content.strip().startswith(b'<div id="progress"')
    assert b"hx-trigger" not in fragment.content


def test_the_list_shows_what_is_under_way(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    assert f'href="{reverse("bulk", args=[action.pk])}"' in ada.get(url("list")).content.decode()
    bulk.work("w")
    assert "Cancelling" not in ada.get(url("list")).content.decode()


def test_without_a_worker_the_page_says_so(ada, user):
    make_workflow(owner=user, name="Run")
    action = begun(ada, "cancel", "q=Run")
    assert b"No worker since" in ada.get(reverse("bulk", args=[action.pk])).content


# --- deleting one ---------------------------------------------------------------------------------------------


def test_the_page_names_what_is_lost(ada, user):
    workflow = completed(owner=user, name="Plan")
    page = ada.get(url("delete", workflow.pk)).content.decode()
    assert "1 attempt with prompts and answers, 15 tokens" in page
    assert "1 step, 1 of them done" in page


def test_delete_removes_everything_but_the_audit_and_ends_streams(
    ada, user, django_capture_on_commit_callbacks
):
    workflow = completed(owner=user, name="Plan")
    events.queue.clear()
    with django_capture_on_commit_callbacks(execute=True):
        response = ada.post(url("delete", workflow.pk))
    assert response["Location"] == url("list")
    assert not Workflow.objects.exists()
    assert not StepAttempt.objects.exists()
    assert AuditEntry.objects.get(row=workflow.pk, action="delete").detail == "Plan"
    item = events.queue.get(timeout=1)
    assert (item.is_kick, item.data["channel"], item.data["user"]) == (True, workflow.channel, None)
    assert ada.get(url("detail", workflow.pk)).status_code == 404
    assert ada.post(url("delete", workflow.pk)).status_code == 404


@pytest.mark.parametrize("live", [streaming, cut])
def test_delete_is_refused_while_live(ada, user, live):
    workflow = live(owner=user).workflow
    assert b"Cancel it first" in ada.get(url("delete", workflow.pk)).content
    response = ada.post(url("delete", workflow.pk))
    assert response.status_code == 409
    assert b"Cancel it first" in response.content
    assert Workflow.objects.count() == 1


def test_delete_after_cancel_while_the_call_still_streams(user):
    """The worker has not heard of its end yet; what it writes then finds no row, and does no harm."""
    from tests.workflows.engine_helpers import answer
    from workflows import engine, requests

    workflow = make_workflow(owner=user, start=True)
    attempt = claim()
    services.cancel_workflow(workflow, by=user)
    services.delete_workflow(workflow, by=user)
    facts = requests.facts_of(answer("Too late."), "Too late.")
    assert engine.write_facts(attempt.pk, attempt.worker, facts) is False
    assert not StepAttempt.objects.exists()


def test_delete_of_a_continued_answer_and_of_a_copied_run(user):
    step = cut(owner=user)
    copy = make_workflow(owner=make_user())
    Workflow.objects.filter(pk=copy.pk).update(copied_from=step.workflow_id)
    services.retry_step(step, by=user, continue_text=True)
    services.cancel_workflow(step.workflow, by=user)
    services.delete_workflow(step.workflow, by=user)
    copy.refresh_from_db()
    assert copy.copied_from_id is None


def test_a_stranger_deletes_nothing(eve, user):
    workflow = completed(owner=user)
    assert eve.get(url("delete", workflow.pk)).status_code == 404
    assert eve.post(url("delete", workflow.pk)).status_code == 404
    assert Workflow.objects.count() == 1
