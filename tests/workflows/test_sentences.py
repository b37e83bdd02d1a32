"""Every status with every reason has a sentence of its own that is neither empty nor wrong: run, step and attempt."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from django.contrib.auth import get_user_model

from nyxcore import ui
from nyxcore.states import ATTEMPT_EDGES, ENDED, STEP_EDGES, WORKFLOW_EDGES, Reason, Status
from nyxcore.telling import span, tried, word
from tests.telling import GOES_ON, IDLE, MOMENT, NOW, REASONS, attempt_fields, check, check_action, earlier
from workflows import sentences
from workflows.models import Step, StepAttempt, Workflow

STILL = (Status.PAUSED, Status.FAILED, Status.CANCELLED, Status.CUT_OFF)
CUT = [Reason.CUT_MAX_TOKENS, Reason.CUT_CONTEXT, Reason.CUT_THINKING]


def a_workflow(status: str = "running", reason: str = "", **fields) -> Workflow:
    owner = get_user_model()(username="ada", pk=7)
    return Workflow(
        pk=1, name="Plan", owner=owner, status=status, reason=reason, status_changed_at=earlier(300), **fields
    )


def a_step(status: str = "running", reason: str = "") -> Step:
    finished = earlier(5) if status in ENDED else None
    return Step(
        pk=2, position=3, title="Draft", key="draft", status=status, reason=reason, finished_at=finished
    )


def an_attempt(status: str = "running", reason: str = "", **fields) -> StepAttempt:
    return StepAttempt(pk=4, **attempt_fields(status, reason, **fields))


@pytest.mark.parametrize(("status", "reason"), list(product(WORKFLOW_EDGES, REASONS)))
@pytest.mark.parametrize("moment", [MOMENT, IDLE], ids=["workers", "none"])
def test_a_run(status, reason, moment):
    workflow = a_workflow(status, reason)
    where, moves = sentences.run(workflow, moment), sentences.run_moves(workflow, moment, queued=True)
    check(where)
    check(moves)
    assert f"is {word(status)} since 2026-11-25 11:55:00 UTC (5 min)" in where
    assert (bool(reason) and status in STILL) == (bool(reason) and ui.cause(reason) in where)
    assert (GOES_ON in moves) == (status == Status.RUNNING and moment is MOMENT)
    assert ("a worker." in moves) == (status == Status.RUNNING and moment is IDLE)
    assert ("Start it" in moves) == (status == Status.PENDING)
    assert ("It is done" in moves) == (status == Status.COMPLETED)
    if status in STILL:
        check_action(moves, status, reason)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PAUSED])
def test_a_held_run_names_who_holds_it_and_is_moved_by_a_resume(status):
    held = a_workflow(status, "user", held_by=get_user_model()(username="eve", pk=8))
    assert "eve paused it." in sentences.run(held, MOMENT)
    assert (
        sentences.run_moves(held, MOMENT, queued=True) == "What would move it: Resume when you want to go on."
    )


ATTEMPT_OF = {
    Status.RUNNING: "running", Status.WAITING: "waiting", Status.CUT_OFF: "cut_off", Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}  # fmt: skip


@pytest.mark.parametrize(("status", "reason"), list(product(STEP_EDGES, REASONS)))
@pytest.mark.parametrize("run", ["running", "paused", "failed"])
def test_a_step(status, reason, run):
    step, workflow = a_step(status, reason), a_workflow(run)
    attempt = an_attempt(ATTEMPT_OF[status], reason) if status in ATTEMPT_OF else None
    where = sentences.step(step, attempt, [], workflow, MOMENT)
    moves = sentences.step_moves(step, attempt, [], workflow, MOMENT)
    check(where)
    check(moves)
    assert where.startswith(f"Step 3 “Draft” is {word(status)}")
    if status in STILL:
        assert where.count(ui.cause(reason)) == 1 or not reason
        check_action(moves, status, reason)
    elif status in (Status.COMPLETED, Status.SKIPPED):
        assert ui.cause(reason) not in where or not reason
    assert (GOES_ON in moves) == (status == Status.RUNNING)


@pytest.mark.parametrize(("status", "attempt"), list(product(STEP_EDGES, [None, *ATTEMPT_EDGES])))
def test_a_step_whose_newest_attempt_does_not_fit_has_a_sentence_too(status, attempt):
    row = an_attempt(attempt) if attempt else None
    step = a_step(status, "lost" if status == Status.FAILED else "")
    check(sentences.step(step, row, [], a_workflow(), MOMENT))
    check(sentences.step_moves(step, row, [], a_workflow(), MOMENT))


@pytest.mark.parametrize("other", [status for status in STEP_EDGES if status not in ("completed", "skipped")])
def test_a_pending_step_names_what_it_waits_for_and_how_that_stands(other):
    unmet = [Step(title="Outline", status=other)]
    said = sentences.step(a_step("pending"), None, unmet, a_workflow(), MOMENT)
    check(said)
    assert "it waits for Outline" in said
    assert (f"which is {word(other)}" in said) == (other not in ("pending", "running"))
    assert "Outline is done or skipped" in sentences.step_moves(
        a_step("pending"), None, unmet, a_workflow(), MOMENT
    )


@pytest.mark.parametrize(("status", "reason"), list(product(ATTEMPT_EDGES, REASONS)))
@pytest.mark.parametrize("moment", [MOMENT, IDLE], ids=["workers", "none"])
def test_an_attempt(status, reason, moment):
    attempt = an_attempt(status, reason)
    where, moves = tried(attempt, moment), sentences.moves(attempt, a_workflow(), moment)
    check(where)
    check(moves)
    assert where.startswith("attempt 1 (first try)")
    assert ("It has ended" in moves) == (status in ENDED)
    assert (GOES_ON in moves) == (status == Status.RUNNING)
    shown = status in (Status.FAILED, Status.CANCELLED, Status.CUT_OFF)
    assert (bool(reason) and ui.cause(reason) in where) == (bool(reason) and shown)
    assert ("host:7:abc/0" in where) == (status not in (Status.PENDING, Status.WAITING))


def test_a_running_attempt_tells_its_evidence():
    said = tried(an_attempt(), MOMENT)
    assert "runs on host:7:abc/0 since 2026-11-25 11:59:10 UTC; its last sign of life came 4 s ago" in said
    assert "judged at 2026-11-25 12:00:56 UTC and stopped at 2026-11-25 12:59:10 UTC" in said


GUARDED = replace(MOMENT, guard_until=NOW + timedelta(seconds=30))


@pytest.mark.parametrize(
    ("due", "deadline", "moment", "expected"),
    [
        (40, 3000, MOMENT, "which holds for 40 s more"),
        (40, 3000, GUARDED, "which holds for 40 s more"),
        (-20, 3000, MOMENT, "Its lease has passed 20 s ago: the next sweep ends it"),
        (-20, 3000, GUARDED, "judges nothing before 2026-11-25 12:00:30 UTC"),
        (40, -10, MOMENT, "past its deadline by 10 s"),
        (-20, -10, MOMENT, "Its lease has passed 20 s ago"),
    ],
)
def test_a_running_attempt_tells_what_would_move_it_and_when(due, deadline, moment, expected):
    attempt = an_attempt(due_at=earlier(-due), deadline_at=earlier(-deadline))
    assert expected in sentences.moves(attempt, a_workflow(), moment)


def test_a_stored_answer_is_told():
    assert "Its answer is stored already" in tried(an_attempt(stop_reason="end_turn"), MOMENT)


@pytest.mark.parametrize(
    ("fields", "moment", "run", "expected"),
    [
        ({}, MOMENT, "running", "A worker takes it within seconds."),
        ({}, replace(MOMENT, busy=32), "running", "as soon as a thread is free"),
        ({}, IDLE, "running", "No worker since 2026-11-25 11:55:00 UTC."),
        ({"queued_at": earlier(-45)}, MOMENT, "running", "It goes on by itself at that time."),
        ({}, MOMENT, "paused", "No worker takes it now."),
    ],
)
def test_a_queued_attempt_tells_who_would_take_it(fields, moment, run, expected):
    assert expected in sentences.moves(an_attempt("pending", **fields), a_workflow(run, "budget"), moment)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (200_000, "2 days"),
    ],
)
def test_spans(seconds, said):
    assert span(seconds) == said
