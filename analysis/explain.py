"""Why an analysis is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from collections.abc import Iterable

from analysis import engine
from analysis.decide import ORDER, Line
from analysis.models import AnalysisRun, UnitAttempt, UnitKind
from analysis.rows import estimate_of
from nyxcore import telling
from nyxcore.models import AuditEntry
from nyxcore.states import NEXT_ACTION, Reason, Status

S = Status
SHOWN = 20  # open attempts and gaps told one by one


def explain(run: AnalysisRun) -> list[str]:
    """The story of one analysis, from the run down to its open attempts."""
    lines = [_headline(run), *_source(run)]
    lines += [_kind(kind, counts) for kind, counts in _kinds(engine.load(run.pk))]
    workers = telling.workers()
    lines += _attempts(run, workers)
    lines += [
        f"Gap: {gap['title'] or gap['kind']} ({gap['analyzer']}): {gap['said']}" for gap in run.gaps[:SHOWN]
    ]
    lines += _what_moves_it(run, workers)
    last = AuditEntry.objects.filter(model="analysisrun", row=run.pk).order_by("-pk").first()
    if last:
        lines.append(telling.last_act(last))
    return lines


def _headline(run: AnalysisRun) -> str:
    why = f": {telling.cause(run.reason)}" if run.reason else "."
    held = f" {run.held_by} paused it." if run.held_by else ""
    since = telling.clock(run.status_changed_at)
    return f"Analysis {run.pk} “{run.name}” is {telling.word(run.status)} since {since}{why}{held}"


def _source(run: AnalysisRun) -> list[str]:
    told = [f"Its source is {run.location}{f' at {run.commit[:12]}' if run.commit else ''}."]
    if run.coverage:
        told.append(
            f"{run.coverage.get('read', 0):,} of {run.coverage.get('files', 0):,} files are read, "
            f"{run.coverage.get('tokens', 0):,} tokens."
        )
    estimate = estimate_of(run)
    if estimate:
        calls = sum(estimate.calls.values())
        cost = "an unknown price" if estimate.expected is None else f"about ${estimate.expected:.2f}"
        told.append(f"It takes {calls:,} calls, {estimate.reused:,} of them answered already: {cost}.")
    return told


def _kinds(lines: Iterable[Line]) -> list[tuple[str, dict[str, int]]]:
    """For each kind how many of its units are where."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        counts = found.setdefault(
            line.kind, dict.fromkeys(("pending", "queued", "running", "failed", "idle"), 0)
        )
        for name in counts:
            counts[name] += getattr(line, name)
    return [(kind, found[kind]) for kind in ORDER if kind in found]


def _kind(kind: str, counts: dict[str, int]) -> str:
    told = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
    return f"{UnitKind(kind).label}: {told or 'all done'}."


def _attempts(run: AnalysisRun, workers: str) -> list[str]:
    open_ = telling.with_times(UnitAttempt.objects.filter(unit__run=run).open().select_related("unit"))
    ended = telling.with_times(UnitAttempt.objects.filter(unit__run=run, unit__status=S.FAILED))
    last = ended.select_related("unit").order_by("unit_id", "-number").distinct("unit_id")
    return [
        f"“{attempt.unit}” ({attempt.unit.kind}){telling.attempt(attempt, workers)}"
        for attempt in [*last[:SHOWN], *open_.order_by("-status", "pk")[:SHOWN]]
    ]


def _what_moves_it(run: AnalysisRun, workers: str) -> list[str]:
    if run.status == S.PENDING:
        return ["It was never started. Start it."]
    if run.status == S.COMPLETED and run.reason != Reason.GAPS:
        return ["It is done; analyse the source again when it has changed."]
    if run.status in (S.SCANNING, S.ANALYZING, S.GENERATING):
        if workers.startswith("no "):
            return [f"What would move it: a worker. {workers[0].upper()}{workers[1:]}"]
        return ["It goes on by itself."]
    return [f"What would move it: {NEXT_ACTION.get(run.reason, '') or 'resume it.'}"]
