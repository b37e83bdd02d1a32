"""Every status with every reason has a sentence of its own that is neither empty nor wrong: run, unit and attempt."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from django.contrib.auth import get_user_model

from analysis import sentences
from analysis.decide import ORDER, Line
from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore import ui
from nyxcore.states import ANALYSIS_EDGES, ATTEMPT_EDGES, ENDED, UNIT_EDGES, Reason, Status
from nyxcore.telling import tried, word
from tests.telling import GOES_ON, IDLE, MOMENT, REASONS, attempt_fields, check, check_action, earlier

LIVE = (Status.SCANNING, Status.ANALYZING, Status.GENERATING)
STILL = (Status.PAUSED, Status.FAILED, Status.CANCELLED)


def a_run(status: str = "analyzing", reason: str = "", **fields) -> AnalysisRun:
    owner = get_user_model()(username="ada", pk=7)
    return AnalysisRun(
        pk=1, name="shop", owner=owner, status=status, reason=reason, status_changed_at=earlier(300), **fields
    )


def a_unit(status: str = "running", reason: str = "", kind: str = "chunk", **fields) -> Unit:
    finished = earlier(5) if status in ENDED else None
    return Unit(
        pk=2, kind=kind, title="src/app.py", status=status, reason=reason, finished_at=finished, **fields
    )


def an_attempt(status: str = "running", reason: str = "", **fields) -> UnitAttempt:
    return UnitAttempt(pk=4, **attempt_fields(status, reason, **fields))


@pytest.mark.parametrize(("status", "reason"), list(product(ANALYSIS_EDGES, REASONS)))
@pytest.mark.parametrize("moment", [MOMENT, IDLE], ids=["workers", "none"])
def test_a_run(status, reason, moment):
    row = a_run(status, reason)
    where, moves = sentences.run(row, moment), sentences.run_moves(row, moment, queued=True)
    check(where)
    check(moves)
    assert f"“shop” of ada is {word(status)} since 2026-11-25 11:55:00 UTC (5 min)" in where
    told = (
        status in STILL or status == Status.WAITING or (status == Status.COMPLETED and reason == Reason.GAPS)
    )
    assert (bool(reason) and told) == (bool(reason) and ui.cause(reason) in where)
    assert (GOES_ON in moves) == (status in LIVE and moment is MOMENT)
    assert ("a worker." in moves) == (status in LIVE and moment is IDLE)
    assert ("Start it" in moves) == (status == Status.PENDING)
    if status not in STILL:
        assert ("then confirm" in moves) == (status == Status.WAITING)
    if status in STILL:
        check_action(moves, status, reason)


@pytest.mark.parametrize("status", [*LIVE, Status.WAITING, Status.PAUSED])
def test_a_held_run_names_who_holds_it_and_is_moved_by_a_resume(status):
    held = a_run(status, "user", held_by=get_user_model()(username="eve", pk=8))
    assert "eve paused it." in sentences.run(held, MOMENT)
    assert (
        sentences.run_moves(held, MOMENT, queued=True) == "What would move it: Resume when you want to go on."
    )


@pytest.mark.parametrize(
    ("reason", "said"), [("billing", "Settle the account"), ("auth", "provider's key"), ("budget", "Raise")]
)
def test_a_run_that_was_stopped_says_what_helps_against_that(reason, said):
    assert said in sentences.run_moves(a_run("paused", reason), MOMENT, queued=False)


ATTEMPT_OF = {Status.RUNNING: "running", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}


@pytest.mark.parametrize(("status", "reason"), list(product(UNIT_EDGES, REASONS)))
@pytest.mark.parametrize("run", ["analyzing", "paused", "failed", "completed"])
def test_a_unit(status, reason, run):
    unit = a_unit(status, reason)
    attempt = an_attempt(ATTEMPT_OF[status], reason) if status in ATTEMPT_OF else None
    where = sentences.unit(unit, attempt, [], MOMENT)
    moves = sentences.unit_moves(unit, attempt, [], a_run(run), MOMENT)
    check(where)
    check(moves)
    assert where.startswith(f"Unit 2 “src/app.py” (chunk) is {word(status)}")
    if status in (Status.FAILED, Status.CANCELLED):
        assert where.count(ui.cause(reason)) == 1 or not reason
        check_action(moves.split(" Its analysis goes on")[0], status, reason)
        assert ("Retry gaps" in moves) == (run != "failed")
    assert (GOES_ON in moves.split(" Its analysis")[0]) == (status == Status.RUNNING)


@pytest.mark.parametrize(("status", "attempt"), list(product(UNIT_EDGES, [None, *ATTEMPT_EDGES])))
def test_a_unit_whose_newest_attempt_does_not_fit_has_a_sentence_too(status, attempt):
    row = an_attempt(attempt) if attempt else None
    unit = a_unit(status, "lost" if status == Status.FAILED else "")
    check(sentences.unit(unit, row, [], MOMENT))
    check(sentences.unit_moves(unit, row, [], a_run(), MOMENT))


@pytest.mark.parametrize("kind", ORDER)
def test_a_pending_unit_names_what_comes_before_it(kind):
    lines = [Line(other, pending=2, running=1) for other in ORDER]
    unit = a_unit("pending", kind=kind)
    said = sentences.unit(unit, None, lines, MOMENT)
    check(said)
    assert said.count("(3 open)") == ORDER.index(kind)
    moves = sentences.unit_moves(unit, None, lines, a_run(), MOMENT)
    assert ("when all of that has ended" in moves) == (kind != "source")


@pytest.mark.parametrize(
    ("asked", "said"), [(0, "which warms the provider's cache"), (1, "nothing stands before")]
)
def test_a_chunk_waits_for_the_first_of_its_kind_only(asked, said):
    lines = [Line("chunk", "security", pending=4, queued=1, asked=asked), Line("chunk", "bugs", queued=1)]
    assert said in sentences.unit(a_unit("pending", analyzer="security"), None, lines, MOMENT)


def test_a_reused_unit_and_one_that_was_cut_in_two_say_so():
    assert "cost nothing" in sentences.unit(a_unit("completed", reused=True), None, [], MOMENT)
    assert "cut in two" in sentences.unit(a_unit("skipped", "split"), None, [], MOMENT)


@pytest.mark.parametrize(("status", "reason"), list(product(ATTEMPT_EDGES, REASONS)))
@pytest.mark.parametrize("moment", [MOMENT, IDLE], ids=["workers", "none"])
def test_an_attempt(status, reason, moment):
    attempt = an_attempt(status, reason)
    where, moves = tried(attempt, moment), sentences.moves(attempt, a_run(), moment)
    check(where)
    check(moves)
    assert where.startswith("attempt 1 (first try)")
    assert ("It has ended" in moves) == (status in ENDED)
    assert (GOES_ON in moves) == (status == Status.RUNNING)


def test_a_lease_that_has_passed_speaks_of_the_unit():
    attempt = an_attempt(due_at=earlier(20))
    assert "its unit is tried again or fails" in sentences.moves(attempt, a_run(), MOMENT)


@pytest.mark.parametrize(
    ("run", "moment", "expected"),
    [
        ("analyzing", MOMENT, "A worker takes it within seconds."),
        ("analyzing", replace(MOMENT, busy=32), "as soon as a thread is free"),
        ("paused", MOMENT, "No worker takes it now. What would move it: Raise the budget"),
    ],
)
def test_a_queued_attempt_tells_who_would_take_it(run, moment, expected):
    assert expected in sentences.moves(an_attempt("pending"), a_run(run, "budget"), moment)
