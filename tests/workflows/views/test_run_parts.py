"""Parts of the page of a run: the search, the drawing's forms, and lines that are kept until their rows change."""

from __future__ import annotations

import gzip
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import completed, cut, streaming, url
from workflows import drawing, lines, timeline
from workflows.models import Step, StepAttempt

pytestmark = pytest.mark.django_db


def hits(client, workflow, q):
    return client.get(url("detail", workflow.pk), {"part": "find", "q": q}).json()["hits"]


# --- search ---------------------------------------------------------------------------------------------------


def test_search_counts_titles_prompts_and_answers_without_case(ada):
    workflow = make_workflow(
        [{"key": "one", "title": "Tea"}, {"key": "two", "config": {"prompt": "tea or TEA"}}], start=True
    )
    finish(claim(), "More tea.")
    one, two = workflow.steps.order_by("position")
    found = hits(ada, workflow, "Tea")
    assert found[str(one.pk)][0] == 1
    assert found[str(one.pk)][2] == 1
    assert found[str(two.pk)] == [0, 2, 0]


def test_search_finds_what_is_being_written(ada):
    step = streaming("Once upon a time")
    assert list(hits(ada, step.workflow, "upon a")) == [str(step.pk)]


@pytest.mark.parametrize("q", ["", "   ", "\x00"])
def test_empty_search_finds_nothing(ada, q):
    assert hits(ada, completed(), q) == {}


@pytest.mark.parametrize("q", ["%", "_", "\\", "'; --"])
def test_search_takes_every_character_as_it_is(ada, q):
    assert hits(ada, completed("No such signs here."), q) == {}


def test_stranger_cannot_search(eve):
    assert eve.get(url("detail", completed().pk), {"part": "find", "q": "a"}).status_code == 404


# --- drawing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "holds"), [("graph", "svg"), ("timeline", "svg"), ("words", "ol"), ("x", "svg")]
)
def test_drawing_comes_in_each_form(ada, view, holds):
    answer = ada.get(url("detail", completed().pk), {"part": "drawing", "view": view}).content.decode()
    assert f"<{holds}" in answer


def test_critical_path_is_the_slowest_chain_of_needs():
    workflow = make_workflow(
        [
            {"key": "a", "needs": []},
            {"key": "b", "needs": ["a"]},
            {"key": "c", "needs": ["a"]},
            {"key": "d", "needs": ["b", "c"]},
        ]
    )
    found = lines.step_lines(workflow.pk, now=timezone.now())
    for line, took in zip(found, (5.0, 1.0, 9.0, 2.0), strict=True):
        line.took = took
    chain, total = drawing.critical_path(found)
    assert [line.key for line in chain] == ["a", "c", "d"]
    assert total == 16.0
    assert drawing.caption(found) == "4 steps in 3 stages. Critical path 00:16: 1 → 3 → 4"


def test_long_chain_is_wrapped_and_a_wide_layer_too():
    chain = tuple((f"s{n}", (f"s{n - 1}",) if n else ()) for n in range(100))
    assert drawing.layout(chain, drawing.CHIP).width <= 1150
    fan = tuple((f"s{n}", ()) for n in range(100))
    made = drawing.layout(fan, drawing.CHIP)
    assert made.width <= 1150
    assert len(set(made.spots.values())) == 100


def test_timeline_tells_wait_from_run_and_attempts_apart():
    step = cut()
    attempt = StepAttempt.objects.get(step=step)
    now = timezone.now()
    StepAttempt.objects.filter(pk=attempt.pk).update(
        queued_at=now - timedelta(seconds=10), started_at=now - timedelta(seconds=6), finished_at=now
    )
    drawn = timeline.draw(step.workflow_id, lines.step_lines(step.workflow_id, now=now), now)
    assert "attempt 1 waited 00:04, ran 00:06" in drawn
    assert 'class="wait"' in drawn
    assert 'class="run" data-status="cut_off"' in drawn


# --- kept lines -----------------------------------------------------------------------------------------------


def test_second_reading_reads_no_line_again():
    workflow = completed()
    lines.step_lines(workflow.pk, now=timezone.now())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        lines.step_lines(workflow.pk, now=timezone.now())
    assert len(queries) == 1


@pytest.mark.parametrize("table", ["step", "attempt"])
def test_changed_row_is_read_again(table):
    workflow = completed()
    before = lines.step_lines(workflow.pk, now=timezone.now())[0]
    if table == "step":
        Step.objects.filter(pk=before.pk).update(title="New title")
    else:
        StepAttempt.objects.filter(step=before.pk).update(cost="1.5")
    after = lines.step_lines(workflow.pk, now=timezone.now())[0]
    assert (after.title, after.cost) != (before.title, before.cost)


def test_pending_line_names_what_it_waits_for_now():
    workflow = make_workflow([{"key": "one"}, {"key": "two"}], start=True)
    assert lines.step_lines(workflow.pk, now=timezone.now())[1].after == [1]
    finish(claim(), "Done.")
    assert lines.step_lines(workflow.pk, now=timezone.now())[1].after == []


def test_of_many_lines_the_oldest_are_forgotten():
    kept = lines.Kept(2)
    workflow = make_workflow()
    for line in lines.step_lines(workflow.pk, now=timezone.now()):
        kept.put((), line)
    assert len(kept.rows) == 2


# --- what comes open ------------------------------------------------------------------------------------------


def test_address_names_the_open_steps(ada):
    workflow = make_workflow()
    page = ada.get(url("detail", workflow.pk), {"open": str(step_of(workflow, "two").pk)}).content.decode()
    assert page.count('<details class="step"') == 3
    assert f'id="{step_of(workflow, "two").dom_id}" data-status="pending" open' in page


def test_answers_are_compressed(ada):
    workflow = completed()
    answer = ada.get(url("detail", workflow.pk), headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "gzip"
    assert answer["Vary"].count("Accept-Encoding") == 1
    assert b"</html>" in gzip.decompress(answer.content)
    assert "Content-Encoding" not in ada.get(url("detail", workflow.pk)).headers
