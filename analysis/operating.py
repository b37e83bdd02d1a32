"""What an operator does to analyses beyond the verbs of their owners: declare one failed, take units from workers."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from analysis import engine
from analysis.engine import LIVE
from analysis.models import AnalysisRun, Unit, UnitAttempt
from analysis.runner import estimate_cost, judged
from analysis.services.base import TABLE, Refused, verb, word
from analysis.services.runs import end_attempts
from nyxcore import attempts
from nyxcore.attempts import Result
from nyxcore.pulse import ring, tell_to_stop
from nyxcore.states import Reason, Status, transition, transition_all

S = Status
KIND = "operator"


def mark_failed(run: AnalysisRun, *, by: Any, kind: str = KIND) -> None:
    """End an active analysis as failed: calls are stopped, what was found is kept, and its owner can resume it."""
    with verb(run.pk, by, "mark failed", kind=kind) as locked:
        if locked.status not in LIVE:
            raise Refused(f"Only an active analysis can be marked failed; this one is {word(locked)}.")
        end_attempts(locked, S.FAILED)
        running = Unit.objects.filter(run=locked, status=S.RUNNING).values_list("pk", flat=True)
        transition_all(Unit, list(running), S.RUNNING, S.FAILED, reason=Reason.USER)
        transition(locked, Status(locked.status), S.FAILED, reason=Reason.USER)


def release_analysis(run: AnalysisRun, *, by: Any, kind: str = KIND) -> int:
    """Take every running unit from its worker: it ends as lost and a new attempt waits; how many there were."""
    with verb(run.pk, by, "release", kind=kind) as locked:
        running = UnitAttempt.objects.filter(unit__run=locked, status=S.RUNNING).select_related("unit__run")
        held = list(running.order_by("pk"))
        if not held:
            raise Refused("No worker holds a unit of this analysis, so there is nothing to release.")
        for attempt in held:
            _release(locked, attempt, by)
        tell_to_stop(TABLE, [attempt.pk for attempt in held], "gone")
        transaction.on_commit(ring)
    return len(held)


def _release(run: AnalysisRun, attempt: UnitAttempt, by: Any) -> None:
    if attempt.stop_reason:  # its answer is there already: it is kept
        engine.end_for(run, attempt, *judged(attempt, attempts.result_from_row(attempt)))
        return
    estimate_cost(attempt)
    said = f"Released from worker {attempt.worker} by {by.get_username()}."
    engine.end_for(run, attempt, Result(S.CANCELLED, Reason.HANDOVER, error=said), None)
