"""Why a step is opened again, and what it is asked for then; read from its earlier attempts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nyxcore import attempts
from nyxcore.states import SWEEP, Reason, Status, current_actor
from workflows.models import Cause, Step, StepAttempt

S = Status
# Failures that the same request would meet again.
OF_THE_REQUEST = (Reason.PROMPT, Reason.BAD_REQUEST, Reason.REFUSED)


def standing(step: Step) -> StepAttempt | None:
    """The last attempt of a step, where it brought no whole answer and no need has been answered anew since.

    What it was asked for stands then: a pause, a cancel or a lost worker does not undo a reviewer's comment.
    """
    last = step.attempts.filter(branch="").order_by("-number").first()
    if last is None or last.status not in (S.FAILED, S.CANCELLED, S.CUT_OFF):
        return None
    needs = StepAttempt.objects.filter(step__workflow=step.workflow_id, step__key__in=step.needs)
    return None if needs.filter(pk__gt=last.pk).exists() else last


def asked(before: StepAttempt | None, *, changed: bool = False) -> dict[str, Any]:
    """What the next attempt takes over from a standing one: the comment; unless the step was `changed` or the
    request itself was at fault, also its room and the text that it goes on from."""
    if before is None:
        return {}
    if changed or before.status == S.CUT_OFF or before.reason in OF_THE_REQUEST:
        return {"comment": before.comment}
    return {
        "comment": before.comment,
        "max_tokens": before.max_tokens,
        "continues_id": before.continues_id,
    }


def cause(step: Step, before: StepAttempt | None, *, rerun: bool = False) -> str:
    """Why a step opens where nobody has named a cause: its first try, a person's verb, or what held up `before`."""
    if not StepAttempt.objects.filter(step=step).exclude(cause=Cause.EDIT).exists():
        return Cause.START
    actor = current_actor()
    if actor and actor.kind != SWEEP.kind:
        return Cause.RERUN if rerun else Cause.RETRY
    if before is None:
        return Cause.RERUN
    if before.status == S.CANCELLED and before.started_at is None:
        return before.cause
    if before.reason in (Reason.LOST, Reason.HANDOVER):
        return Cause(before.reason)
    return Cause.BACKOFF if before.status == S.FAILED else Cause.RERUN


def tries(step: Step, cause: str) -> int:
    """How many attempts of that cause a step has had since the last one that a person caused."""
    return attempts.tries(StepAttempt.objects.filter(step=step, branch=""), cause)


def tries_of(steps: Iterable[int], cause: str) -> dict[int, tuple[int, int]]:
    """The same for many steps in one statement: the number of the last attempt, and the tries."""
    found: dict[int, tuple[int, int]] = {}
    rows = StepAttempt.objects.filter(step__in=list(steps), branch="").order_by("number")
    for step, number, why, person in rows.values_list("step", "number", "cause", "caused_by"):
        before = found.get(step, (0, 0))[1]
        by_person = why in attempts.PERSON_CAUSES or person is not None
        found[step] = number, 0 if by_person else before + (why == cause)
    return found
