"""The kernel's rows: what every stateful row has, what a leased one adds, workers, the sweep's memory, the audit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import pgtrigger
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from nyxcore.states import BULK_EDGES, ENDED, Actor, Edges, Reason, Status, edge_trigger


@dataclass(frozen=True)
class Hint:
    """What a page is told of a changed row: refetch `dom_id` unless you show `version` already."""

    dom_id: str
    channel: str
    version: int
    status: str


def live_version(version: int, attempt_version: int = 0) -> int:
    """What pages compare for a step or unit: rises with it, and in between with its newest attempt."""
    return version * 1000 + min(attempt_version, 999)


class StatefulModel(models.Model):
    """A row with a status. It is never saved whole: use `transition()` or save(update_fields=...)."""

    edges: ClassVar[Edges] = {}
    leased: ClassVar[bool] = False
    hints: ClassVar[bool] = True  # whether pages show this row by itself
    channel_column: ClassVar[str] = "id"  # the column that names the run whose page shows the row

    status = models.CharField(max_length=12, default=Status.PENDING)
    reason = models.CharField(max_length=40, blank=True, default="")
    status_changed_at = models.DateTimeField(db_default=Now())
    version = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        """The hint for one of these rows; `owner` is the value of `channel_column`."""
        raise NotImplementedError

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class Run(StatefulModel):
    """What attempts belong to in the end, and what a person can pause."""

    held_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )  # who paused it

    class Meta:
        abstract = True

    @property
    def is_held(self) -> bool:
        """A person has paused it. The hold outlives the account of that person: the reason tells of it, too."""
        return self.held_by_id is not None or (self.status == Status.PAUSED and self.reason == Reason.USER)

    def let_go(self) -> None:
        """End the hold; the caller settles."""
        if self.is_held:
            self.held_by, self.reason = None, ""
            self.save(update_fields=["held_by", "reason"])


class Leased(StatefulModel):
    """A row that a worker holds for a while. `due_at` is its one alarm: "look again at this time"."""

    leased: ClassVar[bool] = True
    hints: ClassVar[bool] = False

    worker = models.CharField(max_length=120, blank=True, default="")
    due_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(db_default=Now())
    error = models.TextField(blank=True, default="")

    class Meta:
        abstract = True


def state_constraints(name: str, edges: Edges, *, started: list[Status]) -> list[models.BaseConstraint]:
    """CHECKs on status and times: known words; ended rows have finished_at, others not; `started` ones started_at."""
    ended = models.Q(status__in=sorted(ENDED & edges.keys()))
    return [
        models.CheckConstraint(name=f"{name}_status_known", condition=models.Q(status__in=sorted(edges))),
        models.CheckConstraint(
            name=f"{name}_finished_when_ended",
            condition=(ended & models.Q(finished_at__isnull=False))
            | (~ended & models.Q(finished_at__isnull=True)),
        ),
        models.CheckConstraint(
            name=f"{name}_finished_after_start",
            condition=models.Q(started_at__isnull=True)
            | models.Q(finished_at__isnull=True)
            | models.Q(finished_at__gte=models.F("started_at")),
        ),
        models.CheckConstraint(
            name=f"{name}_started",
            condition=~models.Q(status__in=sorted(started)) | models.Q(started_at__isnull=False),
        ),
    ]


def lease_constraints(name: str, edges: Edges) -> list[models.BaseConstraint]:
    """CHECKs on leases: a running row has worker, due_at, deadline_at, started_at; every open one has due_at."""
    ended = models.Q(status__in=sorted(ENDED & edges.keys()))
    held = ~models.Q(worker="") & models.Q(
        due_at__isnull=False, deadline_at__isnull=False, started_at__isnull=False
    )
    return [
        models.CheckConstraint(
            name=f"{name}_running_is_held", condition=~models.Q(status=Status.RUNNING) | held
        ),
        models.CheckConstraint(
            name=f"{name}_open_has_due_at", condition=ended | models.Q(due_at__isnull=False)
        ),
    ]


class Cause(models.TextChoices):
    """Why an attempt was opened."""

    START = "start", "first try"
    RETRY = "retry", "retried by a person"
    LOST = "lost", "again, after its worker was lost"
    BACKOFF = "backoff", "again, after a passing failure"
    RAISE = "raise", "again, with more room"
    CONTINUE = "continue", "goes on where the answer was cut"
    RERUN = "rerun", "run again by a person"
    EDIT = "edit", "written by a person"
    HANDOVER = "handover", "again, handed over by a worker that was shut down"


GOOD_STOP_REASONS = ("end_turn", "stop_sequence")


class PaidAttempt(Leased):
    """One try at a step or unit that may ask a model. Only added, claimed once, ended once; so (pk, running, worker)
    is the whole fence."""

    kind = models.CharField(max_length=40)
    number = models.PositiveIntegerField()
    cause = models.CharField(max_length=8, choices=Cause, default=Cause.START)
    caused_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        db_index=False,
    )
    max_tokens = models.PositiveIntegerField(null=True, blank=True)  # for this attempt only; else the usual
    request: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # as sent: prompt, system, model, ...
    output = models.TextField(blank=True, default="")
    stop_reason = models.CharField(max_length=60, blank=True, default="")
    model = models.CharField(
        max_length=120, blank=True, default=""
    )  # that answered; asked for: request["model"]
    input_tokens = models.PositiveIntegerField(null=True, blank=True)
    output_tokens = models.PositiveIntegerField(null=True, blank=True)
    cache_read_tokens = models.PositiveIntegerField(null=True, blank=True)
    cache_write_tokens = models.PositiveIntegerField(null=True, blank=True)
    thinking_tokens = models.PositiveIntegerField(null=True, blank=True)
    usage: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # every usage field, as the vendor sent it
    cost = models.DecimalField(
        max_digits=14, decimal_places=6, null=True, blank=True
    )  # USD; null = price unknown
    cost_estimated = models.BooleanField(default=False)
    reserved = models.DecimalField(
        max_digits=14, decimal_places=6, null=True, blank=True
    )  # USD, worst case while open
    request_id = models.CharField(max_length=120, blank=True, default="")
    # The run's owner, so that a fair claim reads an index and no other table. Set by the database (0: an old row).
    served_for = models.BigIntegerField(db_default=0, editable=False)

    class Meta:
        abstract = True


def answer_constraint(name: str, kinds: models.Q) -> models.CheckConstraint:
    """A completed attempt of these kinds has a stop reason on the good list."""
    return models.CheckConstraint(name=name, condition=~kinds | models.Q(stop_reason__in=GOOD_STOP_REASONS))


def history_triggers(table: str, noun: str, *same: str, also: str = "") -> list[pgtrigger.Trigger]:
    """Attempts are numbered without gaps among those that are alike in the columns `same`, and stay as they were.

    `also` is SQL that a new row goes through.
    """
    new, old = (" AND ".join(f"{name} = {row}.{name}" for name in same) for row in ("NEW", "OLD"))
    own, what = same[0], [*same, "number", "kind"]
    new_row, old_row = (", ".join(f"{row}.{name}" for name in what) for row in ("NEW", "OLD"))
    return [
        pgtrigger.Trigger(
            name="numbers",
            when=pgtrigger.Before,
            operation=pgtrigger.Insert,
            declare=[("last", "integer")],
            func=f"""
                    SELECT coalesce(max(number), 0) INTO last FROM {table}
                     WHERE {new};
                    IF NEW.number <> last + 1 THEN
                        RAISE EXCEPTION 'attempt % of {noun} % would leave a gap after %', NEW.number, NEW.{own}, last
                            USING ERRCODE = 'check_violation';
                    END IF;{also}
                    RETURN NEW;
                """,
        ),
        pgtrigger.Trigger(
            name="history",
            when=pgtrigger.Before,
            operation=pgtrigger.UpdateOf(*what, "stop_reason"),  # type: ignore[no-untyped-call]
            func=f"""
                    IF ({new_row})
                       IS DISTINCT FROM ({old_row})
                       OR (OLD.finished_at IS NOT NULL AND NEW.stop_reason <> OLD.stop_reason) THEN
                        RAISE EXCEPTION 'attempt % is history: what it is, and why it ended, do not change', OLD.id
                            USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NEW;
                """,
        ),
        pgtrigger.Trigger(
            name="no_gap",
            when=pgtrigger.After,
            operation=pgtrigger.Delete,
            timing=pgtrigger.Deferred,
            func=f"""
                    IF EXISTS (SELECT FROM {table} WHERE {old}
                                HAVING max(number) > count(*)) THEN
                        RAISE EXCEPTION 'attempt % of {noun} % cannot go alone: later ones stay', OLD.number, OLD.{own}
                            USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NULL;
                """,
        ),
    ]


class Worker(models.Model):
    """A worker process; `seen_at` rises with each pulse."""

    name = models.CharField(max_length=120, primary_key=True)
    host = models.CharField(max_length=255)
    threads = models.PositiveIntegerField()
    started_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    stopping = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.name


class SweepState(models.Model):
    """One row: when the sweep last passed, and until when it must not judge (see nyxcore/sweep.py)."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    last_pass = models.DateTimeField(null=True)
    guard_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.CheckConstraint(name="sweep_state_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return f"last pass {self.last_pass}"


_bulk: ContextVar[int | None] = ContextVar("nyxcore_bulk", default=None)


@contextmanager
def acting_for(bulk_action: int) -> Iterator[None]:
    """Audit entries written here name the bulk action that they belong to."""
    token = _bulk.set(bulk_action)
    try:
        yield
    finally:
        _bulk.reset(token)


class AuditEntry(models.Model):
    """Who changed what, and why; written in the transaction that made the change. Only added, never edited."""

    at = models.DateTimeField(db_default=Now())
    actor = models.CharField(max_length=12)  # person, operator, sweep or repair
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    name = models.CharField(max_length=150, blank=True)
    action = models.CharField(max_length=40, blank=True)  # the verb, where it is not a change of status
    model = models.CharField(max_length=40)
    row = models.BigIntegerField()
    from_status = models.CharField(max_length=12, blank=True)
    to_status = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=40, blank=True)
    detail = models.TextField(blank=True)
    # Without a constraint: adding one would hold up everybody who writes an entry.
    bulk = models.ForeignKey(
        "BulkAction",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["model", "row"], name="audit_by_row"),
            models.Index(fields=["bulk"], name="audit_by_bulk", condition=models.Q(bulk__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.name}: {self.model} {self.row} {self.from_status}>{self.to_status}"

    @classmethod
    def of(
        cls,
        actor: Actor,
        model: type[models.Model],
        pk: int,
        *,
        action: str = "",
        frm: str = "",
        to: str = "",
        reason: str = "",
        detail: str = "",
    ) -> AuditEntry:
        """An unsaved entry for one row."""
        return cls(
            actor=actor.kind,
            user_id=actor.user_id,
            name=actor.name,
            action=action,
            model=model._meta.model_name or "",
            row=pk,
            from_status=frm,
            to_status=to,
            reason=reason,
            detail=detail,
            bulk_id=_bulk.get(),
        )


class BulkActionQuerySet(models.QuerySet["BulkAction"]):
    def visible_to(self, user: Any) -> BulkActionQuerySet:
        """Staff see every bulk action, others their own."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(owner=user)

    def open(self) -> BulkActionQuerySet:
        return self.filter(status__in=(Status.PENDING, Status.RUNNING))


class BulkAction(StatefulModel):
    """One verb of a person on many rows, done one after the other by a worker (see nyxcore/bulk.py).

    `due_at` is the end of its lease: whoever looks after that goes on where the counts stand.
    """

    edges: ClassVar[Edges] = BULK_EDGES
    hints: ClassVar[bool] = False

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    target = models.CharField(max_length=40)  # a name in bulk.SOURCES
    verb = models.CharField(max_length=20)
    filter = models.TextField()  # as in the address of the list
    said = models.TextField()  # the filter in words
    rows: ArrayField[Any, Any] = ArrayField(models.BigIntegerField())  # what matched when it was confirmed
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    remarks: models.JSONField[Any, Any] = models.JSONField(default=list)  # the first [pk, why not]
    worker = models.CharField(max_length=120, blank=True, default="")
    due_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())

    objects = BulkActionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            *state_constraints("bulk", BULK_EDGES, started=[Status.RUNNING, Status.COMPLETED]),
            models.CheckConstraint(
                name="bulk_counts_fit",
                condition=models.Q(total__gte=models.F("done") + models.F("skipped") + models.F("failed")),
            ),
        ]
        indexes = [
            models.Index(
                fields=["id"],
                name="bulk_open",
                condition=models.Q(status__in=[Status.PENDING, Status.RUNNING]),
            )
        ]
        triggers = [edge_trigger(BULK_EDGES)]

    def __str__(self) -> str:
        return f"{self.verb} {self.total} x {self.target}"

    @property
    def treated(self) -> int:
        return self.done + self.skipped + self.failed


class LanguageModel(models.Model):
    """What a provider's Models API says of one model; overrides the seed values in nyxcore/llm/models.py."""

    id = models.CharField(max_length=120, primary_key=True)
    provider = models.CharField(max_length=40)
    label = models.CharField(max_length=120)
    context_tokens = models.PositiveIntegerField(null=True)
    max_output_tokens = models.PositiveIntegerField(null=True)
    capabilities: models.JSONField[Any, Any] = models.JSONField(default=dict)
    lifecycle = models.CharField(max_length=20, blank=True)
    refreshed_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.label or self.id
