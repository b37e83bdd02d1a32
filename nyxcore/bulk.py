"""One verb on many rows: a BulkAction says which rows, a worker takes them one after the other.

The row is the truth, as everywhere. Each single change shares its transaction with the count that records it, so a
worker that dies between two rows, or in the middle of one, leaves nothing half done and nothing counted twice. A
bulk action is held by a lease that every count renews; when it ends, another worker goes on behind the last count.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import F, Q

from nyxcore.dbtime import ago, later
from nyxcore.models import AuditEntry, BulkAction, acting_for
from nyxcore.states import Later, Reason, Status, acting, current_actor, person, transition
from nyxcore.words import counted

log = logging.getLogger(__name__)

CHANNEL = "nyxcore_bulk"  # NOTIFY: there is something to begin with
AT_MOST = 100_000  # rows of one bulk action
BATCH = 200  # rows read at once
REMARKS = 50  # refusals kept in words


class Skipped(Exception):
    """A row that stays as it is; the message says why."""


@dataclass(frozen=True)
class Verb:
    """What can be done to many rows. `act` gets a primary key, the person, and the filter that the row has to match
    still; it does its change through the app's services, inside our transaction, or raises Skipped."""

    name: str
    label: str  # Cancel
    doing: str  # Cancelling
    done: str  # cancelled
    act: Callable[[int, Any, str], None]
    asks: str = ""  # what it does and whether it can be undone, where an operator is to be asked first


@dataclass(frozen=True)
class Source:
    """One app's rows."""

    name: str
    noun: str
    nouns: str
    verbs: Mapping[str, Verb]
    list_url: Callable[[str], str]  # the list with that filter
    row_url: Callable[[int], str]

    def count(self, number: int) -> str:
        return counted(number, self.noun, self.nouns)


SOURCES: dict[str, Source] = {}


def register(source: Source) -> None:
    """Called by an app when it is ready; the kernel itself knows no app."""
    SOURCES[source.name] = source


# --- what a person does ---------------------------------------------------------------------------------------


def begin(*, by: Any, source: Source, verb: Verb, query: str, said: str, rows: Sequence[int]) -> BulkAction:
    """Have `verb` done to `rows` in the background."""
    with acting(person(by)):
        action = BulkAction.objects.create(
            owner=by,
            target=source.name,
            verb=verb.name,
            filter=query,
            said=said,
            rows=list(rows),
            total=len(rows),
        )
        _audit(action, f"bulk {verb.name}", f"{source.count(len(rows))}: {said}")
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    return action


def abort(action: BulkAction, *, by: Any) -> bool:
    """Stop after the row that is being done; what is done stays done. False when it has ended already."""
    with acting(person(by)):
        return transition(action, (Status.PENDING, Status.RUNNING), Status.CANCELLED, reason=Reason.USER)


def _audit(action: BulkAction, what: str, detail: str) -> None:
    actor = current_actor()
    assert actor is not None
    AuditEntry.of(actor, BulkAction, action.pk, action=what, detail=detail).save()


# --- what a worker does ---------------------------------------------------------------------------------------


def work(worker: str, stopping: Callable[[], bool] = lambda: False) -> None:
    """Take bulk actions and do them until none is left or this process has to go."""
    while not stopping():
        pk = claim(worker)
        if pk is None:
            return
        _run(pk, worker, stopping)


def claim(worker: str) -> int | None:
    """Hold the oldest one that is new, whose lease is over, or that is ours already."""
    with transaction.atomic():
        free = BulkAction.objects.open().filter(Q(due_at__lt=ago(0)) | Q(worker=worker))
        action = free.select_for_update(skip_locked=True).defer("rows").order_by("pk").first()
        if action is None:
            return None
        if action.status == Status.PENDING:
            transition(action, Status.PENDING, Status.RUNNING, worker=worker, due_at=Later(_lease()))
        else:
            BulkAction.objects.filter(pk=action.pk).update(worker=worker, due_at=later(_lease()))
            if action.worker != worker:
                log.info("bulkaction %s goes on at %s as %s", action.pk, action.treated, worker)
    return int(action.pk)


def _lease() -> float:
    return float(settings.NYXCORE_LEASE)


def _held(pk: int, worker: str) -> Any:
    """The action as it is now; None when it was aborted, or when it is not ours any more."""
    mine = BulkAction.objects.filter(pk=pk, status=Status.RUNNING, worker=worker)
    return mine.defer("rows").select_related("owner").first()


def _run(pk: int, worker: str, stopping: Callable[[], bool]) -> None:
    while (action := _held(pk, worker)) is not None:
        verb = _verb_of(action)
        if verb is None or not action.owner.is_active:
            _give_up(action, worker, known=verb is not None)
            return
        rows = _next(action)
        if not rows:
            transition(action, Status.RUNNING, Status.COMPLETED, fence={"worker": worker})
            return
        for row in rows:
            if stopping():
                _release(action, worker)
                return
            if not _do(action, verb, row, worker):
                return


def _verb_of(action: BulkAction) -> Verb | None:
    source = SOURCES.get(action.target)
    return source.verbs.get(action.verb) if source else None


def _give_up(action: BulkAction, worker: str, *, known: bool) -> None:
    """The person may not act any more; or a newer version has begun what this one does not know."""
    to, reason = (Status.CANCELLED, Reason.USER) if known else (Status.FAILED, Reason.INTERNAL)
    transition(action, Status.RUNNING, to, reason=reason, fence={"worker": worker})


def _release(action: BulkAction, worker: str) -> None:
    """This process has to go: the next worker need not wait for the end of the lease."""
    BulkAction.objects.filter(pk=action.pk, status=Status.RUNNING, worker=worker).update(due_at=ago(1))


def _next(action: BulkAction) -> list[int]:
    """The next rows behind the counts."""
    first = action.treated + 1  # arrays of SQL begin at 1
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT rows[%s:%s] FROM nyxcore_bulkaction WHERE id = %s", [first, first + BATCH - 1, action.pk]
        )
        found = cursor.fetchone()
    return list(found[0]) if found else []


class _NotOurs(Exception):
    """Aborted, or taken over: the change that was about to be counted must not happen."""


def _do(action: BulkAction, verb: Verb, row: int, worker: str) -> bool:
    """Do one row and count it, both or neither; False when the action is not ours any more."""
    try:
        with transaction.atomic(), acting_for(action.pk):
            verb.act(row, action.owner, action.filter)
            changes = _count(action, worker, "done")
    except _NotOurs:
        return False
    except Skipped as refusal:
        return _leave(action, worker, "skipped", [row, str(refusal)])
    except OperationalError as error:
        if not connection.is_usable():
            raise  # no contact to PostgreSQL; the lease is ours still when it is back
        why = f"It was held by something else: {str(error).strip().splitlines()[0]}"
        return _leave(action, worker, "failed", [row, why])
    except Exception as error:  # one row that breaks must not hold up the others
        log.exception("bulkaction %s: %s %s failed", action.pk, verb.name, row)
        why = f"nyxcore made a mistake of its own: {type(error).__name__}."
        return _leave(action, worker, "failed", [row, why])
    _copy(changes, action)
    return True


def _leave(action: BulkAction, worker: str, outcome: str, remark: list[Any]) -> bool:
    """Count a row that stays as it is."""
    try:
        with transaction.atomic():
            changes = _count(action, worker, outcome, remark)
    except _NotOurs:
        return False
    _copy(changes, action)
    return True


def _count(action: BulkAction, worker: str, outcome: str, remark: list[Any] | None = None) -> dict[str, Any]:
    """Record what became of one row, and renew the lease; what has changed, to be copied once it is committed."""
    counts = {name: getattr(action, name) for name in ("done", "skipped", "failed")}
    changes: dict[str, Any] = {outcome: counts[outcome] + 1}
    if remark and len(action.remarks) < REMARKS:
        changes["remarks"] = [*action.remarks, remark]
    mine = BulkAction.objects.filter(pk=action.pk, status=Status.RUNNING, worker=worker, **counts)
    if not mine.update(version=F("version") + 1, due_at=later(_lease()), **changes):
        raise _NotOurs
    return changes


def _copy(changes: dict[str, Any], action: BulkAction) -> None:
    for name, value in changes.items():
        setattr(action, name, value)
