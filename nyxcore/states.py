"""The words for status and reason, the edges between them, and `transition()`, the only writer of a status.

The tables below are the one place that says which change is allowed. The edge triggers in the database are
generated from them (see `edge_trigger`), so a raw UPDATE meets the same rules.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, LiteralString

import pgtrigger
from django.db import connection, transaction
from django.db.models import TextChoices
from psycopg import sql

from nyxcore import events

if TYPE_CHECKING:
    from nyxcore.models import StatefulModel

log = logging.getLogger(__name__)


class Status(TextChoices):
    """Every status word of the product; which row may bear which follows from its edge table."""

    PENDING = "pending", "Pending"
    RUNNING = "running", "Running"
    SCANNING = "scanning", "Scanning"
    ANALYZING = "analyzing", "Analyzing"
    GENERATING = "generating", "Generating"
    WAITING = "waiting", "Needs you"
    PAUSED = "paused", "Paused"
    CUT_OFF = "cut_off", "Cut off"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    SKIPPED = "skipped", "Skipped"


class Reason(TextChoices):
    """Why a row has its status. The label is the sentence for people; `NEXT_ACTION` says what helps."""

    LOST = "lost", "The worker that ran this step disappeared."
    STUCK = "stuck", "There was no sign of life for too long, so the run was stopped."
    CUT_MAX_TOKENS = "cut_off:max_tokens", "The answer reached its token limit before it was finished."
    CUT_CONTEXT = "cut_off:context", "Prompt and answer together filled the model's context window."
    CUT_THINKING = (
        "cut_off:thinking",
        "The model spent its whole token limit on thinking and wrote no answer.",
    )
    REFUSED = "refused", "The model declined to answer this prompt."
    RATE_LIMITED = "rate_limited", "The provider asked us to slow down."
    OVERLOADED = "overloaded", "The provider is overloaded."
    TRANSPORT = "transport", "The connection to the model broke before the answer was complete."
    DEADLINE = "deadline", "The step took longer than its deadline allows."
    AUTH = "auth", "The provider refused our key or our access to this model."
    BILLING = "billing", "The provider's account has no money left or reached its spending limit."
    BAD_REQUEST = "bad_request", "The provider rejected the request as it was sent."
    PROMPT = "prompt", "The prompt could not be filled."
    BUDGET = "budget", "The run's budget does not allow the next call."
    HANDOVER = "handover", "The worker was shut down and handed the step to another one."
    WAITING = "waiting", "A step waits for a person's decision."
    ANALYSIS = "analysis", "An analysis of the source is under way."
    CONFIRM = "confirm", "Coverage and estimate wait for somebody's confirmation."
    SOURCE = "source", "The source could not be read."
    BAD_ANSWER = "bad_answer", "The answer does not have the form that was asked for."
    SPLIT = "split", "The answer reached its limit, so this part was cut in two."
    GAPS = "gaps", "The analysis is complete but for the gaps that it lists."
    USER = "user", "A person decided this."
    INTERNAL = "internal", "nyxcore made a mistake of its own."


NEXT_ACTION: dict[str, str] = {
    Reason.LOST: "Retry. If it happens again, look at the memory of the worker's machine.",
    Reason.STUCK: "Check that a worker runs, then resume.",
    Reason.CUT_MAX_TOKENS: "Retry with more room, continue the answer, or accept it as it is.",
    Reason.CUT_CONTEXT: "Shorten the input or choose a model with a larger context window; more room does not help.",
    Reason.CUT_THINKING: "Lower the effort or choose another model; more room alone may be spent on thinking too.",
    Reason.REFUSED: "Change the prompt or choose another model.",
    Reason.RATE_LIMITED: "Wait, then retry; or lower NYXCORE_PROVIDER_PARALLEL.",
    Reason.OVERLOADED: "Wait some minutes, then retry.",
    Reason.TRANSPORT: "Retry; if it goes on, check the network between the worker and the provider.",
    Reason.DEADLINE: "Retry, or give it a longer deadline.",
    Reason.AUTH: "Check the provider's key in the environment of the worker, then retry.",
    Reason.BILLING: "Settle the account with the provider, then resume.",
    Reason.BAD_REQUEST: "Read the provider's words below, change prompt or model, then retry.",
    Reason.PROMPT: "Correct the prompt, then retry.",
    Reason.BUDGET: "Raise the budget, then resume.",
    Reason.HANDOVER: "Nothing to do; another worker goes on.",
    Reason.WAITING: "Open the step that needs you and decide.",
    Reason.ANALYSIS: "Open the analysis from the step: it may wait for somebody's decision.",
    Reason.CONFIRM: "Look at what is read and what it may cost, then confirm or exclude folders.",
    Reason.SOURCE: "Check the address, the branch and the folder, then resume.",
    Reason.BAD_ANSWER: "Retry, or choose another model.",
    Reason.SPLIT: "Look at the two halves that have taken its place.",
    Reason.GAPS: "Retry the gaps, or use the findings as they are.",
    Reason.USER: "Resume when you want to go on.",
    Reason.INTERNAL: "Retry; if it happens again, report the technical detail below.",
}

S = Status
ENDED = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED, S.SKIPPED, S.CUT_OFF})
OPEN_ATTEMPT = frozenset({S.PENDING, S.RUNNING, S.WAITING})

Edges = dict[Status, frozenset[Status]]


def _edges(table: dict[Status, set[Status]]) -> Edges:
    return {frm: frozenset(to) for frm, to in table.items()}


WORKFLOW_EDGES = _edges(
    {
        S.PENDING: {S.RUNNING, S.CANCELLED},
        S.RUNNING: {S.PAUSED, S.COMPLETED, S.FAILED, S.CANCELLED},
        S.PAUSED: {S.RUNNING, S.COMPLETED, S.FAILED, S.CANCELLED},
        S.FAILED: {S.RUNNING},
        S.COMPLETED: {S.RUNNING},
        S.CANCELLED: {S.RUNNING},
    }
)
STEP_EDGES = _edges(
    {
        S.PENDING: {S.RUNNING, S.FAILED, S.SKIPPED, S.CANCELLED},
        S.RUNNING: {S.COMPLETED, S.CUT_OFF, S.WAITING, S.FAILED, S.CANCELLED, S.PENDING},
        S.CUT_OFF: {S.RUNNING, S.COMPLETED, S.SKIPPED, S.CANCELLED, S.PENDING},
        S.WAITING: {S.COMPLETED, S.RUNNING, S.FAILED, S.CANCELLED},
        S.FAILED: {S.RUNNING, S.SKIPPED, S.PENDING},
        S.CANCELLED: {S.RUNNING, S.SKIPPED, S.PENDING},
        S.COMPLETED: {S.PENDING},
        S.SKIPPED: {S.PENDING},
    }
)
ATTEMPT_EDGES = _edges(
    {
        S.PENDING: {S.RUNNING, S.FAILED, S.CANCELLED},
        S.RUNNING: {S.COMPLETED, S.CUT_OFF, S.WAITING, S.FAILED, S.CANCELLED},
        S.WAITING: {S.PENDING, S.COMPLETED, S.FAILED, S.CANCELLED},
        S.COMPLETED: set(),
        S.CUT_OFF: set(),
        S.FAILED: set(),
        S.CANCELLED: set(),
    }
)
ANALYSIS_EDGES = _edges(
    {
        S.PENDING: {S.SCANNING, S.FAILED, S.CANCELLED},
        S.SCANNING: {S.ANALYZING, S.GENERATING, S.COMPLETED, S.WAITING, S.PAUSED, S.FAILED, S.CANCELLED},
        S.ANALYZING: {S.GENERATING, S.COMPLETED, S.PAUSED, S.FAILED, S.CANCELLED},
        S.GENERATING: {S.COMPLETED, S.PAUSED, S.FAILED, S.CANCELLED},
        S.WAITING: {S.SCANNING, S.ANALYZING, S.GENERATING, S.COMPLETED, S.PAUSED, S.FAILED, S.CANCELLED},
        S.PAUSED: {S.SCANNING, S.ANALYZING, S.GENERATING, S.COMPLETED, S.WAITING, S.FAILED, S.CANCELLED},
        S.FAILED: {S.SCANNING, S.ANALYZING},
        S.CANCELLED: {S.SCANNING, S.ANALYZING},
        S.COMPLETED: {S.SCANNING, S.ANALYZING},
    }
)
UNIT_EDGES = _edges(
    {
        S.PENDING: {S.RUNNING, S.FAILED, S.SKIPPED, S.CANCELLED},
        S.RUNNING: {S.COMPLETED, S.FAILED, S.SKIPPED, S.CANCELLED, S.PENDING},
        S.FAILED: {S.PENDING},
        S.CANCELLED: {S.PENDING},
        S.COMPLETED: {S.PENDING},
        S.SKIPPED: set(),
    }
)
BULK_EDGES = _edges(
    {
        S.PENDING: {S.RUNNING, S.CANCELLED},
        S.RUNNING: {S.COMPLETED, S.FAILED, S.CANCELLED},
        S.COMPLETED: set(),
        S.FAILED: set(),
        S.CANCELLED: set(),
    }
)
# Edges that only a person (or an operator's repair) takes: they bring a closed row back, or let a cut answer pass.
WORKFLOW_PERSON_EDGES = {(frm, S.RUNNING) for frm in (S.FAILED, S.COMPLETED, S.CANCELLED)}
STEP_PERSON_EDGES = {
    (frm, to) for frm in (S.FAILED, S.CANCELLED, S.COMPLETED, S.SKIPPED) for to in STEP_EDGES[frm]
} | {(S.CUT_OFF, S.COMPLETED), (S.CUT_OFF, S.SKIPPED), (S.CUT_OFF, S.PENDING)}
ANALYSIS_PERSON_EDGES = {
    (frm, to) for frm in (S.FAILED, S.COMPLETED, S.CANCELLED) for to in ANALYSIS_EDGES[frm]
}
UNIT_PERSON_EDGES = {(frm, S.PENDING) for frm in (S.FAILED, S.CANCELLED, S.COMPLETED)}
WORKING = (S.RUNNING, S.SCANNING, S.ANALYZING, S.GENERATING)  # words of a row at work

_CLOCK = "clock_timestamp()"


class InvalidTransition(Exception):
    """A change that no edge table allows: a mistake of ours, never of a person."""


@dataclass(frozen=True)
class Actor:
    """Who makes a change apart from the engine's normal course; written to the audit log.

    kind: "person", "operator" (admin or shell), "sweep", or "repair" (an operator who sets a row on purpose,
    allowed to leave the edge table; the CHECK constraints still hold).
    """

    kind: str
    name: str = ""
    user_id: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


SWEEP = Actor("sweep")
_actor: ContextVar[Actor | None] = ContextVar("nyxcore_actor", default=None)


def person(user: Any, kind: str = "person") -> Actor:
    """The Actor for a signed-in user."""
    return Actor(kind, user.get_username(), user.pk)


def current_actor() -> Actor | None:
    return _actor.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """One transaction whose every transition is audited as `actor`'s and may take the edges open to `actor`."""
    outer = _actor.get()
    nested = connection.in_atomic_block  # else the setting ends with the transaction
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('nyxcore.actor', %s, true)", [str(actor)])
        token = _actor.set(actor)
        try:
            yield
        finally:
            _actor.reset(token)
        if nested:
            cursor.execute("SELECT set_config('nyxcore.actor', %s, true)", [str(outer or "")])


def transition(
    row: StatefulModel,
    frm: Status | Iterable[Status],
    to: Status,
    *,
    reason: str = "",
    fence: dict[str, Any] | None = None,
    **changes: Any,
) -> bool:
    """Move `row` from status `frm` (one or several) to `to`; True if this call moved it, False if it lost the race.

    `fence` names columns that must have these values too (a worker names itself). `changes` are further fields to
    set. Timestamps, version and due_at follow from the edge. An edge that is not in the table raises
    InvalidTransition. The new values are copied onto `row`.
    """
    moved = _move(type(row), [row.pk], frm, to, reason, fence, changes)
    if not moved:
        return False
    for name, value in changes.items():
        setattr(row, name, value)
    row.status, row.reason = to, reason
    for name, value in zip(_returned(type(row)), moved[0], strict=True):
        setattr(row, name, value)
    return True


def transition_all(
    model: type[StatefulModel],
    pks: Sequence[int],
    frm: Status | Iterable[Status],
    to: Status,
    *,
    reason: str = "",
    fence: dict[str, Any] | None = None,
    **changes: Any,
) -> list[int]:
    """The same move for many rows in one statement for each `frm`; returns the primary keys that moved.

    Hints for the moved rows leave when the transaction commits; audit entries are written with it.
    """
    return [row[0] for row in _move(model, pks, frm, to, reason, fence, changes)]


def _move(
    model: type[StatefulModel],
    pks: Sequence[int],
    frm: Status | Iterable[Status],
    to: Status,
    reason: str,
    fence: dict[str, Any] | None,
    changes: dict[str, Any],
) -> list[tuple[Any, ...]]:
    sources = [frm] if isinstance(frm, Status) else list(frm)
    for source in sources:
        actor = _actor.get()
        if to not in model.edges.get(source, frozenset()) and (actor is None or actor.kind != "repair"):
            raise InvalidTransition(f"{model.__name__}: {source} > {to} is not an edge")
    if not pks:
        return []
    moved: list[tuple[Any, ...]] = []
    # One statement inside a transaction needs no savepoint: two messages to the server saved for each move.
    alone = len(sources) == 1 and _actor.get() is None and connection.in_atomic_block
    with nullcontext() if alone else transaction.atomic():
        for source in sources:
            rows = _compare_and_swap(model, pks, source, to, reason, fence or {}, changes)
            if rows:
                _record(model, rows, source, to, reason)
                moved += rows
    return moved


def _returned(model: type[StatefulModel]) -> list[str]:
    """The columns that an UPDATE gives back."""
    names = ["id", "version", model.channel_column, "status_changed_at", "started_at", "finished_at"]
    return [*names, "due_at"] if model.leased else names


def _compare_and_swap(
    model: type[StatefulModel],
    pks: Sequence[int],
    frm: Status,
    to: Status,
    reason: str,
    fence: dict[str, Any],
    changes: dict[str, Any],
) -> list[tuple[Any, ...]]:
    """One UPDATE ... RETURNING; gives the columns of `_returned` for each row that moved.

    Times are the database's clock at the moment of the write (`now()` stands still while a transaction waits for
    a lock), and never before the start, even when that clock is set back.
    """
    values: list[Any] = []
    sets: list[tuple[str, str]] = []  # column, and an expression where no value is given
    for name, value in changes.items():
        field: Any = model._meta.get_field(name)
        sets.append((field.column, value.expression if isinstance(value, OfRow) else ""))
        if not isinstance(value, OfRow):
            values.append(field.get_db_prep_save(value, connection))
    query = _swap_query(model, to, tuple(sets), tuple(fence))
    with connection.cursor() as cursor:
        cursor.execute(query, [reason, *values, list(pks), frm.value, *fence.values()])
        return list(cursor.fetchall())


@lru_cache(maxsize=256)
def _swap_query(
    model: type[StatefulModel], to: Status, changes: tuple[tuple[str, str], ...], fence: tuple[str, ...]
) -> str:
    """The UPDATE of one kind of move. Kept, because to put it together takes longer than to run it."""
    columns: dict[str, sql.Composable] = {
        "status": sql.Literal(to.value),
        "reason": sql.Placeholder(),
        "status_changed_at": sql.SQL(_CLOCK),
        "version": sql.SQL("version + 1"),
        "finished_at": sql.SQL(f"GREATEST({_CLOCK}, started_at)" if to in ENDED else "NULL"),
    }
    if to in (*WORKING, Status.WAITING, Status.PAUSED):
        columns["started_at"] = sql.SQL(f"COALESCE(started_at, {_CLOCK})")
    elif to == Status.PENDING:
        columns["started_at"] = sql.SQL("NULL")
    if model.leased:
        columns["due_at"] = sql.SQL("NULL")
    for column, expression in changes:
        columns.pop(column, None)  # it comes last, in the order of the values
        columns[column] = sql.SQL(expression) if expression else sql.Placeholder()
    query = sql.SQL(
        "UPDATE {table} SET {sets} WHERE id = ANY(%s) AND status = %s{fence} RETURNING {back}"
    ).format(
        table=sql.Identifier(model._meta.db_table),
        sets=sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), v) for k, v in columns.items()),
        fence=sql.SQL("").join(sql.SQL(" AND {} = %s").format(sql.Identifier(name)) for name in fence),
        back=sql.SQL(", ").join(map(sql.Identifier, _returned(model))),
    )
    return query.as_string(None)


@dataclass(frozen=True)
class OfRow:
    """A value that the database makes of the row at the moment of the write. SQL of ours, never of a person."""

    expression: LiteralString


class Later(OfRow):
    """A time `seconds` after that moment, by the database's clock."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{_CLOCK} + make_interval(secs => {float(seconds)!r})")


def _record(
    model: type[StatefulModel], rows: list[tuple[Any, ...]], frm: Status, to: Status, reason: str
) -> None:
    """Log the moves, audit them where somebody acts, and hand their hints to the sender on commit."""
    from nyxcore.models import AuditEntry  # models import this module

    actor = _actor.get()
    if actor:
        AuditEntry.objects.bulk_create(
            AuditEntry.of(actor, model, row[0], frm=frm, to=to, reason=reason) for row in rows
        )
    for pk, version, owner, *_times in rows:
        log.info("%s %s %s>%s %s", model._meta.model_name, pk, frm, to, reason)
        if model.hints:
            events.publish(model.hint(pk, owner, version, to))


def touch(model: type[StatefulModel], pks: Sequence[int]) -> None:
    """Raise `version` so that pages refetch these rows, where something below them changed but not their status."""
    if not pks:
        return
    query = sql.SQL(
        "UPDATE {} SET version = version + 1 WHERE id = ANY(%s) RETURNING id, version, {}, status"
    ).format(sql.Identifier(model._meta.db_table), sql.Identifier(model.channel_column))
    with connection.cursor() as cursor:
        cursor.execute(query, [list(pks)])
        for pk, version, owner, status in cursor.fetchall():
            events.publish(model.hint(pk, owner, version, Status(status)))


def edge_trigger(edges: Edges, person_edges: Iterable[tuple[Status, Status]] = ()) -> pgtrigger.Trigger:
    """The database's copy of an edge table.

    Equal statuses pass (the composite key's cascade rewrites rows). Edges of a person need the transaction-local
    setting nyxcore.actor ("person:..." or "operator:..."); "repair:..." may set any status on purpose.
    """
    person_set = {f"{frm}>{to}" for frm, to in person_edges}
    free = sorted(
        f"{frm}>{to}" for frm, tos in edges.items() for to in tos if f"{frm}>{to}" not in person_set
    )

    def array(pairs: list[str]) -> str:
        return "ARRAY[" + ", ".join(f"'{pair}'" for pair in pairs) + "]::text[]"

    return pgtrigger.Trigger(
        name="edges",
        when=pgtrigger.Before,
        operation=pgtrigger.UpdateOf("status"),  # type: ignore[no-untyped-call]
        declare=[("actor", "text"), ("edge", "text")],
        func=f"""
            actor := coalesce(current_setting('nyxcore.actor', true), '');
            edge := OLD.status || '>' || NEW.status;
            IF NEW.status = OLD.status OR edge = ANY({array(free)}) OR starts_with(actor, 'repair:') THEN
                RETURN NEW;
            END IF;
            IF edge = ANY({array(sorted(person_set))})
               AND (starts_with(actor, 'person:') OR starts_with(actor, 'operator:')) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION '% % may not go %', TG_TABLE_NAME, OLD.id, edge
                USING ERRCODE = 'check_violation',
                      HINT = 'See docs/operations.md, Repair a row on purpose.';
        """,
    )
