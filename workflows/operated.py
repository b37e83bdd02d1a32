"""The verbs of an operator for one row and for many, as the admin offers them; and what undoes an act on a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.urls import reverse

from nyxcore.bulk import Skipped, Source, Verb
from nyxcore.states import Status
from nyxcore.undo import CannotUndo, Way
from workflows import engine, operating, services
from workflows.models import Step, StepAttempt, Workflow

OPERATOR = "operator"
AGAIN = "A call that was stopped is then paid again."
FAILING = (
    "Each of these runs ends now as failed: running calls are stopped, what they have written is kept. "
    f"It can be undone by a resume. {AGAIN}"
)
CANCELLING = (
    "Each of these runs ends now: running calls are stopped, what they have written is kept, every step "
    f"that is not done becomes cancelled. It can be undone by a resume. {AGAIN}"
)
RELEASING = (
    "The running attempts end as lost, though their workers may still live, and new ones wait for any worker. "
    "What the calls have cost so far is spent, and they are paid again. This cannot be undone."
)


def _verb(
    model: type[models.Model],
    name: str,
    words: tuple[str, str, str],
    service: Callable[..., Any],
    asks: str = "",
) -> Verb:
    """`service` as a verb: whoever may change such rows, and only they, as an operator."""
    permission = f"{model._meta.app_label}.change_{model._meta.model_name}"

    def act(pk: int, by: Any, _query: str) -> None:
        if not (by.is_staff and by.has_perm(permission)):
            raise Skipped("You may not do that any more.")
        row = model._default_manager.filter(pk=pk).first()
        if row is None:
            raise Skipped("It is gone.")
        try:
            service(row, by=by, kind=OPERATOR)
        except (services.Refused, ObjectDoesNotExist) as refusal:
            raise Skipped(str(refusal)) from None

    return Verb(name, *words, act, asks)


def _release_attempt(attempt: StepAttempt, *, by: Any, kind: str) -> None:
    if attempt.status != Status.RUNNING:
        raise services.Refused(f"No worker holds this attempt: it is {Status(attempt.status).label.lower()}.")
    operating.release_step(attempt.step, by=by, kind=kind)


def _source(model: type[models.Model], noun: str, nouns: str, *verbs: Verb) -> Source:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    return Source(
        f"operated {noun}", noun, nouns, {verb.name: verb for verb in verbs},
        lambda query: f"{reverse(f'{name}_changelist')}?{query}", lambda pk: reverse(f"{name}_change", args=[pk]),
    )  # fmt: skip


RELEASE = ("Release from their workers", "Releasing", "released")
WORKFLOWS = _source(
    Workflow, "workflow", "workflows",
    _verb(Workflow, "mark_failed", ("Mark failed", "Marking failed", "marked failed"), operating.mark_failed, FAILING),
    _verb(Workflow, "retry", ("Retry what failed (resume)", "Resuming", "resumed"), services.resume_workflow),
    _verb(Workflow, "release", RELEASE, operating.release_workflow, RELEASING),
    _verb(Workflow, "pause", ("Pause", "Pausing", "paused"), services.pause_workflow),
    _verb(Workflow, "cancel", ("Cancel", "Cancelling", "cancelled"), services.cancel_workflow, CANCELLING),
)  # fmt: skip
STEPS = _source(
    Step, "step", "steps",
    _verb(Step, "retry", ("Retry", "Retrying", "retried"), services.retry_step),
    _verb(Step, "release", RELEASE, operating.release_step, RELEASING),
)  # fmt: skip
ATTEMPTS = _source(
    StepAttempt, "attempt", "attempts", _verb(StepAttempt, "release", RELEASE, _release_attempt, RELEASING)
)


# --- undo -----------------------------------------------------------------------------------------------------


def _back(service: Callable[..., Any], *statuses: Status) -> Callable[[int, Any], None]:
    """The opposite verb, while the run stands where the act has brought it."""

    def act(pk: int, by: Any) -> None:
        if not Workflow.objects.visible_to(by).filter(pk=pk).exists():
            raise CannotUndo("The workflow is gone.")
        workflow = engine.lock(pk)
        held = workflow.held_by_id is not None
        if workflow.status not in statuses or held != (Status.PAUSED in statuses):
            raise CannotUndo(f"The run has gone on since; it is {Status(workflow.status).label.lower()} now.")
        if service is services.resume_workflow and workflow.started_at is None:
            raise CannotUndo("It had not been started, and a resume would start it. Duplicate it instead.")
        try:
            service(workflow, by=by, kind=OPERATOR if by.is_staff else "person")
        except services.Refused as refusal:
            raise CannotUndo(str(refusal)) from None

    return act


WAYS: dict[str, Way | str] = {
    "pause": Way(
        "Resume", "The run goes on where it stood.",
        _back(services.resume_workflow, Status.RUNNING, Status.PAUSED),
    ),
    "mark failed": Way(
        "Resume", f"The run goes on: what failed runs again, what is completed is kept. {AGAIN}",
        _back(services.resume_workflow, Status.FAILED),
    ),
    "cancel": Way(
        "Resume", f"The run goes on, also if it was paused before: what was cancelled stands in line again. {AGAIN}",
        _back(services.resume_workflow, Status.CANCELLED),
    ),
    "resume": Way(
        "Pause", "Nothing new starts; what has begun since ends normally.",
        _back(services.pause_workflow, Status.RUNNING),
    ),
    "start": "A start cannot be undone: what has run stays. Cancel the run to stop it.",
    "release": "A release cannot be undone: the attempt has ended, and its next one is queued or at work already.",
    "retry": "A retry cannot be undone: attempts are only added. Pause or cancel the run to stop it.",
    "rerun": "A rerun cannot be undone: attempts are only added. The earlier answers stand in the attempts.",
    "delete": "What was deleted is gone from the database. A back-up may have it.",
    "settings": "Settings are changed back by hand, in the settings of the run.",
}  # fmt: skip
