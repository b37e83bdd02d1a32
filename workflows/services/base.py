"""What all verbs share: one audited transaction under the lock, refusals, and bringing a run back."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from django.conf import settings

from nyxcore import verbs
from nyxcore.llm import models as registry
from nyxcore.llm.base import LLMError
from nyxcore.states import Reason, Status, touch, transition, transition_all
from nyxcore.verbs import Refused as Refused
from workflows import engine
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status
CLOSED = (S.COMPLETED, S.FAILED, S.CANCELLED)
TABLE = StepAttempt._meta.db_table


def verb(
    workflow_pk: int, by: Any, action: str, *, kind: str = "person", detail: str = ""
) -> AbstractContextManager[Workflow]:
    """One audited transaction of a person on a locked workflow."""
    return verbs.verb(engine.lock, workflow_pk, by, action, kind=kind, detail=detail)


def fresh(step: Step) -> Step:
    """The step as it is now; its workflow is locked, so it stays so."""
    return Step.objects.get(pk=step.pk)


def check_needs(workflow: Workflow, step: Step) -> None:
    unmet = Step.objects.filter(workflow=workflow, key__in=step.needs).exclude(status__in=DONE)
    titles = list(unmet.values_list("title", flat=True))
    if titles:
        raise Refused(f"“{step.title}” needs {', '.join(titles)} first. Resume the workflow instead.")


def release_hold(workflow: Workflow) -> None:
    if workflow.is_held:
        workflow.let_go()
        touch(Workflow, [workflow.pk])


def open_again(workflow: Workflow) -> None:
    """Bring a closed or paused workflow back, before any of its steps.

    What was cancelled when it closed stands in line again, or it could never be completed; except a cut answer,
    which waits for a decision of its own.
    """
    release_hold(workflow)
    closed = workflow.status in CLOSED
    if workflow.status != S.RUNNING:
        transition(workflow, Status(workflow.status), S.RUNNING)
    if closed:
        cancelled = Step.objects.filter(workflow=workflow, status=S.CANCELLED)
        pks = [step.pk for step in cancelled if not cut_if_resumed(workflow, step)]
        transition_all(Step, pks, S.CANCELLED, S.PENDING)


def open_now(workflow: Workflow, step: Step, cause: str, fields: dict[str, Any]) -> None:
    try:
        engine.open_attempt(workflow, step, cause=cause, **fields)
    except engine.OverBudget:
        left = engine.left_of_budget(workflow)
        raise Refused(
            f"The next call may cost more than the ${left:.2f} that is left of the budget. Raise it first."
        ) from None
    except LLMError as error:
        raise Refused(error.message) from None


def dependents(workflow: Workflow, step: Step) -> set[int]:
    """Primary keys of the steps that need `step`, directly or through others."""
    rows = list(Step.objects.filter(workflow=workflow).values_list("pk", "key", "needs"))
    found: set[int] = set()
    keys = {step.key}
    while True:
        new = {pk: key for pk, key, needs in rows if pk not in found and keys.intersection(needs)}
        if not new:
            return found
        found |= new.keys()
        keys |= set(new.values())


def cut_if_resumed(workflow: Workflow, step: Step) -> bool:
    """Whether the answer of a step was cut before it was cancelled, at a limit that the next one would have again."""
    if step.status != S.CANCELLED:
        return False
    last = step.attempts.order_by("-number").first()
    if last is None or last.status != S.CUT_OFF or last.reason != Reason.CUT_MAX_TOKENS:
        return False
    default = settings.NYXCORE_DEFAULT_MAX_TOKENS
    model = step.config.get("model") or workflow.default_model or registry.default_model()
    room = registry.clamp_max_tokens(str(model), int(step.config.get("max_tokens") or default))
    same_model = last.request.get("model", model) == model
    return same_model and room <= int(last.request.get("max_tokens") or default)
