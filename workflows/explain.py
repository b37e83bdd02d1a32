"""Why a run is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from typing import Any

from nyxcore import telling
from nyxcore.models import AuditEntry
from nyxcore.states import NEXT_ACTION, Status
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


def explain(workflow: Workflow) -> list[str]:
    """The story of one workflow, from the run down to its open attempts."""
    lines = [_headline(workflow)]
    steps = list(Step.objects.filter(workflow=workflow).order_by("position"))
    undone = [step for step in steps if step.status not in DONE]
    attempts = _newest([step.pk for step in undone if step.status != S.PENDING])
    workers = telling.workers() if any(attempt.status == S.PENDING for attempt in attempts.values()) else ""
    for step in undone:
        lines.append(_about_step(step, steps, attempts.get(step.pk), workers))
    lines += _what_moves_it(workflow, workers)
    last = AuditEntry.objects.filter(model="workflow", row=workflow.pk).order_by("-pk").first()
    if last:
        lines.append(telling.last_act(last))
    return lines


def _newest(pks: list[int]) -> dict[int, Any]:
    """The newest attempt of each step."""
    rows = telling.with_times(StepAttempt.objects.filter(step__in=pks))
    newest = rows.order_by("step_id", "-number").distinct("step_id")
    return {attempt.step_id: attempt for attempt in newest}


def _headline(workflow: Workflow) -> str:
    since_when = f" since {telling.clock(workflow.status_changed_at)}"
    why = f": {telling.cause(workflow.reason)}" if workflow.reason else "."
    held = f" {workflow.held_by} paused it." if workflow.held_by else ""
    return (
        f"Workflow {workflow.pk} “{workflow.name}” is {telling.word(workflow.status)}{since_when}{why}{held}"
    )


def _about_step(step: Step, steps: list[Step], attempt: Any, workers: str) -> str:
    head = f"Step {step.position} “{step.title}” is {telling.word(step.status)}"
    if step.status == S.PENDING:
        done = {other.key for other in steps if other.status in DONE}
        unmet = [other.title for other in steps if other.key in step.needs and other.key not in done]
        return f"{head}: it waits for {', '.join(unmet)}." if unmet else f"{head}: nothing stands before it."
    if attempt is None:
        return (
            f"{head}; it never ran." if step.status == S.CANCELLED else f"{head}, though it has no attempt."
        )
    return f"{head}{telling.attempt(attempt, workers)}"


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
