"""The sweep: finds rows whose alarm has gone off and has their app deal with each. Needs PostgreSQL only.

Callers: a thread of every worker and web process (whoever is first in an interval), the start of such a process,
the start of a new run (its owner's rows), and the opening of a run's page (that run's rows). All use the same
predicates, and each row is judged again under its run's lock, so two sweepers at once do everything once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Case, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from nyxcore.dbtime import ago, since
from nyxcore.models import Leased, StatefulModel
from nyxcore.states import Reason, Status

log = logging.getLogger(__name__)

BATCH = 500  # rows that are read at once
FEW = 10  # silent rows that are ended one by one; more of them together
MAY_PASS, LOOK_AGAIN = 0.8, 0.9  # of an interval after a pass: the next one may begin; a process looks for it
DEADLINE_SLACK = 60  # s beyond its deadline that a living attempt gets to end by itself
_LOCK = 0x6E7978  # advisory lock of the pass ("nyx")
CLOCK = "clock_timestamp()"
# Nobody has passed for too long, and no guard was raised for that: one that was ends a lease after the gap was seen,
# one of an earlier gap ends sooner.
_GAP = (
    f"last_pass < {CLOCK} - make_interval(secs => %(gap)s) AND (guard_until IS NULL"
    " OR guard_until < last_pass + make_interval(secs => %(gap)s + %(lease)s))"
)


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
    idle_runs: Callable[[Scope], QuerySet[Any]]  # active runs with nothing open below
    repair: Callable[[int], str]
    work: Callable[
        [str, Callable[[], None] | None], bool
    ]  # claim and run as this worker until nothing is left, or its turn is over (True)
    explain: Callable[[int], list[str] | None]  # sentences on one run; None when there is no such run
    hand_over: Callable[[int, str], None]  # end an attempt of a worker that has to go, and open its next one
    # Runs with rows that no rule allows, and what is wrong with each: only imported data has them, and to look for
    # them reads whole tables.
    impossible: Callable[[Scope], Iterable[tuple[int, str]]] = lambda scope: ()
    # Many silent rows at once: what was done to each that it dealt with. `expire` takes the others, one by one.
    expire_together: Callable[[list[int]], dict[int, str]] | None = None
    # Sentences on one row of another kind, by its word: a step, an attempt.
    explain_more: Mapping[str, Callable[[int], list[str] | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """One line of a pass: `found` and `done` in few words, `said` as sentences."""

    target: str
    row: str
    found: str
    done: str
    worker: str = ""
    last_sign: datetime | None = None
    run: int = 0
    silence: float = 0.0  # s since the last sign

    @property
    def said(self) -> str:
        """What was found, who held it and when that was last heard of, why that matters, and what was done."""
        run = f"{self.target} {self.run}"
        held = f", held by {self.worker}" if self.worker else ""
        sign = (
            f", last sign of life {self.last_sign:%Y-%m-%d %H:%M:%S} UTC ({self.silence:.0f} s ago)"
            if self.last_sign
            else ""
        )
        where = run if self.row == run else f"{run}, {self.row}"
        why = f" {Reason(self.found).label}" if self.found in Reason.values else ""
        return f"{where}: {self.found}{held}{sign}.{why} -> {self.done}."


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
        deep = scope is not None and scope.owner is None
        found += _Pass(target, scope or Scope(), dry_run=dry_run, guarded=guarded, deep=deep).lines()
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


def every() -> float:
    """Seconds between two passes: as it is set, but at most a third of a lease. Between passes further apart the leases
    of the living could lapse in an outage that looks like no gap."""
    return min(settings.NYXCORE_SWEEP_EVERY, settings.NYXCORE_LEASE / 3)


def gap() -> float:
    """Seconds without a pass after which the leases of the living may have lapsed unseen: between half a lease and two
    thirds, as the pulse renews each sixth. Less would keep the guard up for good where passes come late, as on a busy
    machine."""
    return max(2 * every(), settings.NYXCORE_LEASE / 2)


def wait_after(seconds: float) -> float:
    """Seconds until a process looks for its next pass, after one that took so long: a busy machine may be late then,
    and the pass still comes within its interval."""
    return max(LOOK_AGAIN * every() - seconds, (1 - LOOK_AGAIN) * every())


def _enter(*, record: bool, force: bool) -> tuple[bool, bool]:
    """(guard holds, this pass is ours). Records a whole pass, and raises the guard once for each gap between passes.

    After an outage of the database or of the machine every lease looks expired. Living workers renew within a
    lease, so running rows are judged only one lease after the gap.

    All of it is one message to the server, which ends the transaction by itself: a process that is frozen here
    leaves no lock behind.
    """
    due = f"last_pass IS NULL OR last_pass < {CLOCK} - make_interval(secs => %(every)s) OR %(force)s"
    alone = "pg_try_advisory_xact_lock(%(lock)s)"
    values = {
        "gap": gap(),
        "every": every() * MAY_PASS,
        "lease": settings.NYXCORE_LEASE,
        "force": force,
        "lock": _LOCK,
        "record": record,
    }
    with connection.cursor() as cursor:
        cursor.execute(
            f"""INSERT INTO nyxcore_sweepstate (id) VALUES (1) ON CONFLICT DO NOTHING;
            UPDATE nyxcore_sweepstate SET guard_until = {CLOCK} + make_interval(secs => %(lease)s)
             WHERE {_GAP} AND {alone};
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
                   SELECT FROM nyxcore_sweepstate WHERE guard_until > {CLOCK} OR {_GAP})""",
            {"gap": gap(), "lease": settings.NYXCORE_LEASE},
        )
        return bool(cursor.fetchone()[0])


@dataclass(frozen=True)
class _Pass:
    """One pass over the rows of one target."""

    target: Target
    scope: Scope
    dry_run: bool
    guarded: bool
    deep: bool  # look for impossible rows too

    def lines(self) -> Iterator[Found]:
        """What no rule allows first, since nothing else can be done with such rows; then the running ones: however
        many wait for a worker, a dead one is found."""
        yield from self._impossible()
        for page in pages(self._overdue(Status.RUNNING)):
            yield from self._silent(page)
        for row in each(self._overdue(Status.WAITING)):
            done = self._do("would look", self.target.look, row.pk)
            yield _line(self.target, row, "waiting past its time", done)
        yield from self._rung()
        yield from self._idle()

    def _do(self, words: str, handler: Callable[..., str], *args: Any) -> str:
        return words if self.dry_run else _guarded(handler, *args)

    def _overdue(self, status: Status) -> QuerySet[Any]:
        """Those of one status, by its partial index."""
        return judged(_within(self.target, self.scope).filter(status=status))

    def _silent(self, rows: list[Any]) -> Iterator[Found]:
        """End running rows without a sign of life: many of them together, and what that leaves one by one."""
        if self.guarded or self.dry_run:
            done = "left alone: the guard after an outage holds" if self.guarded else "would end it"
            yield from (_line(self.target, row, verdict(row), done) for row in rows)
            return
        together: dict[int, str] = {}
        if self.target.expire_together and len(rows) > FEW:
            together = self.target.expire_together([row.pk for row in rows])
        for row in rows:
            reason = verdict(row)
            done = together.get(row.pk) or _guarded(self.target.expire, row.pk, reason)
            yield _line(self.target, row, reason, done)

    def _rung(self) -> Iterator[Found]:
        """One page is enough: a doorbell names no row, and what was rung for makes room for the next page."""
        rows = list(self._overdue(Status.PENDING).order_by("due_at", "pk")[:BATCH])
        if rows:
            done = self._do("would ring", self.target.ring, [row.pk for row in rows])
            for row in rows:
                yield _line(self.target, row, "pending, not picked up", done)

    def _impossible(self) -> Iterator[Found]:
        name = self.target.name
        for pk, words in self.target.impossible(self.scope) if self.deep or _unvalidated() else ():
            done = self._do("would repair it", self.target.repair, pk)
            yield Found(name, f"{name} {pk}", words, done, run=pk)

    def _idle(self) -> Iterator[Found]:
        name = self.target.name
        for run in each(self.target.idle_runs(self.scope).annotate(silence=since("status_changed_at"))):
            yield Found(
                name,
                f"{name} {run.pk}",
                "active with nothing at work",
                self._do("would settle it", self.target.repair, run.pk),
                last_sign=run.status_changed_at,
                run=run.pk,
                silence=run.silence,
            )


def each(rows: QuerySet[Any]) -> Iterator[Any]:
    """All rows in the order of their keys."""
    for page in pages(rows):
        yield from page


def pages(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """The same, BATCH at a time; those that cannot be moved now hide none behind them."""
    last = 0
    while True:
        page = list(rows.filter(pk__gt=last).order_by("pk")[:BATCH])
        if page:
            yield page
        if len(page) < BATCH:
            return
        last = page[-1].pk


def _unvalidated() -> bool:
    """Whether rows may have come in past a constraint: one that was put back as NOT VALID."""
    tables = [model._meta.db_table for target in TARGETS for model in _models_of(target)]
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT EXISTS (SELECT FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
                               WHERE t.relname = ANY(%s) AND NOT c.convalidated)""",
            [tables],
        )
        return bool(cursor.fetchone()[0])


def _models_of(target: Target) -> list[Any]:
    """The models of its app that have a status."""
    app = target.attempts._meta.app_config
    return [model for model in app.get_models() if issubclass(model, StatefulModel)]


def overdue_condition(scope: Scope) -> Q:
    """Open rows whose alarm has gone off, or that live beyond their deadline. It stands on the row itself: a filter
    over a relation would become a sub-query that still sees a row which has just been renewed."""
    due = Q(due_at__lt=ago(scope.older_than))
    late = Q(status=Status.RUNNING, deadline_at__lt=ago(max(DEADLINE_SLACK, scope.older_than)))
    return Q(status__in=(Status.PENDING, Status.RUNNING, Status.WAITING)) & (due | late)


def _within(target: Target, scope: Scope) -> QuerySet[Any]:
    """The overdue attempts of a scope, each with the key of its run."""
    attempts = target.attempts._default_manager
    # Of the rows found only: a join would have the planner read the steps of every run.
    run = Subquery(attempts.filter(pk=OuterRef("pk")).values(target.run_path)[:1])
    rows = attempts.filter(overdue_condition(scope)).annotate(run=run)
    if scope.run is not None:
        rows = rows.filter(**{target.run_path: scope.run})
    if scope.owner is not None:
        rows = rows.filter(**{target.owner_path: scope.owner})
    found: QuerySet[Any] = rows
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
    return Found(target.name, f"attempt {row.pk}", str(found), done, row.worker, sign, row.run, row.silence)
