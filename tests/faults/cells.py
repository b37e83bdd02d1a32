"""The named cells C1 to C43: the faults that have hurt systems of this kind, in our words. Pool children are threads.

A cell is data: where it hits, what happens, what has to come of it in words, and a function that does and checks it.
Those that are a pair of the matrix refer to it and add what they look at beyond its table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.bench import Bench, NotHere
from tests.faults.faults import FAULTS
from tests.faults.moments import MOMENTS
from tests.faults.stage import Stage
from tests.faults.system import System

__all__ = ["CELLS", "Bench", "Cell", "NotHere", "cell"]


@dataclass(frozen=True)
class Cell:
    name: str
    fault: str
    moment: str
    expected: str
    run: Callable[[Bench], None]

    @property
    def title(self) -> str:
        return f"{self.name} {self.fault}: {self.moment}"

    def bench(self, system: System) -> Bench:
        return Bench(system)


_found: list[Cell] = []


def cell(
    name: str, fault: str, moment: str, expected: str
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    """Makes the function a cell."""

    def add(run: Callable[[Bench], None]) -> Callable[[Bench], None]:
        _found.append(Cell(name, fault, moment, expected, run))
        return run

    return add


def pair(bench: Bench, moment: str, fault: str) -> Stage:
    """Play that pair of the matrix; what is left to look at stands in its rows."""
    stage = Stage(bench.system, FAULTS[fault], [MOMENTS[moment]])
    outcomes = stage.play()
    bench.runs.extend(moment.run for moment in stage.moments)
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    assert not problems, "; ".join(problems)
    return stage


def _all() -> list[Cell]:
    for module in ("cells_messages", "cells_workers", "cells_database", "cells_sweep", "cells_change"):
        importlib.import_module(f"tests.faults.{module}")
    return sorted(_found, key=lambda found: (found.name[0], int(found.name[1:])))


CELLS: list[Cell] = []


def load() -> list[Cell]:
    """Every named cell, in order."""
    if not CELLS:
        CELLS.extend(_all())
    return CELLS
