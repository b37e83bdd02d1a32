"""What the sweep does with analyses: their engine, what stands still, what is tidied up."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from analysis import engine, explain, hotpath, runner
from analysis.decide import STOPS
from analysis.engine import LIVE
from analysis.imported import ImportedAnalyses
from analysis.models import AnalysisRun, SourceFile, Unit, UnitAttempt, Upload
from analysis.scratch import remove_leftovers
from nyxcore import attempts, sweep
from nyxcore.attempts import Result
from nyxcore.dbtime import ago, later
from nyxcore.recovery import Recovery, told
from nyxcore.states import Reason, Status
from nyxcore.thinning import Texts

log = logging.getLogger(__name__)
S = Status
DAY = 86_400
AT_WORK = (S.SCANNING, S.ANALYZING, S.GENERATING)


class AnalysisRecovery(Recovery):
    attempts = UnitAttempt
    items = Unit
    runs = AnalysisRun
    item = "unit"
    run = "run"
    active = (*AT_WORK, S.PAUSED)
    imported = ImportedAnalyses()

    def lock(self, pks: Iterable[int]) -> dict[int, Any]:
        return engine.lock_all_free(list(pks))

    def stored(self, attempt: Any) -> tuple[Result, Any]:
        return runner.judged(attempt, attempts.result_from_row(attempt))

    def estimate_cost(self, attempt: Any) -> None:
        runner.estimate_cost(attempt)

    def follow(self, run: Any, attempt: Any, result: Result, made: Any) -> str:
        return engine.follow(run, attempt, result, made)

    def settle(self, run: Any, stop: str = "") -> None:
        engine.settle(run, stop=stop)

    def idle(self) -> Q:
        """Nothing is open, and no person, vendor or budget holds it."""
        at_work = Unit.objects.filter(run=OuterRef("pk"), status=S.RUNNING)
        paused = Q(status=S.PAUSED, held_by=None) & ~Q(reason__in=(*STOPS, Reason.USER))
        return (Q(status__in=AT_WORK) | paused) & ~Q(Exists(at_work.filter(self.has_open())))

    def look(self, pk: int) -> str:
        """No unit waits for anybody; one that does all the same is looked at again later."""
        UnitAttempt.objects.filter(pk=pk, status=S.WAITING).update(due_at=later(attempts.RING_AT_MOST))
        return "still waits"


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


RECOVERY = AnalysisRecovery()
SWEPT = RECOVERY.target(
    name="analysis",
    look=RECOVERY.look,
    work=runner.work,
    hand_over=runner.hand_over,
    explain=told(AnalysisRun.objects.select_related("owner", "held_by"), explain.explain),
    explain_more={
        "unit": told(Unit.objects.select_related("run__owner", "run__held_by"), explain.explain_unit),
        "unit-attempt": told(
            UnitAttempt.objects.select_related("unit__run__owner", "unit__run__held_by"),
            explain.explain_attempt,
        ),
    },
)
# What a unit was answered stands in its result, or in those of its halves; an answer that nobody could read is kept.
OLD_TEXTS = Texts(hotpath.QUEUE, unread="i.status IN ('completed', 'skipped')")


def repair_run(run_pk: int) -> None:
    """What the opening of a run's page does: the sweep, for this run only. Never starts anything."""
    sweep.run_pass(scope=sweep.Scope(run=run_pk))
