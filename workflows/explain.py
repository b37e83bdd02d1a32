"""Why a run is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Max
from django.db.models.functions import Coalesce

from nyxcore.dbtime import ago, since
from nyxcore.models import AuditEntry, Worker
from nyxcore.states import NEXT_ACTION, Reason, Status
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


def explain(workflow: Workflow) -> list[str]:
    """The story of one workflow, from the run down to its open attempts."""
    lines = [_headline(workflow)]
    steps = list(Step.objects.filter(workflow=workflow).order_by("position"))
    undone = [step for step in steps if step.status not in DONE]
    attempts = _newest([step.pk for step in undone if step.status != S.PENDING])
    workers = _workers() if any(attempt.status == S.PENDING for attempt in attempts.values()) else ""
    for step in undone:
        lines.append(_about_step(step, steps, attempts.get(step.pk), workers))
    lines += _what_moves_it(workflow, workers)
    last = AuditEntry.objects.filter(model="workflow", row=workflow.pk).order_by("-pk").first()
    if last:
        change = last.action or f"{last.from_status} > {last.to_status}"
        lines.append(f"Last act: {change} by {last.name or last.actor} at {_clock(last.at)}.")
    return lines


def _newest(pks: list[int]) -> dict[int, Any]:
    """The newest attempt of each step."""
    sign = Coalesce("heartbeat_at", "started_at")
    rows = StepAttempt.objects.filter(step__in=pks).annotate(silence=since(sign), waits=since("queued_at"))
    newest = rows.defer("output", "request").order_by("step_id", "-number").distinct("step_id")
    return {attempt.step_id: attempt for attempt in newest}


def _headline(workflow: Workflow) -> str:
    since_when = f" since {_clock(workflow.status_changed_at)}"
    why = f": {_cause(workflow.reason)}" if workflow.reason else "."
    held = f" {workflow.held_by} paused it." if workflow.held_by else ""
    return f"Workflow {workflow.pk} “{workflow.name}” is {_word(workflow.status)}{since_when}{why}{held}"


def _about_step(step: Step, steps: list[Step], attempt: Any, workers: str) -> str:
    head = f"Step {step.position} “{step.title}” is {_word(step.status)}"
    if step.status == S.PENDING:
        done = {other.key for other in steps if other.status in DONE}
        unmet = [other.title for other in steps if other.key in step.needs and other.key not in done]
        return f"{head}: it waits for {', '.join(unmet)}." if unmet else f"{head}: nothing stands before it."
    if attempt is None:
        return (
            f"{head}; it never ran." if step.status == S.CANCELLED else f"{head}, though it has no attempt."
        )
    return f"{head}{_attempt(attempt, workers)}"


def _attempt(attempt: Any, workers: str) -> str:
    nth = f"attempt {attempt.number} ({attempt.get_cause_display()})"
    if attempt.status == S.PENDING:
        if attempt.waits < 0:
            return f": {nth} is tried again at {_clock(attempt.queued_at)}."
        return f": {nth} is queued since {_clock(attempt.queued_at)}; {workers}"
    if attempt.status == S.RUNNING:
        return (
            f": {nth} runs on {attempt.worker} since {_clock(attempt.started_at)}; its last sign of life came "
            f"{attempt.silence:.0f} s ago, it is judged at {_clock(attempt.due_at)} and stopped at "
            f"{_clock(attempt.deadline_at)}."
        )
    if attempt.status == S.WAITING:
        return f": {nth} waits for a person since {_clock(attempt.started_at)}."
    why = " ".join(filter(None, [_cause(attempt.reason), attempt.error]))
    return f": {nth} ended at {_clock(attempt.finished_at)}{f': {why}' if why else '.'}"


def _what_moves_it(workflow: Workflow, workers: str) -> list[str]:
    if workflow.status == S.PENDING:
        return ["It was never started. Start it."]
    if workflow.status == S.COMPLETED:
        return ["It is done; run it again from any step if you like."]
    if workflow.status == S.RUNNING:
        if workers.startswith("no "):
            return [f"What would move it: a worker. {workers[0].upper()}{workers[1:]}"]
        return ["It goes on by itself."]
    action = NEXT_ACTION.get(workflow.reason, "")
    return [f"What would move it: {action or 'resume it.'}"]


def _workers() -> str:
    """One sentence on the workers."""
    alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
    count = alive.count()
    if count:
        return f"{count} worker process{'es' if count > 1 else ''} live{'' if count > 1 else 's'}."
    last: datetime | None = Worker.objects.aggregate(last=Max("seen_at"))["last"]
    return f"no worker since {_clock(last)}." if last else "no worker has ever been seen."


def _cause(reason: str) -> str:
    return str(Reason(reason).label) if reason in Reason.values else reason


def _word(status: str) -> str:
    if status == S.WAITING:
        return "waiting"
    return str(Status(status).label).lower()


def _clock(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "an unknown time"
