"""What comes next in an analysis: a pure function of how many units are where. `engine.settle` applies it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nyxcore.states import Reason, Status

S = Status
ORDER = ("source", "overview", "chunk", "merge", "verify", "document", "report")
PHASE = {
    "source": S.SCANNING,
    "overview": S.ANALYZING,
    "chunk": S.ANALYZING,
    "merge": S.ANALYZING,
    "verify": S.ANALYZING,
    "document": S.GENERATING,
    "report": S.GENERATING,
}
ESSENTIAL = frozenset({"source", "merge", "report"})  # ask no model; without them a run has no result
STOPS = frozenset({Reason.BUDGET, Reason.BILLING, Reason.AUTH})  # nothing goes on until a person resumes


@dataclass(frozen=True)
class Line:
    """The units of one kind and analyzer, counted. `queued` have an open attempt that nobody has claimed."""

    kind: str
    analyzer: str = ""
    pending: int = 0
    queued: int = 0
    running: int = 0
    failed: int = 0
    asked: int = 0  # completed or failed by an attempt of this run
    idle: int = 0  # running without an open attempt: something went wrong
    reason: str = ""  # of the first that failed

    @property
    def open(self) -> int:
        return self.pending + self.queued + self.running + self.idle


@dataclass(frozen=True)
class Batch:
    """Units that may be opened now: at most so many (None: all) of one kind and analyzer."""

    kind: str
    analyzer: str
    at_most: int | None = None


@dataclass(frozen=True)
class Decision:
    """`status` and `reason` are the run's next ones; `open` may be opened, `park` says to take back what is queued."""

    status: Status
    reason: str = ""
    open: tuple[Batch, ...] = ()
    park: bool = False


def decide(
    lines: Sequence[Line],
    *,
    held: bool = False,
    stop: str = "",
    over_budget: bool = False,
    confirmed: bool = True,
) -> Decision:
    """The next status of a run whose phase is open. The first line that fits wins.

    `held` is a person's pause, `stop` the reason of a vendor that takes no more calls: both take back what nobody has
    claimed yet, and what streams ends normally. Beyond the budget what is open goes on, since its money is reserved.
    The kinds of units follow each other; within one all may run at once, but for the first chunk of each analyzer,
    which warms the vendor's cache for the others.
    """
    now = [line for line in lines if line.kind == _current(lines)]
    phase = PHASE[now[0].kind] if now else S.COMPLETED
    broken = next((line.reason for line in lines if line.kind in ESSENTIAL and line.failed), "")
    running, queued = sum(line.running for line in lines), sum(line.queued for line in lines)
    idle = sum(line.idle for line in lines)
    park = bool(idle or (queued and (held or stop or broken)))

    if held:
        return Decision(S.PAUSED, Reason.USER, park=park)
    if stop:
        return Decision(S.PAUSED, stop, park=park)
    if broken:
        return Decision(phase if running else S.FAILED, "" if running else broken, park=park)
    if not now:
        return Decision(S.COMPLETED, Reason.GAPS if any(line.failed for line in lines) else "")
    if now[0].kind != "source" and not confirmed:
        return Decision(S.WAITING, Reason.CONFIRM, park=park)
    if over_budget:
        at_work = running or queued
        return Decision(phase if at_work else S.PAUSED, "" if at_work else Reason.BUDGET, park=park)
    return Decision(phase, open=tuple(_batches(now)), park=park)


def _current(lines: Sequence[Line]) -> str:
    """The first kind that has an open unit; "" when all have ended."""
    return next((kind for kind in ORDER if any(line.kind == kind and line.open for line in lines)), "")


def _batches(lines: Sequence[Line]) -> Iterable[Batch]:
    for line in lines:
        if not (line.pending or line.idle):
            continue
        if line.kind == "chunk" and not line.asked:
            if not (line.queued or line.running):
                yield Batch(line.kind, line.analyzer, 1)
        else:
            yield Batch(line.kind, line.analyzer)
