"""What an operator does to runs beyond the verbs of their owners: declare one failed, take an attempt from its worker.

As in services: one audited transaction under the workflow's lock; Refused with a sentence where the state forbids it.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from nyxcore.llm.base import LLMError
from nyxcore.pulse import ring, tell_to_stop
from nyxcore.states import Reason, Status, transition, transition_all
from workflows import engine, requests
from workflows.models import Cause, Step, StepAttempt, Workflow
from workflows.services import TABLE, Refused, verb

S = Status
KIND = "operator"


def mark_failed(workflow: Workflow, *, by: Any, kind: str = KIND) -> None:
    """End an active run as failed: calls are stopped, their text is kept, and its owner can resume it.

    Unlike a cancelled one, a run marked failed keeps its pending and cut steps as they are.
    """
    with verb(workflow.pk, by, "mark failed", kind=kind) as locked:
        if locked.status not in (S.RUNNING, S.PAUSED):
            raise Refused(
                f"Only an active workflow can be marked failed; this one is {Status(locked.status).label.lower()}."
            )
        _end_attempts(locked)
        for status in (S.RUNNING, S.WAITING):
            steps = Step.objects.filter(workflow=locked, status=status).values_list("pk", flat=True)
            transition_all(Step, list(steps), status, S.FAILED, reason=Reason.USER)
        transition(locked, Status(locked.status), S.FAILED, reason=Reason.USER, held_by=None)


def _end_attempts(workflow: Workflow) -> None:
    """Fail every open attempt. Pending ones first: a claim moves them to running without the workflow's lock."""
    attempts = StepAttempt.objects.filter(step__workflow=workflow)
    for status in (S.PENDING, S.RUNNING, S.WAITING):
        pks = list(attempts.filter(status=status).values_list("pk", flat=True))
        moved = transition_all(StepAttempt, pks, status, S.FAILED, reason=Reason.USER)
        if status == S.RUNNING:
            _count_and_stop(moved)
        elif status == S.WAITING:
            engine.let_go(moved)


def _count_and_stop(pks: list[int]) -> None:
    """What the calls have cost so far is estimated, and whoever makes them ends them."""
    for attempt in StepAttempt.objects.filter(pk__in=pks).exclude(request={}):
        requests.estimate_cost(attempt)
    tell_to_stop(TABLE, pks, "gone")


def release_workflow(workflow: Workflow, *, by: Any, kind: str = KIND) -> int:
    """Release every running attempt of a run; how many there were."""
    with verb(workflow.pk, by, "release", kind=kind) as locked:
        running = _running(StepAttempt.objects.filter(step__workflow=locked))
        released = sum(_release(locked, attempt, by) for attempt in running)
        if not released:
            raise Refused("No worker holds a step of this workflow, so there is nothing to release.")
        _go_on(locked)
    return released


def release_step(step: Step, *, by: Any, kind: str = KIND) -> None:
    """Take a running attempt from its worker: it ends as lost, and a new one waits for any worker."""
    with verb(step.workflow_id, by, "release", kind=kind, detail=step.key) as workflow:
        running = _running(StepAttempt.objects.filter(step=step))
        if not sum(_release(workflow, attempt, by) for attempt in running):
            word = Step.objects.values_list("status", flat=True).get(pk=step.pk)
            raise Refused(f"No worker holds “{step.title}”: it is {Status(word).label.lower()}.")
        _go_on(workflow)


def _running(attempts: QuerySet[StepAttempt]) -> QuerySet[StepAttempt]:
    """The running ones, locked: a worker stores its answer without the workflow's lock, and what is there counts."""
    rows = attempts.filter(status=S.RUNNING).order_by("pk")
    return rows.select_related("step").select_for_update(of=("self",))


def _release(workflow: Workflow, attempt: StepAttempt, by: Any) -> bool:
    """End one attempt and open the next; False when its worker was faster.

    Where the answer is there already and only its consequences are missing, it is kept instead.
    """
    if attempt.stop_reason:
        engine.end_for(workflow, attempt, requests.result_from_row(attempt))
        return True
    error = f"Released from worker {attempt.worker} by {by.get_username()}."
    if not transition(attempt, S.RUNNING, S.FAILED, reason=Reason.LOST, error=error, reserved=None):
        return False
    _count_and_stop([attempt.pk])
    try:
        engine.open_attempt(workflow, attempt.step, cause=Cause.LOST, after=attempt)
    except engine.OverBudget:
        transition(attempt.step, S.RUNNING, S.PENDING)  # the run pauses for its budget
    except LLMError as failure:
        transition(attempt.step, S.RUNNING, S.FAILED, reason=failure.reason)
    return True


def _go_on(workflow: Workflow) -> None:
    engine.settle(workflow)
    transaction.on_commit(ring)
