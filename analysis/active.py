"""What the page of active runs shows of analyses. Two queries for all of them, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db.models import Case, F, IntegerField, Value, When, Window
from django.db.models.functions import RowNumber

from analysis.models import AnalysisRun, UnitAttempt
from analysis.querysets import ACTIVE, RunQuerySet
from nyxcore import ui
from nyxcore.active import ActiveRun, Doing, Source
from nyxcore.dbtime import since
from nyxcore.states import NEXT_ACTION, Reason, Status

S = Status
LINES = 4  # open units told of one run


def _active(user: Any) -> RunQuerySet:
    return AnalysisRun.objects.filter(status__in=ACTIVE).visible_to(user)  # type: ignore[return-value]


def rows(user: Any, limit: int) -> Sequence[ActiveRun]:
    """Those that need somebody first, then the newest."""
    first = Case(
        When(status__in=(S.PAUSED, S.WAITING), then=Value(0)), default=Value(1), output_field=IntegerField()
    )
    runs = _active(user).with_progress().with_cost().select_related("owner", "held_by")
    shown = list(runs.defer("coverage", "estimate", "overview", "summary").order_by(first, "-pk")[:limit])
    doing = _doing([run.pk for run in shown])
    return [_run(run, doing.get(run.pk, [])) for run in shown]


def _doing(pks: Sequence[int]) -> dict[int, list[Any]]:
    """For each run its open attempts, those that run first; `waits` below 0 is a back-off."""
    nth = Window(RowNumber(), partition_by=F("unit__run"), order_by=[F("status").desc(), F("pk").asc()])
    open_ = UnitAttempt.objects.filter(unit__run__in=pks).open().annotate(nth=nth, waits=since("queued_at"))
    found: dict[int, list[Any]] = defaultdict(list)
    if not pks:
        return found
    for attempt in (
        open_.filter(nth__lte=LINES).select_related("unit").defer("output", "unit__result", "unit__chunk")
    ):
        found[attempt.unit.run_id].append(attempt)
    return found


def _line(run: AnalysisRun, attempt: Any) -> Doing:
    queued = attempt.status == S.PENDING
    word = ("Trying again" if attempt.waits < 0 else "Queued") if queued else ui.status_word(S.RUNNING)
    return Doing(
        title=ui.printable(str(attempt.unit)),
        url=f"{run.get_absolute_url()}?tab=units#{attempt.unit.dom_id}",
        status=S.RUNNING,
        word=word,
        remark="" if attempt.number == 1 else str(attempt.get_cause_display()),
        worker="" if queued else ":".join(attempt.worker.split(":")[:2]),
        model=attempt.request.get("model", ""),
        since=attempt.queued_at if queued else attempt.started_at,
    )


def _run(run: Any, attempts: Sequence[Any]) -> ActiveRun:
    said, then = _why(run)
    return ActiveRun(
        dom_id=run.dom_id,
        name=ui.printable(run.name),
        url=run.get_absolute_url(),
        owner=run.owner.username,
        status=run.status,
        needs_somebody=bool(said),
        started_at=run.started_at,
        done=run.units_done,
        total=run.units_total,
        tokens=run.tokens_total or 0,
        cost=run.cost_total,
        said=said,
        then=then,
        doing=tuple(_line(run, attempt) for attempt in attempts),
    )


def _why(run: Any) -> tuple[str, str]:
    """Why it needs somebody, and what helps; empty while it goes on by itself."""
    if run.held_by_id:
        return f"Paused by {run.held_by.username}.", "Resume it to go on."
    if run.status not in (S.PAUSED, S.WAITING):
        return "", ""
    label = str(Reason(run.reason).label) if run.reason in Reason.values else "This analysis stands still."
    return label, NEXT_ACTION.get(run.reason, "Open it and resume.")


SOURCE = Source("analysis", "Analysis", _active, rows)
