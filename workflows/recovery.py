"""What the sweep does with this app's rows. Every handler locks the workflow, judges again, and acts as the sweep."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from nyxcore import attempts, sweep
from nyxcore.calls import storable
from nyxcore.dbtime import ago, later, since
from nyxcore.llm.base import LLMError
from nyxcore.pulse import tell_to_stop
from nyxcore.states import SWEEP, Actor, Reason, Status, acting, transition, transition_all
from workflows import engine, requests, runner
from workflows.decide import DONE
from workflows.explain import explain
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome
from workflows.models import Step, StepAttempt, Workflow
from workflows.work import Result

log = logging.getLogger(__name__)
S = Status
OPEN = (S.PENDING, S.RUNNING, S.WAITING)


def redeliver(pks: list[int]) -> str:
    """Ring for pending attempts; the next alarm comes after twice the time, at most five minutes."""
    return attempts.redeliver(StepAttempt, pks)


def expire(pk: int, reason: Reason) -> str:
    """End a running attempt that gives no sign of life, or outlived its deadline."""
    try:
        return _expire(pk, _verdict)
    except (OperationalError, InterfaceError):
        raise  # the next pass finds it again
    except Exception as error:
        log.exception("attempt %s cannot be ended as it should be", pk)
        broken = Result(S.FAILED, Reason.INTERNAL, error=f"{type(error).__name__}: {error}"[:4000])
        return _expire(pk, lambda attempt: (broken, "ended as internal"))


def _verdict(attempt: Any) -> tuple[Result, str]:
    """How a silent attempt ends, and that in words."""
    if attempt.stop_reason:  # the answer was stored, only its consequences are missing
        return requests.result_from_row(attempt), "finished from the stored answer"
    reason = sweep.verdict(attempt)
    requests.estimate_cost(attempt)
    return Result(S.FAILED, reason, error=attempts.last_sign(attempt)), f"ended as {reason}"


def _expire(pk: int, judge: Callable[[Any], tuple[Result, str]]) -> str:
    with acting(SWEEP):
        attempt = _judge(pk, S.RUNNING)
        workflow = engine.lock_if_free(attempt.step.workflow_id) if attempt else None
        if workflow is None:
            return ""
        attempt = _judge(pk, S.RUNNING, lock=True)
        if attempt is None:
            return ""
        result, did = judge(attempt)
        engine.end_for(workflow, attempt, result)
        tell_to_stop(StepAttempt._meta.db_table, [pk], "gone")
        engine.settle(workflow)
    return did


def _judge(pk: int, status: Status, *, lock: bool = False) -> Any:
    """The attempt if it is still overdue, read afresh."""
    return attempts.overdue(StepAttempt, pk, status, "step", lock=lock)


def _seconds_since(pk: int, column: str) -> float:
    waited = StepAttempt.objects.filter(pk=pk).annotate(waited=since(column)).values_list("waited", flat=True)
    return float(waited[0])


def look(pk: int) -> str:
    """A waiting attempt whose time has come: its kind's time-out, or another look later."""
    with acting(SWEEP):
        attempt = _judge(pk, S.WAITING)
        workflow = engine.lock_if_free(attempt.step.workflow_id) if attempt else None
        if workflow is None:
            return ""
        attempt = _judge(pk, S.WAITING, lock=True)
        if attempt is None:
            return ""
        waited = _seconds_since(pk, "started_at")
        try:
            seen = KINDS[attempt.kind].look(attempt.request, waited)
        except LLMError as error:
            transition(attempt, S.WAITING, S.FAILED, reason=error.reason, error=error.message)
            transition(attempt.step, S.WAITING, S.FAILED, reason=error.reason)
            engine.settle(workflow)
            return f"ended as {error.reason}: {error.message}"
        if isinstance(seen, Outcome):
            return _done(workflow, attempt, seen)
        again = min(seen or engine.RING_AT_MOST, engine.RING_AT_MOST)
        StepAttempt.objects.filter(pk=pk, status=S.WAITING).update(due_at=later(max(again, 1.0)))
        return "still waits"


def _done(workflow: Workflow, attempt: Any, seen: Outcome) -> str:
    """What a step waited for has ended, and that is its output."""
    text = storable(seen.text)
    transition(attempt, S.WAITING, S.COMPLETED, output=text)
    transition(attempt.step, S.WAITING, S.COMPLETED, output=text)
    engine.settle(workflow)
    return "completed: what it waited for has ended"


RESTLESS = """
SELECT EXISTS (
    SELECT FROM workflows_workflow w
     WHERE w.status IN ('running', 'paused') AND (w.id = %(run)s OR w.owner_id = %(owner)s)
       AND (NOT EXISTS (SELECT FROM workflows_step s JOIN workflows_stepattempt a ON a.step_id = s.id
                         WHERE s.workflow_id = w.id AND a.status IN ('pending', 'running', 'waiting'))
            OR EXISTS (SELECT FROM workflows_step s JOIN workflows_stepattempt a ON a.step_id = s.id
                        WHERE s.workflow_id = w.id AND a.status IN ('pending', 'running', 'waiting')
                          AND (a.due_at < clock_timestamp() OR a.deadline_at < clock_timestamp())))
) OR EXISTS (
    SELECT FROM workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id
     WHERE w.id = %(run)s AND (w.status = 'completed' AND s.status NOT IN ('completed', 'skipped')
                               OR w.status IN ('failed', 'cancelled') AND s.status IN ('running', 'waiting'))
)
"""


def restless(scope: sweep.Scope) -> bool:
    """Whether a pass over this scope would find anything. One query, since each start and each page asks it."""
    with connection.cursor() as cursor:
        cursor.execute(RESTLESS, {"run": scope.run, "owner": scope.owner})
        return bool(cursor.fetchone()[0])


def idle_runs(scope: sweep.Scope) -> QuerySet[Workflow]:
    """Active runs with nothing open and no reason to stand still; and what no rule allows (imported data)."""
    runs = _annotated(Workflow.objects.all())
    if scope.run is not None:
        runs = runs.filter(pk=scope.run)
    if scope.owner is not None:
        runs = runs.filter(owner=scope.owner)
    if scope.older_than:
        runs = runs.filter(status_changed_at__lt=ago(scope.older_than))
    return runs.filter(_idle() | _impossible()).order_by("pk")


def _annotated(runs: QuerySet[Workflow]) -> QuerySet[Workflow]:
    steps = Step.objects.filter(workflow=OuterRef("pk"))
    return runs.annotate(
        open_attempt=Exists(StepAttempt.objects.filter(step__workflow=OuterRef("pk"), status__in=OPEN)),
        stands=Exists(steps.filter(status__in=(S.WAITING, S.CUT_OFF))),
        undone=Exists(steps.exclude(status__in=DONE)),
        at_work=Exists(steps.filter(status__in=(S.RUNNING, S.WAITING))),
    )


def _idle() -> Q:
    paused = Q(status=S.PAUSED, held_by=None) & ~Q(reason=Reason.BUDGET)
    return (Q(status=S.RUNNING) | paused) & Q(open_attempt=False, stands=False)


def _impossible() -> Q:
    return (
        Q(status__in=(S.RUNNING, S.PAUSED), started_at=None)
        | Q(status=S.COMPLETED, undone=True)
        | Q(status__in=(S.FAILED, S.CANCELLED), at_work=True)
    )


def repair(pk: int) -> str:
    """Settle a run that nothing moves; bring one that no rule allows to `failed`, reason stuck."""
    with acting(SWEEP):
        workflow = engine.lock_if_free(pk)
        if workflow is None:
            return ""
        if _annotated(Workflow.objects.filter(pk=pk)).filter(_impossible()).exists():
            return _close_impossible(workflow)
        if not _annotated(Workflow.objects.filter(pk=pk)).filter(_idle()).exists():
            return ""
        before = workflow.status
        engine.settle(workflow)
        return f"settled: {before} > {workflow.status}"


def _close_impossible(workflow: Workflow) -> str:
    """Only rows from outside (a dump loaded without its constraints) get here."""
    before = Status(workflow.status)
    with acting(Actor("repair", "sweep")):
        open_ = StepAttempt.objects.filter(step__workflow=workflow, status__in=OPEN)
        for status, pks in attempts.by_status(open_).items():
            transition_all(StepAttempt, pks, status, S.FAILED, reason=Reason.STUCK)
        steps = Step.objects.filter(workflow=workflow, status__in=(S.RUNNING, S.WAITING))
        for status, pks in attempts.by_status(steps).items():
            transition_all(Step, pks, status, S.FAILED, reason=Reason.STUCK)
        if before != S.FAILED:
            transition(
                workflow,
                before,
                S.FAILED,
                reason=Reason.STUCK,
                started_at=workflow.started_at or workflow.created_at,
            )
        Step.objects.filter(workflow=workflow).exclude(workflow_phase="closed").update(
            workflow_phase="closed"
        )
    return f"repaired: {before} > failed"


def explain_run(pk: int) -> list[str] | None:
    workflow = Workflow.objects.filter(pk=pk).first()
    return explain(workflow) if workflow else None


SWEPT = sweep.Target(
    name="workflow",
    attempts=StepAttempt,
    run_path="step__workflow",
    owner_path="step__workflow__owner",
    ring=redeliver,
    expire=expire,
    look=look,
    restless=restless,
    idle_runs=idle_runs,
    repair=repair,
    work=runner.work,
    explain=explain_run,
    hand_over=runner.hand_over,
)


def repair_run(workflow_pk: int) -> None:
    """What the opening of a run's page does: the sweep, for this run only. Never starts anything."""
    sweep.run_pass(scope=sweep.Scope(run=workflow_pk))
