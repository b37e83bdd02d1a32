"""What a kind of unit is: what it asks, how it reads the answer, and what that changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.models import AnalysisRun, Unit
from analysis.plain import Ask
from analysis.plan import Spec
from nyxcore.llm.base import StopSignal

MAX_TOKENS = 8_000


@dataclass(frozen=True)
class Digest:
    """What came of a unit: `result` is kept with it, `rows` are what `apply` writes; None: nothing, where a unit is
    `light`."""

    result: dict[str, Any]
    rows: Any = field(default=None, repr=False)


class Work:
    """One kind of unit. Only `apply` writes, in the transaction that ends the unit; with the run locked unless it is
    `light`."""

    paid: bool = False
    room: int = MAX_TOKENS  # tokens of an answer
    light: bool = False  # `apply` adds rows and plans nothing, so it needs no lock of the run
    shown: bool = False  # whether pages show the answer while it is written

    def ask(self, run: AnalysisRun, unit: Unit) -> Ask:
        """The question; paid kinds only."""
        raise NotImplementedError

    def read(self, run: AnalysisRun, unit: Unit, text: str) -> Digest:
        """Make sense of the answer; BadAnswer where there is none in it. Paid kinds only."""
        raise NotImplementedError

    def do(self, run: AnalysisRun, unit: Unit, stop: StopSignal) -> Digest:
        """Do it without a model; free kinds only."""
        raise NotImplementedError

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        """Write what follows from it."""

    def failed(self, run: AnalysisRun, unit: Unit) -> None:
        """Write what follows when the unit has failed for good."""

    def split(self, run: AnalysisRun, unit: Unit) -> Sequence[Spec]:
        """Units that together look at what this one does, for an answer that was cut; none if it cannot be split."""
        return ()
