"""The verbs of an operator as the admin offers them, for one row and for many, and the opposite verb as an undo.

An app names its services; who may do it, and what is told when a row is left as it is, is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import models
from django.urls import reverse

from nyxcore.bulk import Skipped, Source, Verb
from nyxcore.states import Status
from nyxcore.undo import CannotUndo
from nyxcore.verbs import Refused

OPERATOR = "operator"
MARK_FAILED = ("Mark failed", "Marking failed", "marked failed")
RETRY = ("Retry what failed (resume)", "Resuming", "resumed")
PAUSE = ("Pause", "Pausing", "paused")
CANCEL = ("Cancel", "Cancelling", "cancelled")
RELEASE = ("Release from their workers", "Releasing", "released")


def verb(
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
        except (Refused, ObjectDoesNotExist) as refusal:
            raise Skipped(str(refusal)) from None

    return Verb(name, *words, act, asks)


def source(model: type[models.Model], noun: str, nouns: str, *verbs: Verb) -> Source:
    """The rows of a model with such verbs; their list and pages are those of the admin."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    return Source(
        f"operated {noun}", noun, nouns, {verb.name: verb for verb in verbs},
        lambda query: f"{reverse(f'{name}_changelist')}?{query}", lambda pk: reverse(f"{name}_change", args=[pk]),
    )  # fmt: skip


def back(
    model: type[Any],
    lock: Callable[[int], Any],
    service: Callable[..., Any],
    *statuses: Status,
    resumes: bool = False,
) -> Callable[[int, Any], None]:
    """The opposite verb, while the run stands where the act has brought it. `resumes`: it needs a run that was
    started."""
    noun = model._meta.verbose_name

    def act(pk: int, by: Any) -> None:
        if not model._default_manager.visible_to(by).filter(pk=pk).exists():
            raise CannotUndo(f"The {noun} is gone.")
        run = lock(pk)
        held = run.is_held
        if run.status not in statuses or held != (Status.PAUSED in statuses):
            raise CannotUndo(f"The run has gone on since; it is {Status(run.status).label.lower()} now.")
        if resumes and run.started_at is None:
            raise CannotUndo("It had not been started, and a resume would start it. Duplicate it instead.")
        try:
            service(run, by=by, kind=OPERATOR if by.is_staff else "person")
        except Refused as refusal:
            raise CannotUndo(str(refusal)) from None

    return act
