"""What the sweep does with this app's rows. Every handler locks the run, judges again, and acts as the sweep."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from analysis import engine, explain, runner
from analysis.decide import STOPS
from analysis.engine import LIVE, OPEN
from analysis.models import AnalysisRun, SourceFile, Unit, UnitAttempt, Upload
from analysis.scratch import remove_leftovers
from analysis.units.base import Digest
from nyxcore import attempts, sweep
from nyxcore.attempts import Result
from nyxcore.dbtime import ago, later
from nyxcore.pulse import tell_to_stop
from nyxcore.states import SWEEP, Actor, Reason, Status, acting, transition, transition_all

log = logging.getLogger(__name__)
S = Status
DAY = 86_400


def redeliver(pks: list[int]) -> str:
    """Ring for attempts that nobody has claimed."""
    return attempts.redeliver(UnitAttempt, pks)


def expire(pk: int, reason: Reason) -> str:
    """End a running attempt that gives no sign of life, or outlived its deadline."""
    attempt = attempts.overdue(UnitAttempt, pk, S.RUNNING, "unit__run")
    if attempt is None:
        return ""
    try:
        ready = _verdict(attempt)
    except (OperationalError, InterfaceError):
        raise  # the next pass finds it again
    except Exception as error:
        log.exception("unitattempt %s cannot be ended as it should be", pk)
        ready = attempts.internal(error, ""), None, "ended as internal"
    return _end(pk, *ready)


def _verdict(attempt: Any) -> tuple[Result, Digest | None, str]:
    """How a silent attempt ends, and that in words."""
    if attempt.stop_reason:  # the answer was stored, only its consequences are missing
        result, digest = runner.judged(attempt, attempts.result_from_row(attempt))
        return result, digest, "finished from the stored answer"
    reason = sweep.verdict(attempt)
    return Result(S.FAILED, reason, error=attempts.last_sign(attempt)), None, f"ended as {reason}"


def _end(pk: int, result: Result, digest: Digest | None, did: str) -> str:
    with acting(SWEEP):
        attempt = attempts.overdue(UnitAttempt, pk, S.RUNNING, "unit")
        run = engine.lock_if_free(attempt.unit.run_id) if attempt else None
        if run is None:
            return ""
        attempt = attempts.overdue(UnitAttempt, pk, S.RUNNING, "unit", lock=True)
        if attempt is None or bool(attempt.stop_reason) != (did == "finished from the stored answer"):
            return ""
        if not attempt.stop_reason:
            runner.estimate_cost(attempt)
        engine.end_for(run, attempt, result, digest)
        tell_to_stop(UnitAttempt._meta.db_table, [pk], "gone")
    return did


def look(pk: int) -> str:
    """No unit waits for anybody; one that does all the same is looked at again later."""
    UnitAttempt.objects.filter(pk=pk, status=S.WAITING).update(due_at=later(attempts.RING_AT_MOST))
    return "still waits"


RESTLESS = """
SELECT EXISTS (
    SELECT FROM analysis_analysisrun r
     WHERE r.status IN ('scanning', 'analyzing', 'generating', 'paused') AND (r.id = %(run)s OR r.owner_id = %(owner)s)
       AND (NOT EXISTS (SELECT FROM analysis_unit u JOIN analysis_unitattempt a ON a.unit_id = u.id
                         WHERE u.run_id = r.id AND a.status IN ('pending', 'running', 'waiting'))
            OR EXISTS (SELECT FROM analysis_unit u JOIN analysis_unitattempt a ON a.unit_id = u.id
                        WHERE u.run_id = r.id AND a.status IN ('pending', 'running', 'waiting')
                          AND (a.due_at < clock_timestamp() OR a.deadline_at < clock_timestamp())))
) OR EXISTS (
    SELECT FROM analysis_unit u JOIN analysis_analysisrun r ON r.id = u.run_id
     WHERE r.id = %(run)s AND (r.status = 'completed' AND u.status IN ('pending', 'running', 'cancelled')
                               OR r.status IN ('failed', 'cancelled') AND u.status = 'running')
)
"""


def restless(scope: sweep.Scope) -> bool:
    """Whether a pass over this scope would find anything. One query, since each start and each page asks it."""
    with connection.cursor() as cursor:
        cursor.execute(RESTLESS, {"run": scope.run, "owner": scope.owner})
        return bool(cursor.fetchone()[0])


def idle_runs(scope: sweep.Scope) -> QuerySet[AnalysisRun]:
    """Active runs with nothing open and no reason to stand still; and what no rule allows (imported data)."""
    runs = _annotated(AnalysisRun.objects.all())
    if scope.run is not None:
        runs = runs.filter(pk=scope.run)
    if scope.owner is not None:
        runs = runs.filter(owner=scope.owner)
    if scope.older_than:
        runs = runs.filter(status_changed_at__lt=ago(scope.older_than))
    return runs.filter(_idle() | _impossible()).order_by("pk")


def _annotated(runs: QuerySet[AnalysisRun]) -> QuerySet[AnalysisRun]:
    units = Unit.objects.filter(run=OuterRef("pk"))
    return runs.annotate(
        open_attempt=Exists(UnitAttempt.objects.filter(unit__run=OuterRef("pk"), status__in=OPEN)),
        undone=Exists(units.exclude(status__in=(S.COMPLETED, S.SKIPPED, S.FAILED))),
        at_work=Exists(units.filter(status=S.RUNNING)),
    )


def _idle() -> Q:
    active = Q(status__in=(S.SCANNING, S.ANALYZING, S.GENERATING))
    paused = Q(status=S.PAUSED, held_by=None) & ~Q(reason__in=STOPS)
    return (active | paused) & Q(open_attempt=False)


def _impossible() -> Q:
    return (
        Q(status__in=LIVE, started_at=None)
        | Q(status=S.COMPLETED, undone=True)
        | Q(status__in=(S.FAILED, S.CANCELLED), at_work=True)
    )


def repair(pk: int) -> str:
    """Settle a run that nothing moves; bring one that no rule allows to `failed`, reason stuck."""
    with acting(SWEEP):
        run = engine.lock_if_free(pk)
        if run is None:
            return ""
        if _annotated(AnalysisRun.objects.filter(pk=pk)).filter(_impossible()).exists():
            return _close_impossible(run)
        if not _annotated(AnalysisRun.objects.filter(pk=pk)).filter(_idle()).exists():
            return ""
        before = run.status
        engine.settle(run)
        return f"settled: {before} > {run.status}"


def _close_impossible(run: AnalysisRun) -> str:
    """Only rows from outside (a dump loaded without its constraints) get here."""
    before = Status(run.status)
    with acting(Actor("repair", "sweep")):
        open_ = UnitAttempt.objects.filter(unit__run=run, status__in=OPEN)
        for status, pks in attempts.by_status(open_).items():
            transition_all(UnitAttempt, pks, status, S.FAILED, reason=Reason.STUCK)
        running = Unit.objects.filter(run=run, status=S.RUNNING).values_list("pk", flat=True)
        transition_all(Unit, list(running), S.RUNNING, S.FAILED, reason=Reason.STUCK)
        if before != S.FAILED:
            started = run.started_at or run.created_at
            transition(run, before, S.FAILED, reason=Reason.STUCK, started_at=started)
        Unit.objects.filter(run=run).exclude(run_phase="closed").update(run_phase="closed")
    return f"repaired: {before} > failed"


def tidy() -> None:
    """Texts of runs that ended long ago, and folders of workers that are gone."""
    kept = settings.NYXCORE_ANALYSIS_KEEP * DAY
    old = AnalysisRun.objects.filter(finished_at__lt=ago(kept))
    with_texts = old.filter(Exists(SourceFile.objects.filter(run=OuterRef("pk"), content__isnull=False)))
    for pk in with_texts.values_list("pk", flat=True)[: sweep.BATCH]:
        log.info("analysis %s: its texts are dropped", pk)
        engine.forget_contents([pk])
    Upload.objects.filter(created_at__lt=ago(kept)).exclude(pk__in=_wanted()).delete()
    remove_leftovers()


def _wanted() -> QuerySet[Any]:
    """The archives that a run may still read."""
    return AnalysisRun.objects.filter(upload__isnull=False, status__in=(S.PENDING, *LIVE)).values("upload")


def explain_run(pk: int) -> list[str] | None:
    run = AnalysisRun.objects.select_related("owner", "held_by").filter(pk=pk).first()
    return explain.explain(run) if run else None


def explain_unit(pk: int) -> list[str] | None:
    unit = Unit.objects.select_related("run__owner", "run__held_by").filter(pk=pk).first()
    return explain.explain_unit(unit) if unit else None


def explain_attempt(pk: int) -> list[str] | None:
    rows = UnitAttempt.objects.select_related("unit__run__owner", "unit__run__held_by")
    attempt = rows.filter(pk=pk).first()
    return explain.explain_attempt(attempt) if attempt else None


SWEPT = sweep.Target(
    name="analysis",
    attempts=UnitAttempt,
    run_path="unit__run",
    owner_path="unit__run__owner",
    ring=redeliver,
    expire=expire,
    look=look,
    restless=restless,
    idle_runs=idle_runs,
    repair=repair,
    work=runner.work,
    explain=explain_run,
    explain_more={"unit": explain_unit, "unit-attempt": explain_attempt},
    hand_over=runner.hand_over,
)


def repair_run(run_pk: int) -> None:
    """What the opening of a run's page does: the sweep, for this run only. Never starts anything."""
    sweep.run_pass(scope=sweep.Scope(run=run_pk))
