"""What comes next, decided from counts alone."""

from __future__ import annotations

import pytest

from analysis.decide import Batch, Line, decide
from nyxcore.states import Reason, Status

S = Status
SOURCE = Line("source", asked=1)
DOCUMENT = ("document", "d", None)


@pytest.mark.parametrize(
    ("lines", "status", "opened"),
    [
        ([Line("source", pending=1)], S.SCANNING, [("source", "", None)]),
        ([SOURCE, Line("overview", pending=1), Line("merge", pending=1)], S.ANALYZING, [("overview", "", None)]),
        ([SOURCE, Line("chunk", "a", pending=3)], S.ANALYZING, [("chunk", "a", 1)]),
        ([SOURCE, Line("chunk", "a", pending=3, running=1)], S.ANALYZING, []),
        ([SOURCE, Line("chunk", "a", pending=2, asked=1)], S.ANALYZING, [("chunk", "a", None)]),
        (
            [SOURCE, Line("chunk", "a", pending=2, asked=1), Line("chunk", "b", pending=2)],
            S.ANALYZING,
            [("chunk", "a", None), ("chunk", "b", 1)],
        ),
        ([SOURCE, Line("chunk", "a", running=1), Line("merge", pending=1)], S.ANALYZING, []),
        ([SOURCE, Line("document", "d", pending=2), Line("report", pending=1)], S.GENERATING, [DOCUMENT]),
        ([SOURCE, Line("report", pending=1)], S.GENERATING, [("report", "", None)]),
    ],
)  # fmt: skip
def test_kinds_follow_each_other(
    lines: list[Line], status: Status, opened: list[tuple[str, str, int | None]]
) -> None:
    decision = decide(lines)
    assert (decision.status, list(decision.open)) == (status, [Batch(*one) for one in opened])


def test_all_ended_is_completed_and_a_failed_unit_is_a_gap() -> None:
    assert decide([SOURCE, Line("chunk", asked=2)]).reason == ""
    decision = decide([SOURCE, Line("chunk", asked=2, failed=1, reason="refused")])
    assert (decision.status, decision.reason) == (S.COMPLETED, Reason.GAPS)


@pytest.mark.parametrize("kind", ["source", "merge", "report"])
def test_a_failed_unit_without_a_model_fails_the_run_once_nothing_is_at_work(kind: str) -> None:
    broken = Line(kind, failed=1, reason="internal")
    assert decide([broken, Line("chunk", "a", running=1)]).status == S.ANALYZING
    decision = decide([broken, Line("chunk", "a", pending=1)])
    assert (decision.status, decision.reason, decision.open) == (S.FAILED, "internal", ())


def test_an_unconfirmed_run_waits_after_its_source() -> None:
    decision = decide([SOURCE, Line("overview", pending=1)], confirmed=False)
    assert (decision.status, decision.reason, decision.open) == (S.WAITING, Reason.CONFIRM, ())
    assert decide([Line("source", pending=1)], confirmed=False).status == S.SCANNING


@pytest.mark.parametrize("running", [0, 1])
def test_a_hold_and_a_vendors_stop_take_back_what_is_queued(running: int) -> None:
    lines = [SOURCE, Line("chunk", "a", queued=2, running=running, asked=1)]
    held, stopped = decide(lines, held=True), decide(lines, stop=Reason.BILLING)
    assert (held.status, held.reason, held.park) == (S.PAUSED, Reason.USER, True)
    assert (stopped.status, stopped.reason, stopped.park) == (S.PAUSED, Reason.BILLING, True)


def test_beyond_the_budget_what_is_open_goes_on() -> None:
    lines = [SOURCE, Line("chunk", "a", pending=4, queued=1, asked=1)]
    going = decide(lines, over_budget=True)
    assert (going.status, going.open, going.park) == (S.ANALYZING, (), False)
    stopped = decide([SOURCE, Line("chunk", "a", pending=4, asked=1)], over_budget=True)
    assert (stopped.status, stopped.reason) == (S.PAUSED, Reason.BUDGET)


def test_a_unit_that_runs_without_an_attempt_stands_in_line_again() -> None:
    assert decide([SOURCE, Line("chunk", "a", idle=1, asked=1)]).park
