"""What the named cells share: runs under test, and waiting for what their rows say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

from tests.faults.model import MIDDLE
from tests.faults.moments import abandon, sql
from tests.faults.subject import WorkflowRun
from tests.faults.system import LEASE, PATIENCE, SWEEP_EVERY, WORKERS, System
from tests.processes.servers import Child, eventually

BOUND = LEASE + SWEEP_EVERY + 10  # s from the death of a worker until its row tells the truth
DONE = [("start", "completed", "")]
LOST_ONCE = [("start", "failed", "lost"), ("lost", "completed", "")]
HANDED_OVER = [("start", "cancelled", "handover"), ("handover", "completed", "")]


class NotHere(Exception):
    """This machine does not allow the cell; the message says why."""


class Bench:
    def __init__(self, system: System) -> None:
        self.system, self.model = system, system.model
        self.runs: list[WorkflowRun] = []

    def run(self, *keys: str, parallel: bool = False, **config: Any) -> WorkflowRun:
        run = WorkflowRun(self.system, list(keys or ("one", "two")), parallel=parallel, **config)
        self.runs.append(run)
        return run

    def streaming(self, *keys: str, script: Sequence[Any] = MIDDLE, **config: Any) -> WorkflowRun:
        """A run whose first step is held at the model."""
        run = self.run(*keys, **config)
        self.model.plan(run.mark("one"), script)
        run.start()
        self.held(run)
        return run

    def held(self, run: WorkflowRun, key: str = "one", calls: int = 1) -> Any:
        """The call of a step, once its answer is held; `calls`: that many have been made by then."""
        mark = run.mark(key)
        eventually(lambda: len(self.model.of(mark)) >= calls, PATIENCE, f"for call {calls} of {mark}")
        return eventually(lambda: self.model.held_now(mark), PATIENCE, f"for {mark} to be held")

    def warm(self) -> None:
        """The first call of a worker imports the vendor's SDK, which takes a second or two."""
        run = self.run("one")
        run.start()
        self.ends(run)

    def held_by_first(self, *keys: str, **config: Any) -> tuple[WorkflowRun, Child]:
        """The same, with the first of the two workers."""
        self.system.workers[WORKERS[1]].freeze()
        run = self.streaming(*keys, **config)
        self.system.workers[WORKERS[1]].thaw()
        return run, self.system.workers[WORKERS[0]]

    def abandoned(self, *keys: str, parallel: bool = False) -> WorkflowRun:
        """A run whose first steps are held by a worker that is gone."""
        run = self.run(*keys, parallel=parallel)
        sql("INSERT INTO lab_unclaimable VALUES (%s)", run.pk)
        run.start(ring=False)
        abandon(run)
        sql("DELETE FROM lab_unclaimable WHERE run = %s", run.pk)
        return run

    def ends(self, run: WorkflowRun, expected: str = "completed", seconds: float = PATIENCE) -> None:
        connection.close()
        last = ("completed", "failed", "cancelled")
        eventually(lambda: run.status() in last, seconds, lambda: f"for {run.status()}: {self.told(run)}")
        assert run.status() == expected, f"{run.status()}: {self.told(run)}"

    def lost(self, run: WorkflowRun, key: str = "one") -> None:
        """Wait until an attempt of the step is known as lost, within the bound."""
        eventually(
            run.attempts(step__key=key, reason="lost").exists,
            BOUND,
            f"for {run.story(key)} to be known as lost",
        )

    def told(self, run: WorkflowRun) -> str:
        return "; ".join(f"{key}: {run.story(key)}" for key in run.keys)

    def story(self, run: WorkflowRun, expected: list[tuple[str, str, str]], key: str = "one") -> None:
        assert run.story(key) == expected, f"{run.story(key)} in place of {expected}"

    def restarted(self, name: str, module: str = "nyxcore.worker", **env: str) -> Child:
        """One worker in place of the one of that name."""
        self.system.dismiss(name)
        worker = self.system.start_worker(name, module, **env)
        worker.await_up()
        return worker

    def alone(self, module: str = "nyxcore.worker", **env: str) -> Child:
        """The only worker there is."""
        for name in WORKERS:
            self.system.dismiss(name)
        worker = self.system.start_worker(WORKERS[0], module, **env)
        worker.await_up()
        return worker
