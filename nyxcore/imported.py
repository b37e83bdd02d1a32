"""Rows that no rule allows. The database refuses them; a dump that is loaded without its constraints brings them in.

What such a row says cannot be trusted, so nothing goes on from it by itself: it becomes `failed`, reason stuck, and a
person resumes the run. An answer that counts as complete without having ended well becomes what it is, cut off or
failed, and so does what rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from nyxcore import attempts, sweep
from nyxcore.attempts import Result
from nyxcore.llm.base import CUT_STOPS
from nyxcore.models import GOOD_STOP_REASONS, PaidAttempt, Run, StatefulModel
from nyxcore.states import (
    ENDED,
    OPEN_ATTEMPT,
    Actor,
    OfRow,
    Reason,
    Status,
    acting,
    transition,
    transition_all,
)

S = Status
REPAIR = Actor("repair", "sweep")
ATTEMPT_STARTED = (S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF)
FAILS_AS = {"refusal": Reason.REFUSED}  # a stop reason that ends no answer; any other broke off

# A row of a run gets the times that its status asks for, all at once: a CHECK may stand between any two of them.
FILL_TIMES = """
UPDATE {table} SET version = version + 1,
       started_at = CASE WHEN started_at IS NULL AND status IN {started}
           THEN least({start}, CASE WHEN status IN {ended} THEN coalesce(finished_at, status_changed_at) END)
           ELSE started_at END,
       finished_at = CASE WHEN status IN {ended} THEN greatest(coalesce(finished_at, status_changed_at), started_at) END
 WHERE {of_run} AND ((status IN {ended}) <> (finished_at IS NOT NULL) OR finished_at < started_at
       OR status IN {started} AND started_at IS NULL)
"""


def words(statuses: Iterable[str]) -> str:
    """A list for SQL."""
    return "(" + ", ".join(f"'{status}'" for status in sorted(map(str, statuses))) + ")"


@dataclass(frozen=True)
class Rules:
    """What an app's constraints ask of its rows: which statuses go together."""

    started: Sequence[Status]  # of a run that has a start
    item_started: Sequence[Status]
    active: Sequence[Status]  # of a run that may have open attempts
    at_work: Sequence[Status]  # of an item, which neither a closed run has nor one that was not started
    done: Sequence[Status]  # of an item of a completed run
    paid: Sequence[str]  # kinds of attempts whose complete answer has a good stop reason


class Imported:
    """Finds and repairs such rows of one app, whose subclass names the rows and their rules."""

    attempts: ClassVar[type[PaidAttempt]]
    items: ClassVar[type[StatefulModel]]
    runs: ClassVar[type[Run]]
    item: ClassVar[str]
    run: ClassVar[str]
    title: ClassVar[str]  # SQL over an item i
    rules: ClassVar[Rules]
    whole: ClassVar[bool]  # whether a run ends when one of its items at work had to

    def retract(self, run: Any, broken: list[tuple[Any, Status, str]]) -> None:
        """Bring completed items to what their answer is, (item, status, reason), with what rests on them."""
        raise NotImplementedError

    # --- finding ---

    def impossible(self, scope: sweep.Scope) -> list[tuple[int, str]]:
        """(run, what is wrong with it) for every run of a scope that bears such rows."""
        where = " AND r.id = %(run)s" if scope.run is not None else ""
        where += " AND r.owner_id = %(owner)s" if scope.owner is not None else ""
        where += (
            " AND r.status_changed_at < clock_timestamp() - make_interval(secs => %(old)s)"
            if scope.older_than
            else ""
        )
        looks = (
            f"SELECT r.id, {said} FROM {tables} WHERE ({condition}){where}"
            for said, tables, condition in self._faults()
        )
        query = f"SELECT id, string_agg(said, '; ' ORDER BY said) FROM ({' UNION ALL '.join(looks)}) AS f (id, said)"
        with connection.cursor() as cursor:
            cursor.execute(
                f"{query} GROUP BY id ORDER BY id",
                {"run": scope.run, "owner": scope.owner, "old": scope.older_than},
            )
            return list(cursor.fetchall())

    def _faults(self) -> list[tuple[str, str, str]]:
        """What is wrong, as words made by SQL; where it is looked for; what is looked for."""
        rules, noun = self.rules, self.item
        runs = f"{self.runs._meta.db_table} r"
        items = f"{self.items._meta.db_table} i JOIN {runs} ON r.id = i.{self.run}_id"
        tries = f"{self.attempts._meta.db_table} a JOIN {self.items._meta.db_table} i ON i.id = a.{noun}_id"
        tries = f"{tries} JOIN {runs} ON r.id = i.{self.run}_id"
        its = f"its {noun} “', {self.title}, '”"
        opened = f"a.status IN {words(OPEN_ATTEMPT)}"
        waits = (
            f"SELECT FROM {self.attempts._meta.db_table} o WHERE o.{noun}_id = i.id AND o.status = 'waiting'"
        )
        unheld = "a.status = 'running' AND (a.worker = '' OR a.deadline_at IS NULL)"
        unheld += (
            " OR a.status IN ('running', 'waiting') AND a.started_at IS NULL OR a.finished_at IS NOT NULL"
        )
        idle = {S.PENDING, S.FAILED, S.CANCELLED}
        return [
            ("concat(r.status, ', but it has no start time')", runs,
             f"r.status IN {words(rules.started)} AND r.started_at IS NULL"),
            ("concat(r.status, ', but its end time does not fit')", runs,
             f"(r.status IN {words(ENDED)}) <> (r.finished_at IS NOT NULL) OR r.finished_at < r.started_at"),
            (f"concat('completed, but {its} is ', i.status)", items,
             f"r.status = 'completed' AND i.status NOT IN {words(rules.done)}"),
            (f"concat(r.status, ', but {its} is ', i.status)", items,
             f"r.status IN {words(idle)} AND i.status IN {words(rules.at_work)}"),
            (f"concat('{its} takes it for ', i.{self.run}_phase)", items, f"i.{self.run}_phase <> r.phase"),
            (f"concat('the times of {its} do not fit')", items, self._times("i", rules.item_started)),
            (f"concat('{its} waits without an attempt')", items, f"i.status = 'waiting' AND NOT EXISTS ({waits})"),
            ("concat(r.status, ', but attempt ', a.id, ' is ', a.status)", tries,
             f"{opened} AND r.status NOT IN {words(rules.active)}"),
            (f"concat('attempt ', a.id, ' is ', a.status, ', but {its} is ', i.status)", tries,
             f"{opened} AND i.status <> CASE a.status WHEN 'waiting' THEN 'waiting' ELSE 'running' END"),
            ("concat('attempt ', a.id, ' is ', a.status, ', but nobody holds it or comes back to it')", tries,
             f"{opened} AND (a.due_at IS NULL OR {unheld})"),
            (f"concat('the times of attempt ', a.id, ' at {its} do not fit')", tries,
             f"a.status IN {words(ENDED)} AND ({self._times('a', ATTEMPT_STARTED)})"),
            (f"concat('the answer of attempt ', a.id, ' at {its} counts as complete, but it ended with “', "
             "a.stop_reason, '”')", tries,
             f"a.status = 'completed' AND a.kind IN {words(rules.paid)} "
             f"AND a.stop_reason NOT IN {words(GOOD_STOP_REASONS)}"),
        ]  # fmt: skip

    @staticmethod
    def _times(row: str, started: Sequence[Status]) -> str:
        return (
            f"({row}.status IN {words(ENDED)}) <> ({row}.finished_at IS NOT NULL)"
            f" OR {row}.finished_at < {row}.started_at"
            f" OR {row}.status IN {words(started)} AND {row}.started_at IS NULL"
        )

    # --- repairing ---

    def repair(self, run: Any) -> None:
        """Bring a locked run back to what the rules allow, audited as a repair. The caller settles."""
        before = Status(run.status)
        active = before in self.rules.active
        with acting(REPAIR):
            lost = (active and run.started_at is None) or (
                before == S.PENDING and self._at_work(run).exists()
            )
            lost = lost or (self.whole and active and self._is_broken(run))
            every = lost or not active
            self._end_attempts(run, every=every)
            hop = self._end_items(run, every=every)
            self._fill_times(
                run, self.items, f"{self.run}_id = %s", self.rules.item_started, "status_changed_at"
            )
            undone = self._items(run).exclude(status__in=self.rules.done)
            if lost or hop or (before == S.COMPLETED and undone.exists()):
                self.fail(run)
            transition_all(self.items, hop, S.SKIPPED, S.FAILED, reason=Reason.STUCK)
            self._fill_times(run, self.runs, "id = %s", self.rules.started, "created_at")
            run.refresh_from_db(fields=["phase"])
            phase = f"{self.run}_phase"
            self._items(run).exclude(**{phase: run.phase}).update(**{phase: run.phase})
            self._mend_answers(run)
            of_run = (
                f"{self.item}_id IN (SELECT id FROM {self.items._meta.db_table} WHERE {self.run}_id = %s)"
            )
            self._fill_times(run, self.attempts, of_run, ATTEMPT_STARTED, "queued_at")

    def fail(self, run: Any) -> None:
        """End the run as stuck; whatever it was, a person resumes it."""
        start = run.started_at or run.created_at
        transition(run, Status(run.status), S.FAILED, reason=Reason.STUCK, started_at=start)

    def _fill_times(
        self, run: Any, model: type[StatefulModel], of_run: str, started: Sequence[Status], start: str
    ) -> None:
        query = FILL_TIMES.format(
            table=model._meta.db_table, of_run=of_run, started=words(started), ended=words(ENDED), start=start
        )
        with connection.cursor() as cursor:
            cursor.execute(query, [run.pk])

    def _items(self, run: Any) -> QuerySet[Any]:
        return self.items._default_manager.filter(**{self.run: run})

    def _attempts(self, run: Any) -> QuerySet[Any]:
        return self.attempts._default_manager.filter(**{f"{self.item}__{self.run}": run})

    def _at_work(self, run: Any) -> QuerySet[Any]:
        return self._items(run).filter(status__in=self.rules.at_work)

    def _unmoved(self, run: Any) -> QuerySet[Any]:
        """Items at work that no attempt moves."""
        opened = self.attempts._default_manager.filter(**{self.item: OuterRef("pk")}, status__in=OPEN_ATTEMPT)
        return self._at_work(run).exclude(Exists(opened))

    def _astray(self, run: Any) -> QuerySet[Any]:
        """Open attempts that nobody holds or comes back to, or whose item does not know of them."""
        unheld = Q(status=S.RUNNING) & (Q(worker="") | Q(deadline_at=None))
        unstarted = Q(status__in=(S.RUNNING, S.WAITING), started_at=None)
        item = f"{self.item}__status"
        unknown = (Q(status=S.WAITING) & ~Q(**{item: S.WAITING})) | (
            ~Q(status=S.WAITING) & ~Q(**{item: S.RUNNING})
        )
        rows = self._attempts(run).filter(status__in=OPEN_ATTEMPT)
        return rows.filter(Q(due_at=None) | Q(finished_at__isnull=False) | unheld | unstarted | unknown)

    def _is_broken(self, run: Any) -> bool:
        """Whether something at work has to be ended."""
        return self._astray(run).exists() or self._unmoved(run).exists()

    def _end_attempts(self, run: Any, *, every: bool) -> None:
        """End what is open and cannot be."""
        rows = self._attempts(run).filter(status__in=OPEN_ATTEMPT) if every else self._astray(run)
        for status, pks in attempts.by_status(rows).items():
            transition_all(self.attempts, pks, status, S.FAILED, reason=Reason.STUCK)

    def _end_items(self, run: Any, *, every: bool) -> list[int]:
        """Fail the items at work that no attempt moves any more. Below a completed run the database takes only done
        ones: where failed is none of them, those are skipped for now, and returned."""
        rows = self._at_work(run) if every else self._unmoved(run)
        hops = S.FAILED not in self.rules.done
        below = Q(**{f"{self.run}_phase": "completed"}) if hops else Q(pk=None)
        hop = attempts.by_status(rows.filter(below))
        for status, pks in attempts.by_status(rows.exclude(below)).items():
            transition_all(self.items, pks, status, S.FAILED, reason=Reason.STUCK)
        for status, pks in hop.items():
            transition_all(self.items, pks, status, S.SKIPPED, reason=Reason.STUCK)
        return [pk for pks in hop.values() for pk in pks]

    # --- answers that are not whole ---

    def _mend_answers(self, run: Any) -> None:
        """Call each such answer what it is, and take back what was completed with it."""
        unfit = self._attempts(run).filter(status=S.COMPLETED, kind__in=self.rules.paid)
        broken = []
        for attempt in (
            unfit.exclude(stop_reason__in=GOOD_STOP_REASONS).select_related(self.item).order_by("pk")
        ):
            result = as_it_is(attempt)
            kept = OfRow("coalesce(finished_at, status_changed_at)")
            transition(
                attempt,
                S.COMPLETED,
                result.status,
                reason=result.reason,
                error=result.error,
                finished_at=kept,
            )
            item = getattr(attempt, self.item)
            later = self.attempts._default_manager.filter(**{self.item: item}, number__gt=attempt.number)
            if item.status == S.COMPLETED and not later.filter(status__in=(S.COMPLETED, S.CUT_OFF)).exists():
                broken.append((item, result.status, result.reason))
        if broken:
            self.retract(run, broken)


def as_it_is(attempt: PaidAttempt) -> Result:
    """What an answer is that was stored as complete, by the stop reason that it came with."""
    if attempt.stop_reason in CUT_STOPS:
        cut = attempts.result_from_row(attempt)
        return Result(
            cut.status, cut.reason, error="It was stored as complete, though its answer was cut off."
        )
    reason = FAILS_AS.get(attempt.stop_reason, Reason.TRANSPORT)
    ended = f"it ended with “{attempt.stop_reason}”" if attempt.stop_reason else "it tells no end"
    return Result(S.FAILED, reason, error=f"It was stored as complete, though {ended}.")
