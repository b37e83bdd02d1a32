"""The sweep: finds rows whose alarm has gone off and has their app deal with each. Needs PostgreSQL only.

Callers: a thread of every worker and web process (whoever is first in an interval), the start of such a process,
the start of a new run (its owner's rows), and the opening of a run's page (that run's rows). All use the same
predicates, and each row is judged again under its run's lock, so two sweepers at once do everything once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, Q, QuerySet, When
from django.db.models.functions import Coalesce

from nyxcore.dbtime import ago, since
from nyxcore.models import Leased
from nyxcore.states import Reason, Status

log = logging.getLogger(__name__)

BATCH = 500
DEADLINE_SLACK = 60  # s beyond its deadline that a living attempt gets to end by itself
_LOCK = 0x6E7978  # advisory lock of the pass ("nyx")
CLOCK = "clock_timestamp()"


@dataclass(frozen=True)
class Scope:
    """Which rows: those of one run, of one owner, or all. `older_than` (s) demands a longer silence."""

    run: int | None = None
    owner: int | None = None
    older_than: float = 0.0


@dataclass(frozen=True)
class Target:
    """One app's rows, and what it does with each kind of find. The handlers take a primary key, lock, judge again,
    act, and return in a few words what they did ("" if somebody else was first)."""

    name: str
    attempts: type[Leased]
    run_path: str  # from an attempt to its run, as in filter()
    owner_path: str
    ring: Callable[[list[int]], str]  # pending rows nobody has claimed
    expire: Callable[[int, Reason], str]  # running rows without a sign of life
    look: Callable[[int], str]  # waiting rows whose time has come
    restless: Callable[[Scope], bool]  # a cheap look: is there anything for a pass over this scope?
    idle_runs: Callable[
        [Scope], QuerySet[Any]
    ]  # active runs with nothing open below, and rows no rule allows
    repair: Callable[[int], str]
    work: Callable[
        [str, Callable[[], None] | None], bool
    ]  # claim and run as this worker until nothing is left, or its turn is over (True)
    explain: Callable[[int], list[str] | None]  # sentences on one run; None when there is no such run
    hand_over: Callable[[int, str], None]  # end an attempt of a worker that has to go, and open its next one


@dataclass(frozen=True)
class Found:
    """One line of a pass."""

    target: str
    row: str
    found: str
    done: str
    worker: str = ""
    last_sign: datetime | None = None


TARGETS: list[Target] = []
CHORES: list[Callable[[], None]] = []  # what an app has done once in a while: tidying up


def register(target: Target) -> None:
    """Called by an app when it is ready; the kernel itself knows no app."""
    TARGETS[:] = [known for known in TARGETS if known.name != target.name] + [target]


def run_pass(*, dry_run: bool = False, scope: Scope | None = None, force: bool = False) -> list[Found]:
    """One pass over every target; what was found and done.

    Without a scope it is the periodic pass: skipped (empty list) when another process has passed within this
    interval, unless `force`. While the guard holds, running rows are not judged.
    """
    whole = scope is None or (scope.run is None and scope.owner is None)
    if scope and not whole and not any(target.restless(scope) for target in TARGETS):
        return []
    if dry_run:
        guarded, mine = _would_guard(), True
    else:
        guarded, mine = _enter(record=whole, force=force or scope is not None)
    if scope is None and not mine:
        return []
    found: list[Found] = []
    for target in TARGETS:
        found += _sweep_target(target, scope or Scope(), dry_run=dry_run, guarded=guarded)
    for line in found:
        log.info("sweep %s %s: %s -> %s", line.target, line.row, line.found, line.done)
    if whole and not dry_run:
        _do_chores()
    return found


def _do_chores() -> None:
    for chore in CHORES:
        try:
            chore()
        except Exception:
            log.exception("sweep: a chore failed")


def _enter(*, record: bool, force: bool) -> tuple[bool, bool]:
    """(guard holds, this pass is ours). Records a whole pass, and raises the guard once for each gap between passes.

    After an outage of the database or of the machine every lease looks expired. Living workers renew within a
    lease, so running rows are judged only one lease after the gap.

    All of it is one message to the server, which ends the transaction by itself: a process that is frozen here
    leaves no lock behind.
    """
    gap = f"last_pass < {CLOCK} - make_interval(secs => %(gap)s)"
    due = f"last_pass IS NULL OR last_pass < {CLOCK} - make_interval(secs => %(every)s) OR %(force)s"
    alone = "pg_try_advisory_xact_lock(%(lock)s)"
    values = {
        "gap": 2 * settings.NYXCORE_SWEEP_EVERY,
        "every": settings.NYXCORE_SWEEP_EVERY * 0.8,
        "lease": settings.NYXCORE_LEASE,
        "force": force,
        "lock": _LOCK,
        "record": record,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO nyxcore_sweepstate (id) VALUES (1) ON CONFLICT DO NOTHING;
            UPDATE nyxcore_sweepstate SET guard_until = {CLOCK} + make_interval(secs => %(lease)s)
             WHERE {gap} AND (guard_until IS NULL OR guard_until < last_pass + make_interval(secs => %(gap)s))
               AND {alone};
            UPDATE nyxcore_sweepstate SET guard_until = greatest(guard_until,
                   pg_postmaster_start_time() + make_interval(secs => %(lease)s))
             WHERE pg_postmaster_start_time() > {CLOCK} - make_interval(secs => %(lease)s) AND {alone};
            UPDATE nyxcore_sweepstate SET last_pass = {CLOCK} WHERE %(record)s AND ({due}) AND {alone}""",
            values,
        )
        for _ in range(3):
            cursor.nextset()
        mine = cursor.rowcount == 1
    return (
        _would_guard(),
        mine,
    )  # who did not get the lock has to heed the gap that its holder is writing down


def _would_guard() -> bool:
    """Whether the guard holds, or `_enter` would raise it now; writes nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT pg_postmaster_start_time() > {CLOCK} - make_interval(secs => %(lease)s) OR EXISTS (
                   SELECT FROM nyxcore_sweepstate WHERE guard_until > {CLOCK}
                       OR last_pass < {CLOCK} - make_interval(secs => %(gap)s)
                      AND (guard_until IS NULL OR guard_until < last_pass + make_interval(secs => %(gap)s)))""",
            {"gap": 2 * settings.NYXCORE_SWEEP_EVERY, "lease": settings.NYXCORE_LEASE},
        )
        return bool(cursor.fetchone()[0])


def _sweep_target(target: Target, scope: Scope, *, dry_run: bool, guarded: bool) -> Iterable[Found]:
    overdue = list(_overdue(target, scope))
    waiting_for_worker = [row for row in overdue if row.status == Status.PENDING]
    if waiting_for_worker:
        done = "would ring" if dry_run else target.ring([row.pk for row in waiting_for_worker])
        for row in waiting_for_worker:
            yield _line(target, row, "pending, not picked up", done)
    for row in overdue:
        if row.status == Status.RUNNING:
            reason = verdict(row)
            if guarded:
                yield _line(target, row, reason, "left alone: the guard after an outage holds")
            else:
                yield _line(
                    target,
                    row,
                    reason,
                    "would end it" if dry_run else _guarded(target.expire, row.pk, reason),
                )
        elif row.status == Status.WAITING:
            yield _line(
                target,
                row,
                "waiting past its time",
                "would look" if dry_run else _guarded(target.look, row.pk),
            )
    for pk in target.idle_runs(scope).values_list("pk", flat=True)[:BATCH]:
        done = "would settle it" if dry_run else _guarded(target.repair, pk)
        yield Found(target.name, f"{target.name} {pk}", "active with nothing at work", done)


def overdue_condition(scope: Scope) -> Q:
    """Open rows whose alarm has gone off, or that live beyond their deadline. It stands on the row itself: a filter
    over a relation would become a sub-query that still sees a row which has just been renewed."""
    due = Q(due_at__lt=ago(scope.older_than))
    late = Q(status=Status.RUNNING, deadline_at__lt=ago(max(DEADLINE_SLACK, scope.older_than)))
    return Q(status__in=(Status.PENDING, Status.RUNNING, Status.WAITING)) & (due | late)


def _overdue(target: Target, scope: Scope) -> QuerySet[Any]:
    rows = target.attempts._default_manager.filter(overdue_condition(scope))
    if scope.run is not None:
        rows = rows.filter(**{target.run_path: scope.run})
    if scope.owner is not None:
        rows = rows.filter(**{target.owner_path: scope.owner})
    found: QuerySet[Any] = judged(rows).order_by("pk")[:BATCH]
    return found


def judged(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Adds what `verdict` needs: lease_gone, and silence (s since the last sign of life)."""
    sign = Coalesce("heartbeat_at", "started_at", "queued_at")
    found: QuerySet[Any] = rows.defer("output", "request").annotate(
        silence=since(sign), lease_gone=Case(When(due_at__lt=ago(0), then=True), default=False)
    )
    return found


def verdict(row: Any) -> Reason:
    """Why a running row ends: past its deadline though alive, silent for very long, or just lost."""
    if not row.lease_gone:
        return Reason.DEADLINE
    if row.silence >= settings.NYXCORE_STUCK_AFTER:
        return Reason.STUCK
    return Reason.LOST


def _guarded(handler: Callable[..., str], *args: Any) -> str:
    """One row whose handler fails must not hold up the others; it is found again in the next pass."""
    try:
        return handler(*args) or "nothing: somebody else was first"
    except Exception as error:
        log.exception("sweep: %s of %s failed", getattr(handler, "__name__", "handler"), args)
        return f"failed: {error}"


def _line(target: Target, row: Any, found: str, done: str) -> Found:
    sign = row.heartbeat_at or row.started_at or row.queued_at
    return Found(target.name, f"attempt {row.pk}", str(found), done, row.worker, sign)
