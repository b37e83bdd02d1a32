"""Why a row is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Max, Q

from nyxcore.dbtime import ago
from nyxcore.models import AuditEntry, SweepState, Worker
from nyxcore.states import Status
from workflows import sentences
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow
from workflows.sentences import Moment

S = Status
ACTS = 3  # audit entries told


def explain(workflow: Workflow) -> list[str]:
    """The story of one workflow, from the run down to its open attempts."""
    moment = _moment()
    steps = list(Step.objects.filter(workflow=workflow).order_by("position"))
    undone = [step for step in steps if step.status not in DONE]
    newest = _newest([step.pk for step in undone if step.status != S.PENDING])
    lines = [sentences.run(workflow, moment)]
    for step in undone:
        lines.append(sentences.step(step, newest.get(step.pk), _unmet(step, steps), workflow, moment))
    queued = any(attempt.status == S.PENDING for attempt in newest.values())
    waits = any(step.status in (S.WAITING, S.CUT_OFF) for step in undone)
    lines.append(sentences.run_moves(workflow, moment, queued=queued, waits=waits))
    return lines + _acts(Q(model="workflow", row=workflow.pk))


def explain_step(step: Step) -> list[str]:
    """One step, its newest attempt and its workflow."""
    moment, workflow = _moment(), step.workflow
    siblings = list(Step.objects.filter(workflow=workflow, key__in=step.needs).order_by("position"))
    attempts = StepAttempt.objects.filter(step=step).defer("output", "request").order_by("-number")
    newest, unmet = attempts.first(), _unmet(step, siblings)
    about = Q(model="step", row=step.pk) | Q(model="stepattempt", row__in=attempts.values("pk"))
    return [
        sentences.step(step, newest, unmet, workflow, moment),
        sentences.step_moves(step, newest, unmet, workflow, moment),
        sentences.run(workflow, moment),
        *_acts(about),
    ]


def explain_attempt(attempt: StepAttempt) -> list[str]:
    """One attempt, where its step stands, and its workflow."""
    moment, step = _moment(), attempt.step
    workflow = step.workflow
    about = sentences.tried(attempt, moment)
    return [
        f"Step {step.position} “{step.title}”, which is {sentences.word(step.status)}: {about}",
        sentences.moves(attempt, workflow, moment),
        sentences.run(workflow, moment),
        *_acts(Q(model="stepattempt", row=attempt.pk)),
    ]


def _unmet(step: Step, steps: Sequence[Step]) -> list[Step]:
    return [other for other in steps if other.key in step.needs and other.status not in DONE]


def _newest(pks: list[int]) -> dict[int, Any]:
    """The newest attempt of each step."""
    rows = StepAttempt.objects.filter(step__in=pks).defer("output", "request")
    return {attempt.step_id: attempt for attempt in rows.order_by("step_id", "-number").distinct("step_id")}


def _moment() -> Moment:
    alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
    found = list(alive.values_list("threads", flat=True))
    last: datetime | None = None if found else Worker.objects.aggregate(last=Max("seen_at"))["last"]
    guard = SweepState.objects.filter(guard_until__gt=ago(0)).values_list("guard_until", flat=True).first()
    return Moment(
        now=_now(), workers=len(found), threads=sum(found), last_seen=last, guard_until=guard,
        busy=StepAttempt.objects.filter(status=S.RUNNING).count(),
    )  # fmt: skip


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def _acts(which: Q) -> list[str]:
    """The last entries of the audit log on these rows, the newest first."""
    entries = AuditEntry.objects.filter(which).order_by("-pk")[:ACTS]
    return [f"{'Before that' if n else 'Last act'}: {_act(entry)}" for n, entry in enumerate(entries)]


def _act(entry: AuditEntry) -> str:
    what = entry.action or f"{entry.from_status} > {entry.to_status}"
    why = f", {entry.reason}" if entry.reason else ""
    detail = f" ({entry.detail})" if entry.detail else ""
    return f"{what}{why} by {entry.name or entry.actor} at {sentences.clock(entry.at)}{detail}."
