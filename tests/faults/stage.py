"""One round: runs are brought to their moments, a fault comes and goes, and all of them have to end as they should."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, connection

from tests.faults import matrix
from tests.faults.faults import Fault
from tests.faults.moments import Moment
from tests.faults.system import LEASE, PATIENCE, WORKERS, System
from tests.processes.servers import Child, eventually


@dataclass(frozen=True)
class Outcome:
    """What became of one cell."""

    cell: str
    problems: tuple[str, ...] = ()
    not_run: str = ""
    runs: int = 1
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        return "not run" if self.not_run else "VIOLATED" if self.problems else "held"


def named(cell: str, subject: str) -> str:
    """The name of a cell; workflows are not said."""
    return cell if subject == "workflow" else f"{subject}: {cell}"


class Stage:
    """`strict`: the ends are those of the table, not merely among those that are possible."""

    def __init__(
        self, system: System, fault: Fault, moments: Sequence[type[Moment]], *, seed: str = "0",
        strict: bool = True, subject: str = "workflow",
    ) -> None:  # fmt: skip
        self.system, self.fault, self.subject, self.strict = system, fault, subject, strict
        self.rng = random.Random(seed)
        self.victim = WORKERS[0]
        self.streams: list[Any] = []
        self.moments = [moment(self) for moment in moments]

    @property
    def process(self) -> Child:
        """The one that is harmed."""
        return self.system.process(self.victim)

    def rng_says(self, _what: str, share: float) -> bool:
        """A choice that only random cells make."""
        return not self.strict and self.rng.random() < share

    def play(self) -> list[Outcome]:
        began = time.monotonic()
        failure = ""
        try:
            self._play()
        except (AssertionError, DatabaseError, OSError) as error:
            failure = f"{type(error).__name__}: {error}".strip()
            self._clear_up()
        seconds = time.monotonic() - began
        return [self._outcome(moment, failure, seconds) for moment in self.moments]

    def _clear_up(self) -> None:
        """After a round that did not come to its end: nothing of it is to be in the way of the next."""
        connection.close()
        self.open_gates()
        self.system.restore()
        for moment in self.moments:
            if moment.run.status() not in ("pending", "completed", "failed", "cancelled"):
                moment.run.cancel()

    def _play(self) -> None:
        self.fault.before(self)
        others = [w for name, w in self.system.workers.items() if name != WORKERS[0]]
        apart = others if self.fault.one_worker and not any(moment.alone for moment in self.moments) else []
        for worker in apart:
            worker.freeze()
        for moment in self.moments:
            moment.reach()
        for worker in apart:
            worker.thaw()
        self._wait_a_little()
        self.fault.do(self)
        self._wait_a_little()
        for moment in self.moments:
            moment.release()
        self.fault.heal(self)
        connection.close()  # whatever the fault did to it
        for moment in self.moments:
            moment.healed()
        for moment in self.moments:
            moment.end()
        for moment in self.moments:
            self._await_end(moment)

    def _wait_a_little(self) -> None:
        if not self.strict:
            time.sleep(self.rng.uniform(0, 0.4))

    def _await_end(self, moment: Moment) -> None:
        if self.fault.kind == "deadline" and moment.run.status() == "failed":
            moment.run.resume()
        run = moment.run
        eventually(
            lambda: run.status() in ("completed", "failed", "cancelled"), PATIENCE,
            lambda: f"for the run at {moment.name!r}, {run.status()}: {run.story('one')} {run.story('two')}",
        )  # fmt: skip

    def _outcome(self, moment: Moment, failure: str, seconds: float) -> Outcome:
        cell = named(f"{moment.name} x {self.fault.name}", self.subject)
        if failure:
            return Outcome(cell, (failure,), seconds=seconds)
        try:
            problems = matrix.judge(self.fault, moment, strict=self.strict) + moment.problems()
        except (AssertionError, DatabaseError) as error:
            problems = [f"cannot be judged: {error}"]
        return Outcome(cell, tuple(problems), seconds=seconds)

    # --- what faults ask of it --------------------------------------------------------------------

    def open_gates(self) -> None:
        for moment in self.moments:
            moment.open_gate()

    def calls_of_victim(self) -> list[Any]:
        """The answers that the victim waits for; those that were on their way when their gate opened too."""
        marks = [moment.mark for moment in self.moments if moment.name in matrix.STREAMING]
        calls = []
        for mark in marks:
            eventually(lambda mark=mark: self.system.model.of(mark), 10, f"for the call of {mark}")
            calls.append(self.system.model.of(mark)[-1])
        return calls

    def lease_over(self) -> None:
        """Wait until nothing that the victim held is running under its name any more."""
        held = [moment.run for moment in self.moments if moment.held]
        pid = f"%:{self.process.pid}:%" if self.victim in self.system.workers else ""
        time.sleep(LEASE)
        for run in held:
            if pid:
                eventually(
                    lambda run=run: not run.attempts(status="running", worker__contains=pid.strip("%")).exists(),
                    15, f"for the lease of {run.story('one')}",
                )  # fmt: skip

    def failed_once(self, seconds: float = 15) -> None:
        """Wait until the first attempt of each run has failed."""
        for moment in self.moments:
            run = moment.run
            eventually(
                lambda run=run: run.attempts(step__key="one", number=1, status="failed").exists(),
                seconds,
                f"for {run.story('one')} to fail",
            )
