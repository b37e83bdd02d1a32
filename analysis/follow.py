"""An analysis as one watches it from a terminal: a line for each phase, and how far it is every few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass

from analysis.decide import ORDER
from analysis.models import AnalysisRun, Finding, Unit, UnitKind
from nyxcore.shell import Teller
from nyxcore.states import Status
from nyxcore.words import counted

S = Status
EVERY = 5.0  # s between two lines of the same status
STANDS = (S.COMPLETED, S.FAILED, S.CANCELLED, S.PAUSED, S.WAITING)


@dataclass(frozen=True)
class Now:
    """A run at one moment."""

    status: str
    reason: str
    counts: dict[str, tuple[int, int]]  # kind: ended, known
    found: int

    @property
    def stands(self) -> bool:
        """Whether nothing happens any more until somebody does something."""
        return self.status in STANDS


def look(pk: int) -> Now:
    """Read the rows."""
    status, reason = AnalysisRun.objects.values_list("status", "reason").get(pk=pk)
    counts: dict[str, tuple[int, int]] = {}
    for kind, word in Unit.objects.filter(run=pk).values_list("kind", "status"):
        ended, known = counts.get(kind, (0, 0))
        counts[kind] = (ended + (word in (S.COMPLETED, S.SKIPPED, S.FAILED)), known + 1)
    return Now(status, reason, counts, Finding.objects.filter(run=pk).count())


class Lines:
    """Tells each change of status at once, and each of the numbers (thousands, in a large run) every few seconds."""

    def __init__(self, teller: Teller, every: float = EVERY) -> None:
        self.teller, self.every = teller, every
        self._before: Now | None = None
        self._told_at = 0.0

    def show(self, now: Now) -> None:
        before = self._before
        soon = time.monotonic() < self._told_at + self.every
        if now == before or (before and now.status == before.status and soon):
            return
        self._before, self._told_at = now, time.monotonic()
        parts = [
            f"{UnitKind(kind).label.lower()} {now.counts[kind][0]}/{now.counts[kind][1]}"
            for kind in ORDER
            if kind in now.counts and kind not in ("merge", "report")
        ]
        word = str(Status(now.status).label).lower()
        self.teller.say(f"{word}: {', '.join(parts) or 'queued'}; {counted(now.found, 'finding')}")

    def close(self) -> None:
        return
