"""Boots the system, runs cells, counts the invariants after each round, and says what it came to."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connection

from analysis.models import AnalysisRun
from tests.faults import cells, gates, invariants, matrix
from tests.faults.bench import NotHere
from tests.faults.cells import Cell
from tests.faults.faults import FAULTS, Fault
from tests.faults.moments import MOMENTS, Moment
from tests.faults.stage import Outcome, Stage, named
from tests.faults.subject import ACCEPTED
from tests.faults.system import LEASE, System
from tests.processes.servers import eventually
from workflows.models import Workflow


@dataclass
class Report:
    outcomes: list[Outcome] = field(default_factory=list)
    rounds: int = 0
    checks: int = 0

    @property
    def violated(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.problems]

    def summary(self) -> str:
        ran = [outcome for outcome in self.outcomes if not outcome.not_run]
        rows = Workflow.objects.count() + AnalysisRun.objects.count()
        return (
            f"{len(self.outcomes)} cells: {len(ran)} run ({len(ran) - len(self.violated)} held, "
            f"{len(self.violated)} violated), {len(self.outcomes) - len(ran)} not run; {self.rounds} rounds, "
            f"{sum(outcome.runs for outcome in ran)} runs under test, {rows} rows of runs in all, "
            f"{self.checks} invariant checks over all rows"
        )


@dataclass(frozen=True)
class Choice:
    """One random round; all of it follows from the seed."""

    number: int
    fault: str
    moments: tuple[str, ...]
    seed: str


def choices(seed: int, n: int) -> Iterator[Choice]:
    """`n` random rounds; the same seed gives the same ones."""
    rng = random.Random(seed)
    rounds = list(matrix.rounds())
    sizes = [len(moments) for _, moments in rounds]
    for number in range(1, n + 1):
        ((fault, moments),) = rng.choices(rounds, sizes)
        chosen = rng.sample(moments, rng.randint(1, min(4, len(moments))))
        names = tuple(moment.name for moment in moments if moment in chosen)
        yield Choice(number, fault.name, names, f"{seed}/{number}")


class Laboratory:
    def __init__(self, system: System, say: Any = print) -> None:
        self.system, self.say, self.report = system, say, Report()

    def set_up(self) -> None:
        call_command("migrate", verbosity=0)
        with psycopg.connect(self.system.database.url, autocommit=True) as conn:
            gates.install(conn)
        self.system.restore()

    # --- runs of many -----------------------------------------------------------------------------

    def matrix(self, only: Sequence[str] = (), *, together: bool = False) -> None:
        """Every cell, or those named: a C cell, a pair, or a fault with all its moments; `together`: of a fault
        only those moments that share one round."""
        for cell in cells.load():
            if not only or cell.name in only:
                self.cell(cell)
        for fault, moments in matrix.rounds():
            names = [moment.name for moment in moments]
            whole = not only or (fault.name in only and not (together and moments[0].alone))
            wanted = [m for m in moments if whole or f"{m.name} x {fault.name}" in only]
            if wanted:
                self.round(fault, wanted, seed="/".join(names))
        for fault, moments in matrix.analysis_rounds():
            whole = not only or named(fault.name, "analysis") in only
            wanted = [m for m in moments if whole or named(f"{m.name} x {fault.name}", "analysis") in only]
            if wanted:
                self.round(fault, wanted, subject="analysis")

    def hammer(self, seed: int, n: int) -> None:
        for choice in choices(seed, n):
            self.say(f"#{choice.number} {choice.fault} x {', '.join(choice.moments)}")
            moments = [MOMENTS[name] for name in choice.moments]
            self.round(FAULTS[choice.fault], moments, seed=choice.seed, strict=False)

    # --- one ---------------------------------------------------------------------------------------

    def cell(self, cell: Cell) -> Outcome:
        began = time.monotonic()
        problems: list[str] = []
        not_run, runs = "", 0
        try:
            self.system.restore()
            self._seasoned()
            bench = cell.bench(self.system)
            try:
                cell.run(bench)
            finally:
                runs = len(bench.runs)
                self.system.restore()
        except NotHere as error:
            not_run = str(error)
        except Exception as error:  # noqa: BLE001 - one cell must not end the others; it is reported as violated
            problems = [f"{type(error).__name__}: {error}"]
        return self._record(
            [Outcome(cell.title, tuple(problems), not_run, runs, time.monotonic() - began)], not_run
        )[0]

    def round(
        self, fault: Fault, moments: Sequence[type[Moment]], *, seed: str = "0", strict: bool = True,
        subject: str = "workflow",
    ) -> list[Outcome]:  # fmt: skip
        if fault.name == "disk full" and self.system.no_disk:
            cells = [f"{moment.name} x {fault.name}" for moment in moments]
            return self._record([Outcome(cell, not_run=self.system.no_disk) for cell in cells], "not run")
        try:
            self.system.restore()
            self._seasoned()
            outcomes = Stage(self.system, fault, moments, seed=seed, strict=strict, subject=subject).play()
            self.system.restore()
        except Exception as error:  # noqa: BLE001 - one round must not end the others; it is reported as violated
            words = (f"{type(error).__name__}: {error}",)
            outcomes = [Outcome(named(f"{moment.name} x {fault.name}", subject), words) for moment in moments]
        return self._record(outcomes, "")

    def _seasoned(self) -> None:
        """No guard holds, so that what is lost is known in time."""
        connection.close()
        query = """SELECT coalesce(guard_until < clock_timestamp(), true)
                      AND pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %s)
                     FROM nyxcore_sweepstate"""

        def over() -> bool:
            with connection.cursor() as cursor:
                cursor.execute(query, [LEASE + 0.1])
                row = cursor.fetchone()
                return bool(row and row[0])

        eventually(over, 30, "for the guard of the sweep to end")

    def _record(self, outcomes: list[Outcome], not_run: str) -> list[Outcome]:
        if not not_run:
            connection.close()
            wrong = invariants.violations(self.system.model, ACCEPTED)
            self.report.rounds += 1
            self.report.checks += invariants.count()
            if wrong:
                outcomes = [replace(outcomes[0], problems=(*outcomes[0].problems, *wrong)), *outcomes[1:]]
        for outcome in outcomes:
            self.report.outcomes.append(outcome)
            self.say(f"{outcome.verdict:>8} {outcome.seconds:5.1f} s  {outcome.cell}")
            for problem in outcome.problems:
                self.say(f"{'':18}! {problem}")
            if outcome.not_run:
                self.say(f"{'':18}{outcome.not_run}")
        return outcomes
