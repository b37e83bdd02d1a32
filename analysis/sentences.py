"""The sentences of `explain` for an analysis and its units: where a row stands, and what would move it. What every app
has alike stands in nyxcore.telling.

Nothing here asks the database, so every pair of status and reason can be tried.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.decide import ORDER, Line
from analysis.models import AnalysisRun, Unit, UnitAttempt, UnitKind
from nyxcore import telling, ui
from nyxcore.states import NEXT_ACTION, Reason, Status
from nyxcore.telling import MOVES, STARTED, Moment, clock, tried, word

S = Status
STILL = (S.PAUSED, S.WAITING, S.FAILED, S.CANCELLED)
NOBODY = "No unit waits for anybody: the sweep looks at it again, and whoever resumes the analysis goes on."


# --- the run ---


def run(row: AnalysisRun, moment: Moment) -> str:
    """Where a run stands, since when, why, and who paused it."""
    told = row.status in STILL or (row.status == S.COMPLETED and row.reason == Reason.GAPS)
    return telling.run("Analysis", row, ui.cause(row.reason) if told else "", moment)


def run_moves(row: AnalysisRun, moment: Moment, *, queued: bool) -> str:
    """What would move a run. `queued`: something waits for a worker."""
    if row.status == S.PENDING:
        return STARTED
    if row.status == S.COMPLETED:
        if row.reason == Reason.GAPS:
            return f"{MOVES}{NEXT_ACTION[Reason.GAPS]}"
        return "It is done; analyse the source again when it has changed."
    if row.status == S.WAITING and not row.is_held:
        return f"{MOVES}{NEXT_ACTION[Reason.CONFIRM]}"
    return telling.run_moves(row, moment, queued=queued)


def kinds(lines: Sequence[Line]) -> list[str]:
    """For each kind how many of its units are where."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        counts = found.setdefault(
            line.kind, dict.fromkeys(("pending", "queued", "running", "failed", "idle"), 0)
        )
        for name in counts:
            counts[name] += getattr(line, name)
    return [_kind(kind, found[kind]) for kind in ORDER if kind in found]


def _kind(kind: str, counts: dict[str, int]) -> str:
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{UnitKind(kind).label}: {told or 'all done'}."


# --- a unit ---


def unit(row: Unit, attempt: UnitAttempt | None, lines: Sequence[Line], moment: Moment) -> str:
    """Where a unit stands, by its newest attempt (None: it never ran) and by the other units of its run."""
    head = f"Unit {row.pk} “{row}” ({UnitKind(row.kind).label.lower()}) is {word(row.status)}"
    if row.status == S.PENDING:
        return f"{head}: {_pending(row, lines)}"
    if row.status in (S.COMPLETED, S.SKIPPED):
        return f"{head} since {clock(row.finished_at)}{_passed(row)}"
    why = "" if attempt is not None and row.reason == attempt.reason else ui.cause(row.reason)
    if attempt is None:
        never = "it never ran" if row.status == S.CANCELLED else "though it has no attempt"
        return " ".join(filter(None, [f"{head}, {never}.", why]))
    return " ".join(
        filter(None, [f"{head}: {tried(attempt, moment)}", why if row.status != S.RUNNING else ""])
    )


def _pending(row: Unit, lines: Sequence[Line]) -> str:
    before = {kind: sum(line.open for line in lines if line.kind == kind) for kind in _before(row)}
    told = [f"{UnitKind(kind).label.lower()} ({count:,} open)" for kind, count in before.items() if count]
    if told:
        return f"it waits for what comes before it: {', '.join(told)}."
    if _is_warmed(row, lines):
        return "it waits for the first chunk of its kind, which warms the provider's cache for the others."
    return "nothing stands before it."


def _before(row: Unit) -> tuple[str, ...]:
    return ORDER[: ORDER.index(row.kind)]


def _is_warmed(row: Unit, lines: Sequence[Line]) -> bool:
    """Whether one unit goes ahead of all its like."""
    mine = [line for line in lines if (line.kind, line.analyzer) == (row.kind, row.analyzer)]
    return row.kind == UnitKind.CHUNK and any(
        (line.queued or line.running) and not line.asked for line in mine
    )


def _passed(row: Unit) -> str:
    if row.reused:
        return ": its answer came from an earlier analysis, and cost nothing."
    return f": {ui.cause(row.reason)}" if row.status == S.SKIPPED and row.reason else "."


def unit_moves(
    row: Unit, attempt: UnitAttempt | None, lines: Sequence[Line], run: AnalysisRun, moment: Moment
) -> str:
    """What would move a unit."""
    if row.status == S.COMPLETED:
        return "It is done; its answer is kept, and a later analysis of the same text takes it over."
    if row.status == S.SKIPPED:
        return "It is done with; nothing moves it any more."
    if row.status == S.PENDING:
        return _pending_moves(row, lines, run, moment)
    if row.status == S.RUNNING:
        if attempt is None or attempt.is_ended:
            return "Nothing runs for it now; the sweep settles its analysis within seconds."
        return moves(attempt, run, moment)
    return f"{MOVES}{ui.helps(row.status, row.reason)} {_again(run)}"


def _pending_moves(row: Unit, lines: Sequence[Line], run: AnalysisRun, moment: Moment) -> str:
    if telling.is_held_up(run):
        return f"It moves with its analysis. {run_moves(run, moment, queued=False)}"
    if any(line.open for line in lines if line.kind in _before(row)):
        return "It begins by itself when all of that has ended."
    if _is_warmed(row, lines):
        return "It begins by itself when that one has ended."
    return "It may begin; whatever ends next in this analysis opens it, and at the latest the sweep."


def _again(run: AnalysisRun) -> str:
    """The verb by which a failed or cancelled unit runs again."""
    if run.status == S.COMPLETED:
        return "Its analysis is completed without it: “Retry gaps” there runs it again."
    if run.status in (S.FAILED, S.CANCELLED):
        return "“Resume” of its analysis runs it again."
    return "Its analysis goes on without it and lists it as a gap; “Retry gaps” runs it again after the end."


# --- an attempt ---


def moves(attempt: UnitAttempt, run: AnalysisRun, moment: Moment) -> str:
    """What would move an attempt, and when."""
    held_up = run_moves(run, moment, queued=False) if telling.is_held_up(run) else ""
    return telling.moves(attempt, moment, of="unit", waits=NOBODY, held_up=held_up)
