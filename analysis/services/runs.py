"""Verbs on a whole analysis."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from analysis import engine
from analysis.models import AnalysisRun, SourceFile, TrackedFinding, Unit, UnitAttempt, UnitKind, Upload
from analysis.plain import Options
from analysis.plan import Spec, add
from analysis.rows import as_json, options_of
from analysis.runner import estimate_cost
from analysis.services.base import (
    CLOSED,
    LIVE,
    TABLE,
    UNCHANGED,
    Refused,
    check_budget,
    check_options,
    verb,
    word,
)
from nyxcore import live, sweep
from nyxcore.pulse import tell_to_stop
from nyxcore.states import Reason, Status, touch, transition, transition_all

S = Status


def start_analysis(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """Begin a pending analysis: its source is read first, which costs nothing."""
    sweep.run_pass(scope=sweep.Scope(owner=run.owner_id))
    with verb(run.pk, by, "start", kind=kind) as locked:
        if not transition(locked, S.PENDING, S.SCANNING):
            raise Refused(f"This analysis was started already; it is {word(locked)}.")
        add(locked, [Spec(UnitKind.SOURCE, "source", title="Source")])
        engine.settle(locked)


def confirm_analysis(
    run: AnalysisRun,
    *,
    by: Any,
    options: Options | None = None,
    budget: Decimal | None = UNCHANGED,
    kind: str = "person",
) -> None:
    """Go on after coverage and estimate were seen. With other options the source is read anew first."""
    with verb(run.pk, by, "confirm", kind=kind) as locked:
        if locked.status != S.WAITING:
            raise Refused(f"There is nothing to confirm: the analysis is {word(locked)}.")
        changed = _choose(locked, options, budget)
        locked.confirmed = True
        locked.save(update_fields=["confirmed"])
        if changed:
            _plan_again(locked)
        engine.settle(locked)


def set_options(
    run: AnalysisRun,
    *,
    by: Any,
    options: Options,
    budget: Decimal | None = UNCHANGED,
    kind: str = "person",
) -> None:
    """Change what is read and asked, before money is spent. After the manifest this makes a new one."""
    with verb(run.pk, by, "options", kind=kind) as locked:
        if locked.status not in (S.PENDING, S.WAITING):
            raise Refused(
                f"The options cannot be changed any more: the analysis is {word(locked)}. Analyse the source "
                "again with other options; what has not changed costs nothing."
            )
        if _choose(locked, options, budget) and locked.status == S.WAITING:
            _plan_again(locked)
        touch(AnalysisRun, [locked.pk])
        engine.settle(locked)


def allow_secret(run: AnalysisRun, *, by: Any, path: str, kind: str = "person") -> None:
    """Let a file be sent to the model although something in it looks like a secret."""
    options = options_of(run)
    if path not in options.allow_secrets:
        options = replace(options, allow_secrets=(*options.allow_secrets, path))
    set_options(run, by=by, options=options, kind=kind)


def set_budget(run: AnalysisRun, *, by: Any, budget: Decimal | None, kind: str = "person") -> None:
    """Change the budget, at any time; a run that it has stopped goes on when it is resumed."""
    with verb(run.pk, by, "budget", kind=kind, detail=str(budget)) as locked:
        _choose(locked, None, budget)
        touch(AnalysisRun, [locked.pk])


def _choose(run: AnalysisRun, options: Options | None, budget: Decimal | None) -> bool:
    """Store what was chosen; True if the options are others than before."""
    before = options_of(run)
    options = options or before
    check_options(options)
    if budget is not UNCHANGED:
        run.budget = budget
    check_budget(options, run.budget)
    run.options = as_json(options)
    run.save(update_fields=["budget", "options"])
    return options != before


def _plan_again(run: AnalysisRun) -> None:
    """Read the source anew: what was planned from the last manifest has not begun, so it goes."""
    transition(run, S.WAITING, S.SCANNING)
    Unit.objects.filter(run=run).exclude(kind=UnitKind.SOURCE).delete()
    _read_again(run)


def _read_again(run: AnalysisRun) -> None:
    source = Unit.objects.filter(run=run, kind=UnitKind.SOURCE, status=S.COMPLETED)
    transition_all(Unit, list(source.values_list("pk", flat=True)), S.COMPLETED, S.PENDING)


def pause_analysis(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """Open nothing new; what streams ends normally."""
    with verb(run.pk, by, "pause", kind=kind) as locked:
        if locked.is_held or locked.status not in LIVE:
            raise Refused(f"This analysis cannot be paused: it is {word(locked)}.")
        locked.held_by = by
        locked.save(update_fields=["held_by"])
        touch(AnalysisRun, [locked.pk])
        engine.settle(locked)


def resume_analysis(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """Go on with everything that failed, was cancelled or has not run; what is completed is kept."""
    with verb(run.pk, by, "resume", kind=kind) as locked:
        if locked.status == S.COMPLETED and locked.gaps:
            raise Refused("This analysis is completed with gaps. Retry the gaps.")
        if locked.status not in (S.PAUSED, S.FAILED, S.CANCELLED):
            raise Refused(f"There is nothing to resume: the analysis is {word(locked)}.")
        _release_hold(locked)
        if locked.status in CLOSED:
            _open_again(locked, (S.FAILED, S.CANCELLED))
        locked.reason = ""  # what stopped it stops it no more
        engine.settle(locked)


def retry_gaps(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """Ask again for what is missing in a completed analysis; findings are put together and compared anew."""
    with verb(run.pk, by, "retry gaps", kind=kind) as locked:
        if locked.status != S.COMPLETED:
            raise Refused(f"Only a completed analysis has gaps to retry; this one is {word(locked)}.")
        if not locked.gaps:
            raise Refused("This analysis has no gaps.")
        chunks = Unit.objects.filter(run=locked, kind=UnitKind.CHUNK, status=S.FAILED).exists()
        _open_again(locked, (S.FAILED,))
        after = [UnitKind.REPORT, *([UnitKind.MERGE] if chunks else [])]
        done = Unit.objects.filter(run=locked, kind__in=after, status=S.COMPLETED)
        transition_all(Unit, list(done.values_list("pk", flat=True)), S.COMPLETED, S.PENDING)
        engine.settle(locked)


def _open_again(run: AnalysisRun, statuses: tuple[Status, ...]) -> None:
    """Bring a closed run back, before its units. Where the texts are gone, the source is read anew."""
    there = SourceFile.objects.filter(run=run, content__isnull=False).exists()
    scanned = Unit.objects.filter(run=run, kind=UnitKind.SOURCE, status=S.COMPLETED).exists()
    if not (there and scanned) and run.source_kind == "upload" and run.upload_id is None:
        raise Refused("The archive is not kept any more. Upload it again as a new analysis.")
    if not Unit.objects.filter(run=run).exists():
        add(run, [Spec(UnitKind.SOURCE, "source", title="Source")])
    transition(run, Status(run.status), S.ANALYZING if there and scanned else S.SCANNING)
    if not there:
        _read_again(run)
    for status in statuses:
        units = Unit.objects.filter(run=run, status=status).values_list("pk", flat=True)
        transition_all(Unit, list(units), status, S.PENDING)


def _release_hold(run: AnalysisRun) -> None:
    if run.is_held:
        run.let_go()
        touch(AnalysisRun, [run.pk])


def cancel_analysis(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """End the run now: running calls are stopped, what was found so far stays, nothing new opens."""
    with verb(run.pk, by, "cancel", kind=kind) as locked:
        if locked.status in CLOSED:
            raise Refused(f"This analysis has ended already; it is {word(locked)}.")
        end_attempts(locked, S.CANCELLED)
        for status in (S.PENDING, S.RUNNING):
            units = Unit.objects.filter(run=locked, status=status).values_list("pk", flat=True)
            transition_all(Unit, list(units), status, S.CANCELLED, reason=Reason.USER)
        _release_hold(locked)
        transition(locked, Status(locked.status), S.CANCELLED, reason=Reason.USER)


def end_attempts(run: AnalysisRun, to: Status) -> None:
    """End every open attempt. Pending ones first: a claim moves them to running without the run's lock."""
    attempts = UnitAttempt.objects.filter(unit__run=run)
    for status in (S.PENDING, S.RUNNING, S.WAITING):
        pks = list(attempts.filter(status=status).values_list("pk", flat=True))
        moved = transition_all(UnitAttempt, pks, status, to, reason=Reason.USER)
        if status == S.RUNNING:
            for attempt in UnitAttempt.objects.filter(pk__in=moved):
                estimate_cost(attempt)
            tell_to_stop(TABLE, moved, "cancel" if to == S.CANCELLED else "gone")


def delete_analysis(run: AnalysisRun, *, by: Any, kind: str = "person") -> None:
    """Remove an analysis that is not live, with its files, findings, answers and documents.

    What people said of findings stays as long as another analysis of the source does.
    """
    with verb(run.pk, by, "delete", kind=kind, detail=run.name) as locked:
        if locked.status in LIVE:
            raise Refused(
                f"A live analysis cannot be deleted, and this one is {word(locked)}. Cancel it first."
            )
        source = {"owner": locked.owner_id, "source_key": locked.source_key}
        if locked.upload_id:
            Upload.objects.filter(pk=locked.upload_id).delete()
        AnalysisRun.objects.filter(pk=locked.pk).delete()
        if not AnalysisRun.objects.filter(**source).exists():
            TrackedFinding.objects.filter(**source).delete()
        live.kick(None, locked.channel)
