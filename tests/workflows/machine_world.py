"""The world of the state machine: workers that are simulated step by step with the product's own pieces, time that
moves in the rows, and what must be so after each move. No processes and no threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from nyxcore import attempts, events, pulse, sweep
from nyxcore.calls import CALLS, Call
from nyxcore.llm.base import Completion, LLMError, Stopped, Usage
from nyxcore.models import SweepState
from nyxcore.states import Reason, Status
from tests.factories import make_user
from tests.invariants import violations
from workflows import engine, requests, runner
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome, StepInput
from workflows.models import StepAttempt, Workflow
from workflows.services import Refused
from workflows.work import Job, Result

S = Status
LEASE, SWEEP_EVERY = 60.0, 10.0
FOREVER = 10**9.0
TABLES = {
    "workflows_workflow": ("status_changed_at", "started_at", "finished_at", "created_at"),
    "workflows_step": ("status_changed_at", "started_at", "finished_at"),
    "workflows_stepattempt": (
        *("status_changed_at", "started_at", "finished_at"),
        *("due_at", "heartbeat_at", "deadline_at", "queued_at"),
    ),
    "nyxcore_sweepstate": ("last_pass", "guard_until"),
    "nyxcore_worker": ("started_at", "seen_at"),
    "nyxcore_auditentry": ("at",),
}
SHIFT = ";".join(
    f"UPDATE {table} SET " + ", ".join(f"{name} = {name} - make_interval(secs => %(s)s)" for name in names)
    for table, names in TABLES.items()
)
EVERYTHING = " UNION ALL ".join(f"SELECT '{table}', to_jsonb(t)::text FROM {table} t" for table in TABLES)
HISTORY = """SELECT a.id, a.status, a.reason, a.stop_reason, a.finished_at - a.started_at, a.cause, a.number,
                    CASE WHEN a.status = 'completed' THEN a.output END, a.step_id, a.version
               FROM workflows_stepattempt a"""
STEPS = """SELECT s.id, s.status, s.output,
                  (SELECT count(*) FROM workflows_stepattempt a WHERE a.step_id = s.id), s.version
             FROM workflows_step s"""


def sql(query: str, values: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall()) if cursor.description else []


@dataclass
class Held:
    """An attempt in the hands of a worker: how far it is, and what it came to once that is known."""

    job: Job
    call: Call
    request: dict[str, Any] | None = None
    result: Result | None = None  # its facts are committed


@dataclass
class Worker:
    name: str
    frozen: bool = False
    held: dict[int, Held] = field(default_factory=dict)


class World:
    """All rows are gone when it begins; `check` after each move."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn  # the pulse's connection, which all workers share
        sql(
            "DELETE FROM workflows_stepattempt; DELETE FROM workflows_step; DELETE FROM workflows_workflow;"
            "DELETE FROM nyxcore_auditentry; DELETE FROM nyxcore_worker; DELETE FROM nyxcore_sweepstate"
        )
        events.queue.clear()
        SweepState.objects.create(id=1, last_pass=None)
        self.ada, self.operator = make_user("ada"), make_user("root", is_staff=True)
        self.owners = [self.ada, make_user("bob")]
        self.workers = {name: Worker(name) for name in ("w1/0", "w1/1", "w2/0")}
        self.born = 2
        self.stale: list[tuple[Callable[..., str], tuple[Any, ...]]] = []  # what a slow sweeper has seen
        sweep.run_pass()
        self.remember()

    # --- what must be so ---

    def remember(self) -> None:
        self.history = {row[0]: row for row in sql(HISTORY)}
        self.steps = {row[0]: row for row in sql(STEPS)}
        self.runs = dict(sql("SELECT id, status FROM workflows_workflow"))

    def check(self, move: str, *, again: bool = False) -> None:
        """After a move: the invariants, and that nothing which has ended changed. `again`: a person's word to run
        completed steps once more."""
        with connection.cursor() as cursor:
            broken = violations(cursor)
        assert not broken, f"after {move}: {broken}"
        history, steps = self.history, self.steps
        self.remember()
        for pk, before in history.items():
            after = self.history.get(pk)
            if after is None:
                assert before[8] not in self.steps, f"{move}: attempt {pk} vanished"
                continue
            assert after[9] >= before[9], f"{move}: the version of attempt {pk} fell"
            if before[1] in ("completed", "failed", "cancelled", "cut_off"):
                assert before[:9] == after[:9], f"{move}: attempt {pk} had ended: {before} > {after}"
        for pk, before in steps.items():
            after = self.steps.get(pk)
            if after is None:
                continue
            assert after[4] >= before[4], f"{move}: the version of step {pk} fell"
            if before[1] == "completed" and not again:
                assert before[:4] == after[:4], f"{move}: step {pk} was completed: {before} > {after}"

    def verb(self, name: str, action: Callable[[], Any]) -> bool:
        """A person's verb; where it is refused nothing has changed."""
        before = sql(EVERYTHING)
        try:
            action()
        except Refused:
            assert sql(EVERYTHING) == before, f"{name} was refused, yet something changed"
            return False
        return True

    @contextmanager
    def sparing_the_living(self, move: str) -> Iterator[None]:
        """Around whatever sweeps: an attempt whose worker lives, and that is before its deadline, goes on."""
        mine = [pk for worker in self.awake() for pk in worker.held]
        alive = (
            "SELECT id FROM workflows_stepattempt WHERE id = ANY(%s) AND status = 'running'"
            " AND deadline_at > clock_timestamp()"
        )
        before = sql(alive, [mine])
        yield
        ended = set(before) - set(sql(alive, [mine]))
        assert not ended, f"{move} ended what lives: {ended}"

    # --- time ---

    def shift(self, seconds: float) -> None:
        """Every time in every row moves into the past."""
        sql(SHIFT, {"s": seconds})

    def steady(self, seconds: float) -> None:
        """Time goes by, living workers beat, and the sweep passes (though it has found nothing yet)."""
        self.shift(seconds)
        for worker in self.awake():
            self.beat(worker)
        if seconds > SWEEP_EVERY:
            sql("UPDATE nyxcore_sweepstate SET last_pass = clock_timestamp() - interval '9 s'")

    # --- workers ---

    def awake(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if not worker.frozen]

    @contextmanager
    def _pulsing(self, worker: Worker) -> Iterator[pulse.Process]:
        with ExitStack() as stack:
            for held in worker.held.values():
                stack.enter_context(CALLS.holding(held.call))
            yield pulse.Process(worker=worker.name)

    def beat(self, worker: Worker) -> None:
        """The pulse of a worker: renew, save texts, and stop what is no longer its own."""
        with self._pulsing(worker) as process:
            process._beat(self.conn)
            process._save_texts(self.conn)
        for held in [held for held in worker.held.values() if held.call.stop.is_set()]:
            self.stopped(worker, held)

    def take(self, worker: Worker, job: Job | None) -> None:
        if job is not None:
            call = Call(
                (runner.TABLE, job.attempt),
                f"workflow-{job.workflow}",
                f"step-{job.step}",
                worker.name,
                FOREVER,
            )
            worker.held[job.attempt] = Held(job, call)

    def claim(self, worker: Worker) -> bool:
        """The next attempt, as an idle thread takes it."""
        before = len(worker.held)
        self.take(worker, runner._job(runner.claim(worker.name)))
        return len(worker.held) > before

    def begin(self, worker: Worker, held: Held) -> None:
        """Fill the prompt and store it; what cannot be filled ends the step."""
        try:
            held.request = requests.build_for(held.job)
        except LLMError as error:
            self.end(worker, held, Result(S.FAILED, error.reason, error.message))
            return
        if KINDS[held.job.kind].paid and not attempts.store_request(
            StepAttempt, held.job.attempt, worker.name, held.request
        ):
            del worker.held[held.job.attempt]

    def stopped(self, worker: Worker, held: Held) -> None:
        """A call was told that its row is no longer its own."""
        worker.held.pop(held.job.attempt, None)
        error = Stopped("stopped", reason=held.call.stop.cause, partial=held.call.text())
        assert runner._stopped(held.job, held.request or {}, held.call, worker.name, error) is None

    def result(self, held: Held, kind: str) -> Result:
        """What a call comes to, made by the runner's own hands."""
        job, request = held.job, held.request or {}
        if job.kind == "gate":
            gate = KINDS["gate"]
            step = StepInput(config=gate.Config.model_validate(job.config), request=request)
            return runner._result(job, request, gate.run(step))
        text = f"Answer {job.attempt}."
        if kind in ENDS:
            status, reason, stop_reason = ENDS[kind]
            text = "" if kind == "thinking" else text
            completion = Completion(text, stop_reason, request["model"], Usage(1000, 500))
            return runner._result(job, request, Outcome(status, reason, text=text, completion=completion))
        if kind == "handover":
            return Result(S.CANCELLED, Reason.HANDOVER, facts={"output": text})
        reason = FAILURES[kind]
        return Result(
            S.FAILED, reason, "It broke.", facts={"output": "Half"}, retryable=kind in ("transport", "rate")
        )

    def facts(self, worker: Worker, held: Held, kind: str) -> None:
        """The answer is there: what was paid for is committed, what follows from it is not."""
        held.result = self.result(held, kind)
        if not engine.write_facts(held.job.attempt, worker.name, held.result.facts):
            del worker.held[held.job.attempt]

    def end(
        self, worker: Worker, held: Held, result: Result, *, claim: bool = False, hot: bool = True
    ) -> None:
        """The finish, by the hot path where it applies, or by the engine alone."""
        del worker.held[held.job.attempt]
        if hot:
            CALLS.draining = not claim
            self.take(worker, runner._finish(held.job, result, worker.name))
            CALLS.draining = False
        else:
            attempt = StepAttempt.objects.select_related("step__workflow").get(pk=held.job.attempt)
            self.take(worker, runner._job(engine.finish(attempt, result, worker.name, claim=claim)))

    def finish(self, worker: Worker, held: Held, kind: str, *, claim: bool = False, hot: bool = True) -> None:
        """From wherever the call is to its end."""
        if held.request is None:
            self.begin(worker, held)
        if held.job.attempt in worker.held and held.result is None:
            self.facts(worker, held, kind)
        if held.job.attempt in worker.held and held.result is not None:
            self.end(worker, held, held.result, claim=claim, hot=hot)

    def bear(self) -> Worker:
        self.born += 1
        worker = Worker(f"w{self.born}/0")
        self.workers[worker.name] = worker
        return worker

    def bury(self, worker: Worker) -> None:
        del self.workers[worker.name]

    # --- the end ---

    def run_out(self, rounds: int = 14) -> None:
        """All workers have died; a fresh one runs whatever it gets. Every run ends, or waits for a person."""
        self.workers = {}
        worker = self.bear()
        for _ in range(rounds):
            self.steady(LEASE + 61)
            sweep.run_pass()
            self.check("the last sweeps")
            while self.claim(worker):
                for held in list(worker.held.values()):
                    self.finish(worker, held, "completed", claim=True)
            self.check("the last worker")
            if not sql(
                "SELECT FROM workflows_workflow w WHERE status = 'running' OR EXISTS (SELECT FROM workflows_step s "
                "JOIN workflows_stepattempt a ON a.step_id = s.id WHERE s.workflow_id = w.id "
                "AND a.status IN ('pending', 'running'))"
            ):
                return
        raise AssertionError(f"still at work after {rounds} rounds: {self.picture()}")

    def picture(self) -> list[Any]:
        return [
            (
                w.pk,
                w.status,
                w.reason,
                list(w.steps.values_list("key", "status", "reason").order_by("position")),
            )
            for w in Workflow.objects.order_by("pk")
        ]


ENDS: dict[str, tuple[Any, str, str]] = {
    "completed": ("completed", "", "end_turn"),
    "max_tokens": ("cut_off", "cut_off:max_tokens", "max_tokens"),
    "thinking": ("cut_off", "cut_off:thinking", "max_tokens"),
    "context": ("cut_off", "cut_off:context", "model_context_window_exceeded"),
}
FAILURES = {
    "transport": Reason.TRANSPORT,
    "rate": Reason.RATE_LIMITED,
    "auth": Reason.AUTH,
    "bad_request": Reason.BAD_REQUEST,
    "deadline": Reason.DEADLINE,
}
KINDS_OF_END = ["completed", "completed", *ENDS, *FAILURES, "handover"]
