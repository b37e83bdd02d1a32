"""What a person's verbs have alike in every app: one audited transaction under the run's lock, and refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db.models import Model

from nyxcore.models import AuditEntry
from nyxcore.states import acting, current_actor, person

R = TypeVar("R", bound=Model)


class Refused(Exception):
    """The state does not allow what was asked; the message says why and what is possible."""


@contextmanager
def verb(
    lock: Callable[[int], R], pk: int, by: Any, action: str, *, kind: str = "person", detail: str = ""
) -> Iterator[R]:
    """One audited transaction of a person on the row that `lock` gives."""
    with acting(person(by, kind)):
        row = lock(pk)
        actor = current_actor()
        assert actor is not None
        AuditEntry.of(actor, type(row), row.pk, action=action, detail=detail).save()
        yield row
