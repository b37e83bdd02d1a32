"""Rows that no rule allows. The database refuses them; a dump that is loaded without its constraints brings them in.

What such a row says cannot be trusted, so nothing goes on from it by itself: it becomes `failed`, reason stuck, and a
person resumes the run.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from nyxcore import sweep
from nyxcore.states import Actor, Reason, Status, acting, transition, transition_all
from workflows import engine
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status
ACTIVE = (S.RUNNING, S.PAUSED)
OPEN = (S.PENDING, S.RUNNING, S.WAITING)
REPAIR = Actor("repair", "sweep")

STEPS = "workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id"
OPEN_ATTEMPTS = (
    "workflows_stepattempt a JOIN workflows_step s ON s.id = a.step_id "
    "JOIN workflows_workflow w ON w.id = s.workflow_id WHERE a.status IN ('pending', 'running', 'waiting') AND "
)
AT_WORK = "SELECT FROM workflows_stepattempt o WHERE o.step_id = s.id AND o.status"
ENDED = "IN ('completed', 'failed', 'cancelled', 'skipped', 'cut_off')"
RUN_STARTED = "IN ('running', 'paused', 'completed', 'failed')"
STARTED = "IN ('running', 'waiting', 'completed', 'cut_off')"
# A row of a run gets the times that its status asks for, all at once: a CHECK may stand between any two of them.
FILL_TIMES = f"""
UPDATE {{table}} SET version = version + 1,
       started_at = CASE WHEN started_at IS NULL AND status {{started}}
           THEN least({{start}}, CASE WHEN status {ENDED} THEN coalesce(finished_at, status_changed_at) END)
           ELSE started_at END,
       finished_at = CASE WHEN status {ENDED} THEN greatest(coalesce(finished_at, status_changed_at), started_at) END
 WHERE {{key}} = %s AND ((status {ENDED}) <> (finished_at IS NOT NULL) OR finished_at < started_at
       OR status {{started}} AND started_at IS NULL)
"""

# What is wrong, as words made by SQL, and where it is looked for.
FAULTS = [
    (
        "concat(w.status, ', but it has no start time')",
        f"workflows_workflow w WHERE w.status {RUN_STARTED} AND w.started_at IS NULL",
    ),
    (
        "concat(w.status, ', but its end time does not fit')",
        f"workflows_workflow w WHERE (w.status {ENDED}) <> (w.finished_at IS NOT NULL) OR w.finished_at < w.started_at",
    ),
    (
        "concat('completed, but its step “', s.title, '” is ', s.status)",
        f"{STEPS} WHERE w.status = 'completed' AND s.status NOT IN ('completed', 'skipped')",
    ),
    (
        "concat(w.status, ', but its step “', s.title, '” is ', s.status)",
        f"{STEPS} WHERE w.status IN ('pending', 'failed', 'cancelled') AND s.status IN ('running', 'waiting')",
    ),
    (
        "concat('its step “', s.title, '” takes it for ', s.workflow_phase)",
        f"{STEPS} WHERE s.workflow_phase <> w.phase",
    ),
    (
        "concat('the times of its step “', s.title, '” do not fit')",
        f"{STEPS} WHERE (s.status {ENDED}) <> (s.finished_at IS NOT NULL) OR s.finished_at < s.started_at "
        f"OR s.status {STARTED} AND s.started_at IS NULL",
    ),
    (
        "concat('its step “', s.title, '” waits without an attempt')",
        f"{STEPS} WHERE s.status = 'waiting' AND NOT EXISTS ({AT_WORK} = 'waiting')",
    ),
    (
        "concat(w.status, ', but attempt ', a.id, ' is ', a.status)",
        f"{OPEN_ATTEMPTS} w.status NOT IN ('running', 'paused')",
    ),
    (
        "concat('attempt ', a.id, ' is ', a.status, ', but its step “', s.title, '” is ', s.status)",
        f"{OPEN_ATTEMPTS} s.status <> CASE a.status WHEN 'waiting' THEN 'waiting' ELSE 'running' END",
    ),
    (
        "concat('attempt ', a.id, ' is ', a.status, ', but nobody holds it or comes back to it')",
        f"{OPEN_ATTEMPTS} (a.due_at IS NULL OR a.status = 'running' AND (a.worker = '' OR a.deadline_at IS NULL)"
        " OR a.status IN ('running', 'waiting') AND a.started_at IS NULL OR a.finished_at IS NOT NULL)",
    ),
]


def impossible(scope: sweep.Scope) -> list[tuple[int, str]]:
    """(run, what is wrong with it) for every run of a scope that bears such rows."""
    where = " AND w.id = %(run)s" if scope.run is not None else ""
    where += " AND w.owner_id = %(owner)s" if scope.owner is not None else ""
    where += (
        " AND w.status_changed_at < clock_timestamp() - make_interval(secs => %(old)s)"
        if scope.older_than
        else ""
    )
    looks = (f"SELECT w.id, {words} FROM {_narrowed(source, where)}" for words, source in FAULTS)
    query = f"SELECT id, string_agg(words, '; ' ORDER BY words) FROM ({' UNION ALL '.join(looks)}) AS f (id, words)"
    with connection.cursor() as cursor:
        cursor.execute(
            f"{query} GROUP BY id ORDER BY id",
            {"run": scope.run, "owner": scope.owner, "old": scope.older_than},
        )
        return list(cursor.fetchall())


def _narrowed(source: str, where: str) -> str:
    tables, _, condition = source.partition(" WHERE ")
    return f"{tables} WHERE ({condition}){where}"


def repair(workflow: Workflow) -> str:
    """Bring a locked run back to what the rules allow, audited as a repair; then settle it."""
    before = Status(workflow.status)
    lost = (before in ACTIVE and workflow.started_at is None) or (
        before == S.PENDING and _at_work(workflow).exists()
    )
    with acting(REPAIR):
        _end_attempts(workflow, all_open=lost or before not in ACTIVE)
        hop = _end_steps(workflow, all_open=lost or before not in ACTIVE)
        _fill_times("workflows_step", "workflow_id", workflow, started=STARTED, start="status_changed_at")
        if lost or hop or (before == S.COMPLETED and workflow.steps.exclude(status__in=DONE).exists()):
            start = workflow.started_at or workflow.created_at
            transition(workflow, before, S.FAILED, reason=Reason.STUCK, started_at=start)
        transition_all(Step, hop, S.SKIPPED, S.FAILED, reason=Reason.STUCK)
        _fill_times("workflows_workflow", "id", workflow, started=RUN_STARTED, start="created_at")
        workflow.refresh_from_db(fields=["phase"])
        unaware = Step.objects.filter(workflow=workflow).exclude(workflow_phase=workflow.phase)
        unaware.update(workflow_phase=workflow.phase)
    engine.settle(workflow)
    return f"repaired: {before} > {workflow.status}"


def _fill_times(table: str, key: str, workflow: Workflow, *, started: str, start: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FILL_TIMES.format(table=table, key=key, started=started, start=start), [workflow.pk])


def _at_work(workflow: Workflow) -> QuerySet[Step]:
    return Step.objects.filter(workflow=workflow, status__in=(S.RUNNING, S.WAITING))


def _end_attempts(workflow: Workflow, *, all_open: bool) -> None:
    """End what is open and cannot be: that nobody holds or comes back to, or whose step does not know of it."""
    rows = StepAttempt.objects.filter(step__workflow=workflow, status__in=OPEN)
    unheld = Q(status=S.RUNNING) & (Q(worker="") | Q(deadline_at=None))
    unstarted = Q(status__in=(S.RUNNING, S.WAITING), started_at=None)
    unknown = (Q(status=S.WAITING) & ~Q(step__status=S.WAITING)) | (
        ~Q(status=S.WAITING) & ~Q(step__status=S.RUNNING)
    )
    if not all_open:
        rows = rows.filter(Q(due_at=None) | Q(finished_at__isnull=False) | unheld | unstarted | unknown)
    for status, pks in _by_status(rows).items():
        transition_all(StepAttempt, pks, status, S.FAILED, reason=Reason.STUCK)


def _end_steps(workflow: Workflow, *, all_open: bool) -> list[int]:
    """Fail the steps at work that no attempt moves any more. Below a completed run the database takes only done ones:
    those are skipped for now, and returned."""
    rows = _at_work(workflow)
    if not all_open:
        rows = rows.exclude(Exists(StepAttempt.objects.filter(step=OuterRef("pk"), status__in=OPEN)))
    hop = _by_status(rows.filter(workflow_phase="completed"))
    for status, pks in _by_status(rows.exclude(workflow_phase="completed")).items():
        transition_all(Step, pks, status, S.FAILED, reason=Reason.STUCK)
    for status, pks in hop.items():
        transition_all(Step, pks, status, S.SKIPPED, reason=Reason.STUCK)
    return [pk for pks in hop.values() for pk in pks]


def _by_status(rows: QuerySet[Any]) -> dict[Status, list[int]]:
    found: dict[Status, list[int]] = {}
    for pk, status in rows.values_list("pk", "status"):
        found.setdefault(Status(status), []).append(pk)
    return found
