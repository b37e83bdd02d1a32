"""A person's decision at a gate."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nyxcore.pulse import ring
from nyxcore.states import Reason, Status, transition, transition_all
from workflows import engine
from workflows.decide import DONE
from workflows.models import Cause, Step, StepAttempt
from workflows.services.base import Refused, dependents, fresh, open_again, open_now, verb

S = Status
GATE = "gate"


def _gate(step: Step) -> tuple[Step, StepAttempt]:
    step = fresh(step)
    attempt = step.attempts.filter(status=S.WAITING).first()
    if step.status != S.WAITING or attempt is None or attempt.kind != GATE:
        raise Refused(
            f"“{step.title}” does not wait for a decision: it is {Status(step.status).label.lower()}."
        )
    return step, attempt


def approve_step(step: Step, *, by: Any, text: str | None = None) -> None:
    """Let the reviewed text pass, as it is or edited."""
    with verb(
        step.workflow_id, by, "approve" if text is None else "edit and approve", detail=step.key
    ) as workflow:
        step, attempt = _gate(step)
        if text is not None and not text.strip():
            raise Refused("The edited text is empty. Send the step back, or cancel the workflow.")
        output = attempt.output if text is None else text.replace("\x00", "")
        transition(attempt, S.WAITING, S.COMPLETED, reason=Reason.USER, output=output)
        transition(step, S.WAITING, S.COMPLETED, output=output)
        engine.settle(workflow)


def send_back_step(step: Step, *, by: Any, comment: str) -> None:
    """Have the reviewed step write its answer again with a comment, and everything after it up to this gate."""
    comment = comment.replace("\x00", "").strip()
    with verb(step.workflow_id, by, "send back", detail=step.key) as workflow:
        step, attempt = _gate(step)
        if not comment:
            raise Refused("Say in the comment what should be different.")
        source = Step.objects.get(workflow=workflow, key=attempt.request["shows"])
        if source.status not in (S.COMPLETED, S.SKIPPED):
            raise Refused(
                f"“{source.title}” is {Status(source.status).label.lower()}; it cannot be sent back now."
            )
        transition(attempt, S.WAITING, S.CANCELLED, reason=Reason.USER)
        transition(step, S.WAITING, S.CANCELLED, reason=Reason.USER)
        transition(step, S.CANCELLED, S.PENDING)
        affected = dependents(workflow, source) - {step.pk}
        done = Step.objects.filter(pk__in=affected, status__in=DONE)
        if Step.objects.filter(pk__in=affected, status__in=(S.RUNNING, S.WAITING)).exists():
            raise Refused("Other steps that use this answer are at work. Wait until they have ended.")
        for status in DONE:
            transition_all(
                Step, list(done.filter(status=status).values_list("pk", flat=True)), status, S.PENDING
            )
        transition(source, Status(source.status), S.PENDING)
        open_again(workflow)
        open_now(workflow, source, Cause.RERUN, {"comment": comment})
        engine.settle(workflow)
        transaction.on_commit(ring)
