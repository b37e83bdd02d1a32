"""What the page of active runs shows of workflows. Two queries for all of them, whatever their number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from django.db import connection
from django.db.models import Case, Exists, IntegerField, OuterRef, Value, When
from django.urls import reverse

from nyxcore import ui
from nyxcore.active import ActiveRun, Doing, Source
from nyxcore.states import Reason, Status
from workflows.models import Cause, Step, Workflow
from workflows.querysets import WorkflowQuerySet

S = Status
ACTIVE = (S.RUNNING, S.PAUSED)
NEEDS = (S.WAITING, S.CUT_OFF, S.FAILED)
LINES = 4  # open steps told of one run
NEEDS_SQL = "('waiting', 'cut_off', 'failed')"

_DOING = f"""
SELECT * FROM (
    SELECT s.workflow_id, s.id, s.position, s.title, s.status, s.reason, a.status AS attempt, a.worker, a.cause,
           CASE a.status WHEN 'pending' THEN a.queued_at ELSE coalesce(a.started_at, s.started_at) END AS since,
           a.queued_at > clock_timestamp() AS backs_off,
           coalesce(nullif(a.model, ''), a.request->>'model', s.config->>'model', '') AS model,
           row_number() OVER (PARTITION BY s.workflow_id ORDER BY s.status IN {NEEDS_SQL} DESC, s.position) AS line,
           count(*) OVER (PARTITION BY s.workflow_id) AS lines
      FROM workflows_step s
      LEFT JOIN LATERAL (
           SELECT status, worker, cause, queued_at, started_at, model, request FROM workflows_stepattempt
            WHERE step_id = s.id AND branch = '' ORDER BY number DESC LIMIT 1) a ON true
     WHERE s.workflow_id = ANY(%s) AND (s.status = 'running' OR s.status IN {NEEDS_SQL})
) found WHERE line <= %s ORDER BY workflow_id, line
"""


def _active(user: Any) -> WorkflowQuerySet:
    return Workflow.objects.visible_to(user).filter(status__in=ACTIVE)


def rows(user: Any, limit: int) -> Sequence[ActiveRun]:
    """Those that need somebody first, then the newest."""
    needing = Exists(Step.objects.filter(workflow=OuterRef("pk"), status__in=NEEDS))
    first = Case(
        When(status=S.PAUSED, then=Value(0)), When(needing, then=Value(0)), default=Value(1),
        output_field=IntegerField(),
    )  # fmt: skip
    pks = list(_active(user).order_by(first, "-pk").values_list("pk", flat=True)[:limit])
    doing = _doing(pks)
    runs = (
        Workflow.objects.filter(pk__in=pks)
        .with_progress()
        .with_cost()
        .select_related("owner", "held_by")
        .defer("input", "inputs", "description")
        .in_bulk()
    )
    return [_run(runs[pk], *doing.get(pk, ((), 0))) for pk in pks if pk in runs]


def _doing(pks: Sequence[int]) -> dict[int, tuple[tuple[Doing, ...], int]]:
    """For each workflow what is open in it, and how many more there are."""
    found: dict[int, list[Doing]] = defaultdict(list)
    counts: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_DOING, [list(pks), LINES])
        names = [column.name for column in cursor.description or ()]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            found[row["workflow_id"]].append(_line(row))
            counts[row["workflow_id"]] = row["lines"]
    return {pk: (tuple(lines), counts[pk] - len(lines)) for pk, lines in found.items()}


def _line(row: dict[str, Any]) -> Doing:
    queued = row["status"] == S.RUNNING and row["attempt"] == S.PENDING
    word = ("Trying again" if row["backs_off"] else "Queued") if queued else ui.status_word(row["status"])
    remark = ""
    if row["status"] in (S.FAILED, S.CUT_OFF) and row["reason"] in Reason.values:
        remark = str(Reason(row["reason"]).label)
    elif row["status"] == S.RUNNING and row["cause"] in Cause.values and row["cause"] != Cause.START:
        remark = str(Cause(row["cause"]).label)
    return Doing(
        title=f"{row['position']} {ui.printable(row['title'])}",
        url=f"{reverse('workflows:detail', args=[row['workflow_id']])}#step-{row['id']}",
        status=row["status"],
        word=word,
        remark=remark,
        worker=_machine(row["worker"]) if row["attempt"] == S.RUNNING else "",
        model=row["model"] if row["status"] == S.RUNNING else "",
        since=row["since"] if row["status"] in (S.RUNNING, S.WAITING) else None,
        needs_somebody=row["status"] in NEEDS,
    )


def _machine(worker: str | None) -> str:
    """host:pid, without what only makes the name unique."""
    return ":".join((worker or "").split(":")[:2])


def _run(workflow: Any, doing: tuple[Doing, ...], more: int) -> ActiveRun:
    said, then = _why(workflow, doing)
    return ActiveRun(
        dom_id=workflow.dom_id,
        name=ui.printable(workflow.name),
        url=workflow.get_absolute_url(),
        owner=workflow.owner.username,
        status=workflow.status,
        needs_somebody=bool(said),
        started_at=workflow.started_at,
        done=workflow.steps_done,
        total=workflow.steps_total,
        tokens=workflow.tokens_total or 0,
        cost=workflow.cost_total,
        said=said,
        then=then,
        doing=doing,
        more=more,
    )


def _why(workflow: Any, doing: tuple[Doing, ...]) -> tuple[str, str]:
    """Why it needs somebody, and what helps; empty while it goes on by itself."""
    if workflow.held_by_id:
        return f"Paused by {workflow.held_by.username}.", "Resume it to go on."
    if workflow.status == S.PAUSED:
        reason = workflow.reason
        return ui.cause(reason) or "This run stands still.", ui.helps(workflow.status, reason)
    if any(line.needs_somebody for line in doing):
        return "A step needs somebody, while others go on.", "Open that step."
    return "", ""


SOURCE = Source("workflow", "Workflow", _active, rows)
