import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nyxcore.models import Worker
from nyxcore.states import Status
from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import completed, cut, failed, streaming, url, waiting
from workflows import services
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def page_of(client, workflow_pk, **query):
    response = client.get(url("detail", workflow_pk), query)
    assert response.status_code == 200
    return response.content.decode()


def open_steps(html):
    return re.findall(r'<details class="step" id="step-(\d+)"[^>]* open>', html)


def test_page_has_its_parts_in_order(ada):
    step = streaming()
    html = page_of(ada, step.workflow_id)
    marks = [
        '<main id="live"',
        'id="live-state"',
        'id="settings"',
        'id="step-nav"',
        'id="expand-all"',
        'id="collapse-all"',
        'class="step-pills"',
        'id="pipeline"',
        '<svg class="graph"',
        f'id="step-{step.pk}"',
    ]
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)
    assert f'data-channel="workflow-{step.workflow_id}"' in html


def test_each_step_has_a_pill_with_its_whole_title_and_a_link_of_its_own(ada, user):
    title = "A title that is much longer than a pill"
    workflow = make_workflow([{"key": "one", "title": title}], owner=user)
    step = step_of(workflow, "one")
    html = page_of(ada, workflow.pk)
    assert f'<a class="step-pill" href="#step-{step.pk}" data-status="pending" title="{title}"' in html
    assert f'<details class="step" id="step-{step.pk}" data-status="pending">' in html
    assert f'href="{url("step", workflow.pk, step.pk)}"' in html


def test_running_step_comes_open_with_its_text(ada):
    step = streaming("Once upon a time")
    html = page_of(ada, step.workflow_id)
    assert open_steps(html) == [str(step.pk)]
    attempt = step.attempts.get()
    assert f'<pre class="stream" data-attempt="{attempt.pk}" data-offset="16"' in html
    assert ">Once upon a time</pre>" in html


def test_offset_counts_code_points(ada):
    step = streaming("😀é")
    assert 'data-offset="2"' in page_of(ada, step.workflow_id)


@pytest.mark.parametrize("make", [cut, failed, waiting])
def test_step_that_needs_a_person_comes_open(ada, make):
    step = make()
    html = page_of(ada, step.workflow_id)
    assert open_steps(html) == [str(step.pk)]
    assert 'class="banner"' in html


def test_completed_run_shows_its_last_answer_and_no_banner(ada):
    workflow = completed("All **done**.")
    html = page_of(ada, workflow.pk)
    assert "<strong>done</strong>" in html
    assert 'class="banner"' not in html
    assert "Completed: Test" in html


def test_banner_only_when_the_run_waits_for_somebody(ada):
    step = streaming()
    assert 'class="banner"' not in page_of(ada, step.workflow_id)


def test_paused_run_says_by_whom(ada, user):
    step = streaming()
    services.pause_workflow(step.workflow, by=user)
    assert "Paused by ada" in page_of(ada, step.workflow_id)


def test_queued_step_says_so_and_that_no_worker_lives(ada, user):
    workflow = make_workflow(owner=user, start=True)
    Worker.objects.all().delete()
    html = page_of(ada, workflow.pk)
    assert "Queued" in html
    assert "No worker since" in html


def test_living_worker_needs_no_words(ada, user):
    workflow = make_workflow(owner=user, start=True)
    Worker.objects.create(name="w", host="h", threads=1)
    assert "No worker since" not in page_of(ada, workflow.pk)


def test_practice_model_is_labelled(ada):
    assert "practice model, not from a language model" in page_of(ada, completed().pk)


def test_opening_the_page_starts_nothing(ada, user):
    workflow = make_workflow(owner=user)
    page_of(ada, workflow.pk)
    workflow.refresh_from_db()
    assert workflow.status == Status.PENDING


@pytest.mark.parametrize("pk", ["0", "9223372036854775808", "99999999999999999999999"])
def test_impossible_number_is_404(ada, pk):
    assert ada.get(f"/workflows/{pk}/").status_code == 404


@pytest.mark.parametrize(
    ("status", "verbs"),
    [("pending", {"start", "cancel"}), ("running", {"pause", "cancel"}), ("paused", {"resume", "cancel"}),
     ("cancelled", {"resume"}), ("completed", set())],
)  # fmt: skip
def test_header_offers_what_makes_sense(ada, user, status, verbs):
    workflow = completed() if status == "completed" else make_workflow(owner=user, start=status != "pending")
    if status in ("paused", "cancelled"):
        {"paused": services.pause_workflow, "cancelled": services.cancel_workflow}[status](workflow, by=user)
    html = page_of(ada, workflow.pk, part="run")
    assert set(re.findall(rf'action="/workflows/{workflow.pk}/(\w+)/"', html)) == verbs


def test_cancel_names_what_will_happen(ada):
    step = streaming()
    html = page_of(ada, step.workflow_id, part="run")
    assert "1 running step will be stopped, the text so far is kept. 3 of 3 steps end as cancelled." in html


def test_fragments_have_one_root_that_can_be_fetched_again(htmx):
    step = streaming()
    for part, root in (
        ("run", '<div id="run"'),
        ("nav", '<nav id="step-nav"'),
        ("pipeline", '<section id="pipeline"'),
    ):
        html = page_of(htmx, step.workflow_id, part=part).strip()
        assert html.startswith(root)
        assert f'data-src="/workflows/{step.workflow_id}/?part={part}"' in html.split(">")[0]


def test_pipeline_opens_what_the_page_had_open(htmx):
    workflow = make_workflow(start=True)
    first, second = step_of(workflow, "one"), step_of(workflow, "two")
    html = page_of(htmx, workflow.pk, part="pipeline", open=f"{second.pk},x,99999999,-1")
    assert open_steps(html) == [str(second.pk)]
    assert first.pk != second.pk


def test_number_of_queries_does_not_grow_with_the_steps(ada, user):
    def count(steps):
        workflow = make_workflow([{"key": f"s{n}"} for n in range(steps)], owner=user)
        with CaptureQueriesContext(connection) as queries:
            page_of(ada, workflow.pk)
        return len(queries)

    few = count(3)
    assert count(60) == few <= 20


def test_lines_tell_tokens_time_and_cost(ada, user):
    workflow = completed()
    html = page_of(ada, workflow.pk)
    assert "5 of 16,384" in html
    assert "$0.00" in html


def test_hostile_title_and_answer_are_text(ada, user):
    bad = '<img src=x onerror=alert(1)> {{ settings.SECRET_KEY }}{% debug %} "'
    workflow = make_workflow([{"key": "one", "title": bad}], owner=user, start=True)
    finish(claim(), f"{bad} ![x](https://evil.test/?q=1)")
    html = page_of(ada, workflow.pk)
    assert "<img" not in html
    assert "{{ settings.SECRET_KEY }}{% debug %}" in html


def test_no_style_or_script_stands_in_the_page(ada):
    html = page_of(ada, cut().workflow_id)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|hx-on|javascript:", html)


def test_graph_names_the_steps_of_each_layer(ada, user):
    workflow = make_workflow(
        [{"key": "a"}, {"key": "b", "needs": ["a"]}, {"key": "c", "needs": ["a"]}], owner=user
    )
    html = page_of(ada, workflow.pk)
    assert html.count('class="node"') == 3
    assert html.split('<path class="edges" d="')[1].split('"')[0].count("M") == 2


def test_stale_run_is_repaired_not_started(ada, user, monkeypatch):
    asked = []
    monkeypatch.setattr("workflows.recovery.repair_run", asked.append)
    workflow = make_workflow(owner=user)
    page_of(ada, workflow.pk)
    page_of(ada, workflow.pk, part="run")
    assert asked == [workflow.pk]
    assert Workflow.objects.get().status == "pending"
