"""The moments to which a run is brought, and how it is let go again.

Rows, locks and the answers of the model are held from outside; the product has no hook for any of it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.core.management import call_command
from django.db import connection

from nyxcore.processes import Program
from tests.faults.gates import Gate, Held
from tests.faults.model import BEFORE, MIDDLE, MIDDLE_HEAD
from tests.faults.person import Asking
from tests.faults.subject import SUBJECTS
from tests.faults.system import PATIENCE, ROOT, WORKERS
from tests.processes.servers import Child, eventually

if TYPE_CHECKING:
    from tests.faults.stage import Stage


def sql(query: str, *values: Any) -> list[tuple[Any, ...]]:
    """In a transaction of its own, on the laboratory's connection."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall()) if cursor.description else []


class Moment:
    """One run at one moment. `held` says whether a worker has its attempt then."""

    name: ClassVar[str]
    alone: ClassVar[bool] = False  # cannot share a round with other moments
    held: ClassVar[bool] = True

    def __init__(self, stage: Stage) -> None:
        self.stage, self.system = stage, stage.system
        self.gate: Held | None = None
        self.run: Any = SUBJECTS[stage.subject](stage.system, ["one", "two"], **stage.fault.config)
        self.mark = self.run.mark("one")

    def reach(self) -> None:
        """Bring the run there."""

    def release(self) -> None:
        """The fault has come: let go what was held from outside."""
        self.open_gate()
        self.let_answer()

    def healed(self) -> None:
        """The fault is over."""

    def end(self) -> None:
        """What a person does once it is quiet."""

    def problems(self) -> list[str]:
        """What is wrong with the end, beside what the table of expected ends says."""
        return []

    def shut(self, gate: Gate) -> Held:
        self.gate = Held(self.system.database.url, gate, self.run.pk)
        return self.gate

    def await_gate(self) -> tuple[int, str]:
        gate = self.gate
        assert gate is not None
        return eventually(gate.waiting, PATIENCE, lambda: f"for {self.name}: {self.run.story('one')}")  # type: ignore[return-value]

    def open_gate(self) -> None:
        if self.gate is not None:
            self.gate.open()
            self.gate = None

    def call(self) -> Any:
        return eventually(
            lambda: self.system.model.held_now(self.mark),
            PATIENCE,
            lambda: f"for the call of {self.run.story('one')}",
        )

    def let_answer(self) -> None:
        """Let the held call go on, or do what the fault says with it."""
        fault, call = self.stage.fault, self.system.model.held_now(self.mark)
        if call is not None and not fault.silent:
            call.release(self.rest(fault.rest))

    def rest(self, rest: Sequence[Any] | None) -> Sequence[Any] | None:
        return rest

    def unclaimable(self) -> None:
        sql("INSERT INTO lab_unclaimable VALUES (%s)", self.run.pk)

    def claimable(self) -> None:
        sql("DELETE FROM lab_unclaimable WHERE run = %s", self.run.pk)
        sql(
            """UPDATE workflows_stepattempt SET queued_at = clock_timestamp(),
                      due_at = clock_timestamp() + interval '15 s'
                WHERE status = 'pending' AND step_id IN (SELECT id FROM workflows_step WHERE workflow_id = %s)""",
            self.run.pk,
        )


class Committed(Moment):
    """The start is committed; its doorbell never leaves, and nobody claims before the fault is over."""

    name = "between commit and doorbell"
    held = False

    def reach(self) -> None:
        self.unclaimable()
        self.run.start(ring=False)

    def healed(self) -> None:
        self.claimable()


class Rung(Moment):
    """The doorbells are with Valkey, and no worker takes them."""

    name = "doorbell sent, not claimed"
    alone, held = True, False

    def reach(self) -> None:
        for worker in self.system.workers.values():
            worker.freeze()
        before = self._rung()
        self.run.start()
        eventually(lambda: self._rung() > before, 10, "for a doorbell")

    def _rung(self) -> int:
        with self.system.bus.client() as client:
            return int(client.info("commandstats").get("cmdstat_lpush", {}).get("calls", 0))

    def release(self) -> None:
        for worker in self.system.workers.values():
            if worker.alive:
                worker.thaw()


class Claimed(Moment):
    name = "just after the claim"

    def reach(self) -> None:
        self.system.model.plan(self.mark, *self._plan())
        self.shut(Gate.CLAIMED)
        self.run.start()
        self.await_gate()

    def _plan(self) -> list[Sequence[Any]]:
        fault = self.stage.fault
        if fault.silent:
            return [MIDDLE]
        if fault.kind == "forced":
            return [BEFORE]
        return [self._whole(fault.rest)] if fault.rest is not None else []

    @staticmethod
    def _whole(rest: Sequence[Any]) -> Sequence[Any]:
        return rest if rest and not isinstance(rest[0], (bytes, float)) else [*MIDDLE_HEAD, *rest]


class FirstToken(Moment):
    name = "before the first token"

    def reach(self) -> None:
        self.system.model.plan(self.mark, BEFORE)
        self.run.start()
        self.call()

    def rest(self, rest: Sequence[Any] | None) -> Sequence[Any] | None:
        return None if rest is None else Claimed._whole(rest)


class MidStream(Moment):
    name = "in mid-stream"

    def reach(self) -> None:
        self.system.model.plan(self.mark, MIDDLE)
        self.run.start()
        self.call()


class Answered(Moment):
    name = "answer received, not stored"

    def reach(self) -> None:
        self.shut(Gate.ANSWERED)
        self.run.start()
        self.await_gate()


class Stored(Moment):
    name = "answer stored, finish not committed"

    def reach(self) -> None:
        self.shut(Gate.FINISHED)
        self.run.start()
        self.await_gate()


class Sweeping(Moment):
    """A process ends an attempt as lost, and its transaction is open. That process is the one to be harmed."""

    name = "within the sweep"
    alone = True

    def reach(self) -> None:
        self.unclaimable()
        self.run.start(ring=False)
        self.shut(Gate.SWEPT)
        abandon(self.run)
        sql("DELETE FROM lab_unclaimable WHERE run = %s", self.run.pk)
        _, self.stage.victim = self.await_gate()


def abandon(run: Any) -> None:
    """All pending attempts of a run are held by a worker that is gone, its lease just over."""
    sql(
        """UPDATE workflows_stepattempt
              SET status = 'running', worker = 'gone:1:0/0', started_at = clock_timestamp(),
                  heartbeat_at = clock_timestamp(), due_at = clock_timestamp() - interval '1 ms',
                  deadline_at = clock_timestamp() + interval '1 hour', version = version + 1
            WHERE status = 'pending' AND step_id IN (SELECT id FROM workflows_step WHERE workflow_id = %s)""",
        run.pk,
    )


class Cancelling(MidStream):
    """A person's cancel is in the middle of its transaction."""

    name = "while cancelling"

    def reach(self) -> None:
        super().reach()
        self.shut(Gate.CANCELLED)
        self._asking = Asking(self.run.person, f"{self.run.path}cancel/")
        self.await_gate()

    def problems(self) -> list[str]:
        answer = self._asking.result()
        confirmed = answer.status in (200, 302)
        if confirmed and self.run.status() != "cancelled":
            return [f"the cancel was confirmed ({answer.status}), and the run is {self.run.status()}"]
        return []


class Paused(MidStream):
    """A person has paused the run while a step streams; that step may end, nothing new opens."""

    name = "while paused"

    def reach(self) -> None:
        super().reach()
        answer = self.run.post("pause")
        assert answer.status == 302, (
            f"the pause was answered with {answer.status} after {answer.seconds:.1f} s"
        )
        self._early: list[str] = []

    def end(self) -> None:
        eventually(
            lambda: not self.run.attempts(status__in=("pending", "running")).exists(),
            PATIENCE,
            "for the paused step",
        )
        if self.run.status() not in ("paused", "failed"):
            self._early.append(f"was {self.run.status()} although a person held it")
        if self.run.attempts(step__key="two").exists():
            self._early.append("opened a step although a person held it")
        self.run.resume()

    def problems(self) -> list[str]:
        return self._early


class StartUp(Moment):
    """No worker lives, a step waits, and a worker is starting."""

    name = "during start-up"
    alone, held = True, False

    def reach(self) -> None:
        for name in WORKERS:
            self.system.dismiss(name)
        self.run.start()
        before = self.system.to_database[WORKERS[0]].links
        self.system.start_worker(WORKERS[0])
        eventually(lambda: self.system.to_database[WORKERS[0]].links > before, 30, "for the first connection")


class Migrating(MidStream):
    """A migration waits for a lock on the table of attempts, while one step streams and others come and go."""

    name = "during a migration"
    alone = True
    BEFORE, APP = "0006_fair_claim", "workflows"

    def reach(self) -> None:
        call_command("migrate", self.APP, self.BEFORE, verbosity=0)
        super().reach()
        self._lock = Held(self.system.database.url, Gate.STARTED, -self.run.pk)
        self._lock.also("BEGIN; LOCK TABLE workflows_stepattempt IN ROW EXCLUSIVE MODE")
        self._migrate()
        waits = "application_name = 'command' AND wait_event_type = 'Lock'"
        eventually(lambda: sql(f"SELECT 1 FROM pg_stat_activity WHERE {waits}"), 30, "for the migration")
        meanwhile = SUBJECTS[self.stage.subject](self.system, ["one", "two"])
        meanwhile.start()
        eventually(lambda: meanwhile.status() == "completed", 8, "for a run that starts during the migration")
        self.stage.victim = "command"

    def _migrate(self) -> None:
        argv = [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"]
        program = Program("command", lambda: argv, self.system.environment("command"))
        self.system.command = Child(program, self.system.folder / "command.log")

    def release(self) -> None:
        self._lock.open()
        super().release()

    def end(self) -> None:
        """Whatever became of it: the same command again brings the schema up."""
        command = self.system.command
        assert command is not None
        self._first = command.child.wait(60)
        if self._first != 0:
            self._migrate()
            self._second = self.system.command.child.wait(60)  # type: ignore[union-attr]
        else:
            self._second = 0

    def problems(self) -> list[str]:
        found = [] if self._second == 0 else ["the migration cannot be taken up again"]
        index = sql("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('step_at_work')")
        return found + ([] if index == [(True,)] else [f"the index of the migration is {index or 'missing'}"])


MOMENTS: dict[str, type[Moment]] = {
    moment.name: moment
    for moment in (
        Committed, Rung, Claimed, FirstToken, MidStream, Answered, Stored, Sweeping, Cancelling, Paused, StartUp,
        Migrating,
    )
}  # fmt: skip
