"""The opposite of an act, found by the audit entry that tells of it.

An app registers for each of its acts the way back, or the sentence that says why there is none. An act is undone only
while it is the last one on its row: what somebody has done since is not overturned unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from nyxcore import bulk
from nyxcore.models import AuditEntry, BulkAction

NO_ACT = "This change followed from an act or from the course of the run; what can be undone is the act."
UNKNOWN = "There is no opposite of this act. The page of the row offers what is possible there."


class CannotUndo(Exception):
    """The message says why, and what is possible."""


@dataclass(frozen=True)
class Way:
    """How an act is undone: `act` gets the row's key and the person; CannotUndo where the state forbids it."""

    label: str
    told: str  # what it does, one sentence
    act: Callable[[int, Any], None]


WAYS: dict[tuple[str, str], Way | str] = {}


def register(model: str, ways: Mapping[str, Way | str]) -> None:
    """Called by an app when it is ready: for each act on rows of `model` its way back, or why there is none."""
    WAYS.update({(model, action): way for action, way in ways.items()})


def way_of(entry: AuditEntry) -> Way | str:
    """How this entry's act can be undone; a sentence where it cannot."""
    if not entry.action:
        return NO_ACT
    way = WAYS.get((entry.model, entry.action), UNKNOWN)
    since = _acts_since(entry)
    if isinstance(way, Way) and since:
        last = since[-1]
        return f"Something was done to the row since ({last.action}, by {last.name}), so this is not undone unseen."
    return way


def undo(entry: AuditEntry, by: Any) -> Way:
    """Do the opposite, as an audited act of its own."""
    way = way_of(entry)
    if isinstance(way, str):
        raise CannotUndo(way)
    with transaction.atomic():
        way.act(entry.row, by)  # locks the row, and leaves one entry
        if len(_acts_since(entry)) != 1:
            raise CannotUndo("Somebody else was first: look at what was done to the row meanwhile.")
    return way


def _acts_since(entry: AuditEntry) -> list[AuditEntry]:
    later = AuditEntry.objects.filter(model=entry.model, row=entry.row, pk__gt=entry.pk)
    return list(later.exclude(action="").order_by("pk"))


# --- many at once: a bulk action over audit entries -------------------------------------------------------------


def _act(pk: int, by: Any, _query: str) -> None:
    entry = AuditEntry.objects.filter(pk=pk).first()
    if entry is None:
        raise bulk.Skipped("Its audit entry is gone.")
    try:
        undo(entry, by)
    except CannotUndo as error:
        raise bulk.Skipped(f"{entry.model} {entry.row}: {error}") from None


def _list_url(query: str) -> str:
    return f"/admin/nyxcore/auditentry/?{query}"


SOURCE = bulk.Source(
    "audit", "act", "acts", {"undo": bulk.Verb("undo", "Undo", "Undoing", "undone", _act)}, _list_url,
    lambda pk: f"/admin/nyxcore/auditentry/{pk}/change/",
)  # fmt: skip


def acts_of(action: BulkAction) -> QuerySet[AuditEntry]:
    """The audit entries of what a bulk action has done."""
    return AuditEntry.objects.filter(bulk=action.pk).exclude(action="").order_by("pk")


def way_of_all(action: BulkAction) -> Way | str:
    """How what a bulk action has done can be undone; a sentence where it cannot, "" where nothing was done."""
    first = acts_of(action).first()
    return WAYS.get((first.model, first.action), UNKNOWN) if first else ""


def undo_all(action: BulkAction, by: Any) -> BulkAction:
    """Undo all of it in the background, but for rows to which something was done since."""
    rows = list(acts_of(action).values_list("pk", flat=True))
    said = f"{action.verb}, number {action.pk}"
    return bulk.begin(
        by=by,
        source=SOURCE,
        verb=SOURCE.verbs["undo"],
        query=f"bulk__id__exact={action.pk}",
        said=said,
        rows=rows,
    )
