"""What the sweep does with workflows: their engine, what stands still, what a waiting step waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef, Q

from nyxcore import sweep
from nyxcore.attempts import Result
from nyxcore.calls import storable
from nyxcore.dbtime import later, since
from nyxcore.llm.base import LLMError
from nyxcore.recovery import Recovery, told
from nyxcore.states import SWEEP, Reason, Status, acting, transition
from nyxcore.thinning import Texts
from workflows import engine, explain, requests, runner, together
from workflows.imported import ImportedWorkflows
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome
from workflows.models import Step, StepAttempt, Workflow

S = Status
AT_WORK = (S.RUNNING, S.WAITING, S.CUT_OFF)
STOPS = (Reason.BUDGET, Reason.USER)  # what pauses a run until a person resumes it


class WorkflowRecovery(Recovery):
    attempts = StepAttempt
    items = Step
    runs = Workflow
    item = "step"
    run = "workflow"
    active = (S.RUNNING, S.PAUSED)
    imported = ImportedWorkflows()

    def lock(self, pks: Iterable[int]) -> dict[int, Any]:
        return engine.lock_all_free(list(pks))

    def stored(self, attempt: Any) -> tuple[Result, Any]:
        return requests.result_from_row(attempt), None

    def estimate_cost(self, attempt: Any) -> None:
        requests.estimate_cost(attempt)

    def follow(self, run: Any, attempt: Any, result: Result, made: Any) -> str:
        engine.follow(run, attempt, result)
        return ""

    def follow_all(self, runs: Mapping[int, Any], ended: Sequence[Any]) -> None:
        together.follow(runs, ended)

    def settle(self, run: Any, stop: str = "") -> None:
        engine.settle(run)

    def idle(self) -> Q:
        """A running one has an attempt at work; a paused one is held, over budget, or has a step that asks for a
        person. The index of steps at work tells."""
        at_work = Step.objects.filter(workflow=OuterRef("pk"), status__in=AT_WORK)
        moved = Exists(at_work.filter(self.has_open(status__in=(S.PENDING, S.RUNNING))))
        asks = Exists(at_work.filter(Q(status__in=(S.WAITING, S.CUT_OFF)) | Q(self.has_open())))
        paused = Q(status=S.PAUSED, held_by=None) & ~Q(reason__in=STOPS)
        return (Q(status=S.RUNNING) & ~moved) | (paused & ~asks)

    def look(self, pk: int) -> str:
        """A waiting attempt whose time has come: its kind's time-out, or another look later."""
        with acting(SWEEP):
            attempt = self.overdue(pk, S.WAITING)
            workflow = self.lock_of(attempt) if attempt else None
            if workflow is None:
                return ""
            attempt = self.overdue(pk, S.WAITING, lock=True)
            if attempt is None:
                return ""
            waited = _seconds_since(pk, "started_at")
            try:
                seen = KINDS[attempt.kind].look(attempt.request, waited)
            except LLMError as error:
                engine.keep_spent(attempt)
                transition(attempt, S.WAITING, S.FAILED, reason=error.reason, error=error.message)
                transition(attempt.step, S.WAITING, S.FAILED, reason=error.reason)
                engine.settle(workflow)
                return f"ended as {error.reason}: {error.message}"
            if isinstance(seen, Outcome):
                return _done(workflow, attempt, seen)
            again = min(seen or engine.RING_AT_MOST, engine.RING_AT_MOST)
            StepAttempt.objects.filter(pk=pk, status=S.WAITING).update(due_at=later(max(again, 1.0)))
            return "still waits"


def _seconds_since(pk: int, column: str) -> float:
    waited = StepAttempt.objects.filter(pk=pk).annotate(waited=since(column)).values_list("waited", flat=True)
    return float(waited[0])


def _done(workflow: Workflow, attempt: Any, seen: Outcome) -> str:
    """What a step waited for has ended, and that is its output."""
    text = storable(seen.text)
    engine.keep_spent(attempt)
    transition(attempt, S.WAITING, S.COMPLETED, output=text)
    transition(attempt.step, S.WAITING, S.COMPLETED, output=text)
    engine.settle(workflow)
    return "completed: what it waited for has ended"


RECOVERY = WorkflowRecovery()
SWEPT = RECOVERY.target(
    name="workflow",
    look=RECOVERY.look,
    work=runner.work,
    hand_over=runner.hand_over,
    explain=told(Workflow.objects.select_related("owner", "held_by"), explain.explain),
    explain_more={
        "step": told(
            Step.objects.select_related("workflow__owner", "workflow__held_by"), explain.explain_step
        ),
        "attempt": told(
            StepAttempt.objects.select_related("step__workflow__owner", "step__workflow__held_by"),
            explain.explain_attempt,
        ),
    },
)
# Read are the answers that a resume could build on: the last whole or cut one of a step, all that came after it, and
# the parts of a continued one.
OLD_TEXTS = Texts(
    runner.QUEUE,
    unread=f"""EXISTS (SELECT FROM {runner.TABLE} b WHERE b.step_id = a.step_id AND b.branch = a.branch
                          AND b.number > a.number AND b.status IN ('completed', 'cut_off'))
           AND NOT EXISTS (SELECT FROM {runner.TABLE} c WHERE c.continues_id = a.id)""",
)


def repair_run(workflow_pk: int) -> None:
    """What the opening of a run's page does: the sweep, for this run only. Never starts anything."""
    sweep.run_pass(scope=sweep.Scope(run=workflow_pk))
