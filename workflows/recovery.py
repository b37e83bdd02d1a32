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
from nyxcore.states import SWEEP, OfRow, Reason, Status, acting, transition, transition_all
from workflows import engine, explain, imported, requests, runner
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome
from workflows.models import Step, StepAttempt, Workflow
from workflows.work import Result

log = logging.getLogger(__name__)
S = Status
OPEN = (S.PENDING, S.RUNNING, S.WAITING)
AT_WORK = (S.RUNNING, S.WAITING, S.CUT_OFF)
TOGETHER = 100  # runs that the sweep locks at once; they are settled well within anybody's lock_timeout
LAST_SIGN = OfRow(
    "'Worker ' || worker || ' gave its last sign of life at ' || "
    "to_char(coalesce(heartbeat_at, started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC.'"
)


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


def expire_together(pks: list[int]) -> dict[int, str]:
    """The same for many, as after the loss of a machine: a hundred runs are locked at a time, their silent attempts
    end in one statement, then each run is settled. What is not plain (an answer is stored, somebody holds the run,
    something fails) is left out of the answer, for `expire`."""
    done: dict[int, str] = {}
    for start in range(0, len(pks), TOGETHER):
        try:
            done |= _expire_together(pks[start : start + TOGETHER])
        except Exception:
            log.exception("these attempts cannot be ended together, so they are one by one")
    return done


def _expire_together(pks: list[int]) -> dict[int, str]:
    done: dict[int, str] = {}
    with acting(SWEEP):
        runs = Workflow.objects.filter(steps__attempts__in=pks).order_by().distinct().values("pk")
        locked = engine.lock_all_free([row["pk"] for row in runs])
        silent = _silent(pks, locked)
        for reason in sorted({attempt.verdict for attempt in silent}):
            mine = [attempt.pk for attempt in silent if attempt.verdict == reason]
            moved = transition_all(
                StepAttempt, mine, S.RUNNING, S.FAILED, reason=reason, error=LAST_SIGN, reserved=None
            )
            done |= dict.fromkeys(moved, f"ended as {reason}")
        tell_to_stop(StepAttempt._meta.db_table, list(done), "gone")
        for attempt in silent:
            requests.estimate_cost(attempt)
            engine.follow(locked[attempt.step.workflow_id], attempt, Result(S.FAILED, attempt.verdict))
        for pk in sorted({attempt.step.workflow_id for attempt in silent}):
            engine.settle(locked[pk])
        stands = dict(Step.objects.filter(attempts__in=list(done)).values_list("pk", "status"))
    follows = {attempt.pk: _what_follows(stands[attempt.step_id]) for attempt in silent if attempt.pk in done}
    return {pk: f"{did}; {follows[pk]}" for pk, did in done.items()}


def _silent(pks: list[int], locked: dict[int, Workflow]) -> list[Any]:
    """Those whose run we hold and that are overdue still, locked, each with its verdict."""
    overdue = StepAttempt.objects.filter(
        sweep.overdue_condition(sweep.Scope()), status=S.RUNNING, stop_reason=""
    )
    mine = overdue.filter(pk__in=pks, step__workflow__in=locked).select_related("step")
    rows = list(
        sweep.judged(mine.select_for_update(of=("self",), skip_locked=True)).defer(None).order_by("pk")
    )
    for attempt in rows:
        attempt.verdict = sweep.verdict(attempt)
    return rows


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
        stands = Step.objects.values_list("status", flat=True).get(pk=attempt.step_id)
    return f"{did}; {_what_follows(stands)}"


def _what_follows(stands: str) -> str:
    """In words, how a step stands after one of its attempts has ended."""
    if stands == S.RUNNING:
        return "a new attempt waits for a worker"
    return f"the step is {Status(stands).label.lower()}"


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


def _done(workflow: Workflow, attempt: Any, seen: Outcome) -> str:
    """What a step waited for has ended, and that is its output."""
    text = storable(seen.text)
    engine.keep_spent(attempt)
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
)
"""


def restless(scope: sweep.Scope) -> bool:
    """Whether a pass over this scope would find anything. Cheap, since each start and each page asks it."""
    with connection.cursor() as cursor:
        cursor.execute(RESTLESS, {"run": scope.run, "owner": scope.owner})
        if cursor.fetchone()[0]:
            return True
    return scope.run is not None and bool(imported.impossible(scope))


def idle_runs(scope: sweep.Scope) -> QuerySet[Workflow]:
    """Active runs with nothing at work and no reason to stand still; the index of steps at work tells."""
    runs = Workflow.objects.filter(_idle())
    if scope.run is not None:
        runs = runs.filter(pk=scope.run)
    if scope.owner is not None:
        runs = runs.filter(owner=scope.owner)
    if scope.older_than:
        runs = runs.filter(status_changed_at__lt=ago(scope.older_than))
    return runs


def _idle() -> Q:
    """A running one has an attempt at work; a paused one is held, over budget, or has a step that asks for a person."""
    at_work = Step.objects.filter(workflow=OuterRef("pk"), status__in=AT_WORK)
    attempts = StepAttempt.objects.filter(step=OuterRef("pk"))
    moved = Exists(at_work.filter(Exists(attempts.filter(status__in=(S.PENDING, S.RUNNING)))))
    asks = Q(status__in=(S.WAITING, S.CUT_OFF)) | Q(Exists(attempts.filter(status__in=OPEN)))
    paused = Q(status=S.PAUSED, held_by=None) & ~Q(reason=Reason.BUDGET)
    return (Q(status=S.RUNNING) & ~moved) | (paused & ~Exists(at_work.filter(asks)))


def repair(pk: int) -> str:
    """Settle a run that nothing moves; bring what no rule allows to `failed`, reason stuck."""
    with acting(SWEEP):
        workflow = engine.lock_if_free(pk)
        if workflow is None:
            return ""
        if imported.impossible(sweep.Scope(run=pk)):
            return imported.repair(workflow)
        if not Workflow.objects.filter(_idle(), pk=pk).exists():
            return ""
        before = workflow.status
        engine.settle(workflow)
        return f"settled: {before} > {workflow.status}"


def explain_run(pk: int) -> list[str] | None:
    workflow = Workflow.objects.select_related("owner", "held_by").filter(pk=pk).first()
    return explain.explain(workflow) if workflow else None


def explain_step(pk: int) -> list[str] | None:
    step = Step.objects.select_related("workflow__owner", "workflow__held_by").filter(pk=pk).first()
    return explain.explain_step(step) if step else None


def explain_attempt(pk: int) -> list[str] | None:
    rows = StepAttempt.objects.select_related("step__workflow__owner", "step__workflow__held_by")
    attempt = rows.filter(pk=pk).first()
    return explain.explain_attempt(attempt) if attempt else None


SWEPT = sweep.Target(
    name="workflow",
    attempts=StepAttempt,
    run_path="step__workflow",
    owner_path="step__workflow__owner",
    ring=redeliver,
    expire=expire,
    expire_together=expire_together,
    look=look,
    restless=restless,
    idle_runs=idle_runs,
    repair=repair,
    work=runner.work,
    explain=explain_run,
    explain_more={"step": explain_step, "attempt": explain_attempt},
    hand_over=runner.hand_over,
    impossible=imported.impossible,
)


def repair_run(workflow_pk: int) -> None:
    """What the opening of a run's page does: the sweep, for this run only. Never starts anything."""
    sweep.run_pass(scope=sweep.Scope(run=workflow_pk))
