"""Everything that was cut off in one run, mended at once: each step as its own button would, or nothing at all."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction

from nyxcore.models import AuditEntry
from nyxcore.pulse import ring
from nyxcore.states import Reason, Status, current_actor, transition
from workflows import again, engine, requests, services
from workflows.models import Cause, Step, StepAttempt, Workflow
from workflows.services import Refused

NOTHING = "No step of this workflow is cut off."
_NO_HELP = {
    Reason.CUT_THINKING: "wrote nothing but thinking, and may do so again with more room",
    Reason.CUT_CONTEXT: "filled the context window of its model, which more room does not widen",
}


def retry_with_double_room(workflow: Workflow, *, by: Any) -> list[Step]:
    """Ask again for every cut answer, each with twice its room; refused as a whole where that cannot help one."""
    with services.verb(workflow.pk, by, "retry all cut off") as locked:
        found = _cut(locked)
        rooms = {step.key: engine.more_room(last) for step, last in found}
        problems = [
            f"“{step.title}” {_no_help(step, last)}"
            for step, last in found
            if step.reason in _NO_HELP or not rooms[step.key]
        ]
        if problems:
            raise Refused(
                f"Nothing was retried. {'; '.join(problems)}. Change such a step or accept its text, then repeat."
            )
        services.edit_configs(locked, {key: {"max_tokens": room} for key, room in rooms.items()})
        services.open_again(locked)
        for step, _last in found:
            services.check_needs(locked, step)
            _audit(locked, "retry", step)
            services.open_now(locked, step, Cause.RETRY, again.asked(again.standing(step), changed=True))
        engine.settle(locked)
        transaction.on_commit(lambda: ring(len(found)))
        return [step for step, _last in found]


def accept_all(workflow: Workflow, *, by: Any) -> list[Step]:
    """Let every cut answer pass as it is; refused as a whole where one has no text."""
    with services.verb(workflow.pk, by, "accept all cut off") as locked:
        found = _cut(locked)
        texts = {step.key: requests.joined(last, last.output) for step, last in found}
        empty = [f"“{step.title}”" for step, _last in found if not texts[step.key].strip()]
        if empty:
            raise Refused(f"Nothing was accepted. There is no text to accept in {', '.join(empty)}.")
        services.open_again(locked)
        for step, _last in found:
            _audit(locked, "accept", step)
            transition(step, Status.CUT_OFF, Status.COMPLETED, reason=Reason.USER, output=texts[step.key])
        engine.settle(locked)
        return [step for step, _last in found]


def _cut(workflow: Workflow) -> list[tuple[Step, StepAttempt]]:
    """The cut steps in order, each with the attempt that was cut."""
    steps = list(Step.objects.filter(workflow=workflow, status=Status.CUT_OFF).order_by("position"))
    if not steps:
        raise Refused(NOTHING)
    rows = StepAttempt.objects.filter(step__in=steps, status=Status.CUT_OFF).order_by("number")
    last = {attempt.step_id: attempt for attempt in rows}
    return [(step, last[step.pk]) for step in steps]


def _no_help(step: Step, last: StepAttempt) -> str:
    if step.reason in _NO_HELP:
        return _NO_HELP[Reason(step.reason)]
    room = int(last.request.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)
    return f"has the {room:,} tokens already that its model allows at most"


def _audit(workflow: Workflow, action: str, step: Step) -> None:
    actor = current_actor()
    assert actor is not None  # verb() sets it
    AuditEntry.of(actor, Workflow, workflow.pk, action=action, detail=step.key).save()
