"""What the sweep does with the rows of every app alike: attempts at items (steps, units) of runs.

An app's subclass of Recovery names its rows and says what its engine does with a run that is locked. Each handler
locks the run, judges again, and acts as the sweep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from django.db import InterfaceError, OperationalError, connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from nyxcore import attempts, sweep
from nyxcore.attempts import Result
from nyxcore.dbtime import ago
from nyxcore.imported import Imported
from nyxcore.models import PaidAttempt, Run, StatefulModel
from nyxcore.pulse import tell_to_stop
from nyxcore.states import OPEN_ATTEMPT, SWEEP, OfRow, Reason, Status, acting, transition_all

log = logging.getLogger(__name__)
S = Status
TOGETHER = 100  # runs that the sweep locks at once; they are settled well within anybody's lock_timeout
LAST_SIGN = OfRow(
    "'Worker ' || worker || ' gave its last sign of life at ' || "
    "to_char(coalesce(heartbeat_at, started_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC.'"
)
RESTLESS = """
SELECT EXISTS (
    SELECT FROM {runs} r
     WHERE r.status IN ({active}) AND (r.id = %(run)s OR r.owner_id = %(owner)s)
       AND (NOT EXISTS (SELECT FROM {items} i JOIN {attempts} a ON a.{item}_id = i.id
                         WHERE i.{run}_id = r.id AND a.status IN ('pending', 'running', 'waiting'))
            OR EXISTS (SELECT FROM {items} i JOIN {attempts} a ON a.{item}_id = i.id
                        WHERE i.{run}_id = r.id AND a.status IN ('pending', 'running', 'waiting')
                          AND (a.due_at < clock_timestamp() OR a.deadline_at < clock_timestamp())))
)
"""


class Recovery:
    """One app's rows, and how the sweep brings them to where the rules want them."""

    attempts: ClassVar[type[PaidAttempt]]
    items: ClassVar[type[StatefulModel]]
    runs: ClassVar[type[Run]]
    item: ClassVar[str]  # the relation from an attempt to what it is a try at
    run: ClassVar[str]  # the relation from that to its run
    active: ClassVar[Sequence[Status]]  # of a run that somebody has to move
    imported: ClassVar[Imported]

    # --- what an app's engine does ---

    def lock(self, pks: Iterable[int]) -> dict[int, Any]:
        """The runs of these that nobody else holds, locked, by their keys."""
        raise NotImplementedError

    def stored(self, attempt: Any) -> tuple[Result, Any]:
        """What an answer comes to that was stored before its worker was lost; nothing is locked."""
        raise NotImplementedError

    def estimate_cost(self, attempt: Any) -> None:
        """Count a lost call."""
        raise NotImplementedError

    def follow(self, run: Any, attempt: Any, result: Result, made: Any) -> str:
        """Move the item of an attempt that has ended; the reason for which the run has to stop, if any."""
        raise NotImplementedError

    def follow_all(self, runs: Mapping[int, Any], ended: Sequence[Any]) -> None:
        """The same for many attempts that have failed as their `verdict` says; then settle their runs."""
        stops: dict[int, str] = {}
        for attempt in ended:
            pk = self._run_of(attempt)
            stop = self.follow(runs[pk], attempt, Result(S.FAILED, attempt.verdict), None)
            stops[pk] = stops.get(pk) or stop
        for pk in sorted(stops):
            self.settle(runs[pk], stops[pk])

    def settle(self, run: Any, stop: str = "") -> None:
        """Decide what is next in a locked run, and do it."""
        raise NotImplementedError

    def idle(self) -> Q:
        """Active runs with nothing at work and no reason to stand still."""
        raise NotImplementedError

    # --- what the sweep asks for ---

    def target(self, **app: Any) -> sweep.Target:
        """What is registered with the sweep; `app` is what only the app knows."""
        path = f"{self.item}__{self.run}"
        return sweep.Target(
            attempts=self.attempts,
            run_path=path,
            owner_path=f"{path}__owner",
            ring=self.redeliver,
            expire=self.expire,
            expire_together=self.expire_together,
            restless=self.restless,
            idle_runs=self.idle_runs,
            repair=self.repair,
            impossible=self.imported.impossible,
            **app,
        )

    def redeliver(self, pks: list[int]) -> str:
        """Ring for pending attempts; the next alarm comes after twice the time, at most five minutes."""
        return attempts.redeliver(self.attempts, pks)

    def expire(self, pk: int, reason: Reason) -> str:
        """End a running attempt that gives no sign of life, or outlived its deadline."""
        try:
            attempt = self.overdue(pk, S.RUNNING, f"{self.item}__{self.run}")
            if attempt is None:
                return ""
            if attempt.stop_reason:  # the answer was stored, only its consequences are missing
                return self._end(pk, "finished from the stored answer", *self.stored(attempt))
            return self._end(pk)
        except (OperationalError, InterfaceError):
            raise  # the next pass finds it again
        except Exception as error:
            log.exception("%s %s cannot be ended as it should be", self.attempts._meta.model_name, pk)
            return self._end(pk, "ended as internal", attempts.internal(error, ""))

    def _end(self, pk: int, did: str = "", result: Result | None = None, made: Any = None) -> str:
        """End an attempt as `result` says; without one as lost, with the reason that holds under the lock."""
        with acting(SWEEP):
            attempt = self.overdue(pk, S.RUNNING)
            run = self.lock_of(attempt) if attempt else None
            if run is None:
                return ""
            attempt = self.overdue(pk, S.RUNNING, lock=True)
            if attempt is None or (result is None and attempt.stop_reason):
                return ""
            if result is None:
                result, did = self._lost(attempt)
            if attempts.end(attempt, result, fence={}):
                tell_to_stop(self.attempts._meta.db_table, [pk], "gone")
                self.settle(run, self.follow(run, attempt, result, made))
            stands = self.items._default_manager.values_list("status", flat=True).get(
                pk=self._item_of(attempt)
            )
        return f"{did}; {self._what_follows(stands)}"

    def _lost(self, attempt: Any) -> tuple[Result, str]:
        """How a silent attempt ends, and that in words."""
        reason = sweep.verdict(attempt)
        self.estimate_cost(attempt)
        return Result(S.FAILED, reason, error=attempts.last_sign(attempt)), f"ended as {reason}"

    def overdue(self, pk: int, status: Status, of: str = "", *, lock: bool = False) -> Any:
        """The attempt with its item, if it is overdue still; read afresh."""
        return attempts.overdue(self.attempts, pk, status, of or self.item, lock=lock)

    def lock_of(self, attempt: Any) -> Any:
        """The run of an attempt, locked; None where somebody else holds it."""
        pk = self._run_of(attempt)
        return self.lock([pk]).get(pk)

    def _item_of(self, attempt: Any) -> int:
        return int(getattr(attempt, f"{self.item}_id"))

    def _run_of(self, attempt: Any) -> int:
        return int(getattr(getattr(attempt, self.item), f"{self.run}_id"))

    def _what_follows(self, stands: str) -> str:
        """In words, how an item stands after one of its attempts has ended."""
        if stands == S.RUNNING:
            return "a new attempt waits for a worker"
        return f"the {self.item} is {Status(stands).label.lower()}"

    # --- many at once ---

    def expire_together(self, pks: list[int]) -> dict[int, str]:
        """The same for many, as after the loss of a machine: a hundred runs are locked at a time, their silent
        attempts end in one statement, then each run is settled. What is not plain (an answer is stored, somebody
        holds the run, something fails) is left out of the answer, for `expire`."""
        done: dict[int, str] = {}
        for start in range(0, len(pks), TOGETHER):
            try:
                done |= self._expire_together(pks[start : start + TOGETHER])
            except Exception:
                log.exception("these attempts cannot be ended together, so they are one by one")
        return done

    def _expire_together(self, pks: list[int]) -> dict[int, str]:
        done: dict[int, str] = {}
        with acting(SWEEP):
            locked = self.lock(self._items_of(pks).values_list(f"{self.run}_id", flat=True).distinct())
            silent = self._silent(pks, locked)
            for reason in sorted({attempt.verdict for attempt in silent}):
                mine = [attempt.pk for attempt in silent if attempt.verdict == reason]
                moved = transition_all(
                    self.attempts, mine, S.RUNNING, S.FAILED, reason=reason, error=LAST_SIGN, reserved=None
                )
                done |= dict.fromkeys(moved, f"ended as {reason}")
            tell_to_stop(self.attempts._meta.db_table, list(done), "gone")
            ended = [attempt for attempt in silent if attempt.pk in done]
            for attempt in ended:
                self.estimate_cost(attempt)
            self.follow_all(locked, ended)
            stands = dict(self._items_of(done).values_list("pk", "status"))
        follows = {attempt.pk: self._what_follows(stands[self._item_of(attempt)]) for attempt in ended}
        return {pk: f"{did}; {follows[pk]}" for pk, did in done.items()}

    def _items_of(self, pks: Iterable[int]) -> QuerySet[Any]:
        of = self.attempts._default_manager.filter(pk__in=list(pks)).values(self.item)
        return self.items._default_manager.filter(pk__in=of).order_by()

    def _silent(self, pks: list[int], locked: dict[int, Any]) -> list[Any]:
        """Those whose run we hold and that are overdue still, locked, each with its verdict."""
        overdue = self.attempts._default_manager.filter(
            sweep.overdue_condition(sweep.Scope()), status=S.RUNNING, stop_reason="", pk__in=pks
        )
        mine = overdue.filter(**{f"{self.item}__{self.run}__in": list(locked)}).select_related(self.item)
        rows = list(
            sweep.judged(mine.select_for_update(of=("self",), skip_locked=True)).defer(None).order_by("pk")
        )
        for attempt in rows:
            attempt.verdict = sweep.verdict(attempt)
        return rows

    # --- runs that nothing moves ---

    def restless(self, scope: sweep.Scope) -> bool:
        """Whether a pass over this scope would find anything. Cheap, since each start and each page asks it."""
        query = RESTLESS.format(
            runs=self.runs._meta.db_table,
            items=self.items._meta.db_table,
            attempts=self.attempts._meta.db_table,
            item=self.item,
            run=self.run,
            active=", ".join(f"'{status}'" for status in self.active),
        )
        with connection.cursor() as cursor:
            cursor.execute(query, {"run": scope.run, "owner": scope.owner})
            if cursor.fetchone()[0]:
                return True
        return scope.run is not None and bool(self.imported.impossible(scope))

    def idle_runs(self, scope: sweep.Scope) -> QuerySet[Any]:
        """Active runs of a scope with nothing at work and no reason to stand still."""
        runs = self.runs._default_manager.filter(self.idle())
        if scope.run is not None:
            runs = runs.filter(pk=scope.run)
        if scope.owner is not None:
            runs = runs.filter(Q(("owner", scope.owner)))
        if scope.older_than:
            runs = runs.filter(status_changed_at__lt=ago(scope.older_than))
        return runs

    def has_open(self, **attempt: Any) -> Exists:
        """Of an item: whether it has an open attempt like that."""
        like = {"status__in": OPEN_ATTEMPT} | attempt
        return Exists(self.attempts._default_manager.filter(**{self.item: OuterRef("pk")}, **like))

    def repair(self, pk: int) -> str:
        """Settle a run that nothing moves; bring what no rule allows to `failed`, reason stuck."""
        with acting(SWEEP):
            run = self.lock([pk]).get(pk)
            if run is None:
                return ""
            if self.imported.impossible(sweep.Scope(run=pk)):
                before = run.status
                self.imported.repair(run)
                self.settle(run)
                return f"repaired: {before} > {run.status}"
            if not self.runs._default_manager.filter(self.idle(), pk=pk).exists():
                return ""
            before = run.status
            self.settle(run)
            return f"settled: {before} > {run.status}"


def told(rows: QuerySet[Any], tell: Callable[[Any], list[str]]) -> Callable[[int], list[str] | None]:
    """For `explain`: the sentences on the row of that key; None where there is none."""

    def explain(pk: int) -> list[str] | None:
        row = rows.filter(pk=pk).first()
        return tell(row) if row is not None else None

    return explain
