"""Units of an analysis and the attempts at them.

The composite key from Unit to AnalysisRun (run, run_phase) stands in the second migration.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models

from analysis.models.runs import AnalysisRun
from analysis.querysets import AttemptQuerySet, OwnedQuerySet
from nyxcore.models import (
    Hint,
    PaidAttempt,
    StatefulModel,
    answer_constraint,
    history_triggers,
    lease_constraints,
    live_version,
    state_constraints,
)
from nyxcore.states import ATTEMPT_EDGES, UNIT_EDGES, UNIT_PERSON_EDGES, Edges, Status, edge_trigger

S = Status
User = settings.AUTH_USER_MODEL


class UnitKind(models.TextChoices):
    """The kinds of work of a run, in their order."""

    SOURCE = "source", "Source"
    OVERVIEW = "overview", "Overview"
    CHUNK = "chunk", "Chunk"
    MERGE = "merge", "Merge and compare"
    VERIFY = "verify", "Second look"
    DOCUMENT = "document", "Document"
    REPORT = "report", "Report"


PAID = (UnitKind.OVERVIEW, UnitKind.CHUNK, UnitKind.VERIFY, UnitKind.DOCUMENT)


class Unit(StatefulModel):
    """One piece of work: what it looks at, and what came of it."""

    edges: ClassVar[Edges] = UNIT_EDGES
    channel_column: ClassVar[str] = "run_id"

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="units", db_index=False)
    # Owned by the database: follows AnalysisRun.phase by the composite key. Never written by us.
    run_phase = models.CharField(max_length=9, db_default="open", editable=False)
    kind = models.CharField(max_length=10, choices=UnitKind)
    key = models.CharField(max_length=64)  # of what it is asked: the same key has the same answer
    analyzer = models.CharField(max_length=40, blank=True, default="")  # or the slug of a document
    title = models.CharField(max_length=300, blank=True, default="")
    position = models.PositiveIntegerField(default=0)
    chunk: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # plain.Chunk, finding ids, a page's plan
    tokens = models.PositiveIntegerField(default=0)  # estimated, of what it looks at
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="parts"
    )  # the unit that was split, or the plan of a page
    reused_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    reused = models.BooleanField(default=False)  # its result came from an earlier run, and cost nothing
    result: models.JSONField[Any, Any] = models.JSONField(default=dict)  # the answer, parsed

    objects = OwnedQuerySet["Unit"].as_manager()

    class Meta:
        ordering = ["run", "position", "id"]
        constraints = [
            *state_constraints("unit", UNIT_EDGES, started=[S.RUNNING, S.COMPLETED]),
            models.UniqueConstraint(fields=["run", "kind", "key"], name="unit_key"),
            # A completed run has no open unit; a failed or cancelled one has none at work.
            models.CheckConstraint(
                name="unit_of_completed_is_ended",
                condition=~models.Q(run_phase="completed")
                | models.Q(status__in=[S.COMPLETED, S.SKIPPED, S.FAILED]),
            ),
            models.CheckConstraint(
                name="unit_of_closed_is_idle",
                condition=~models.Q(run_phase="closed") | ~models.Q(status=S.RUNNING),
            ),
        ]
        indexes = [
            # Looked up for each unit of a new run: was it answered before?
            models.Index(
                fields=["key"], name="unit_answered", condition=models.Q(status__in=["completed", "skipped"])
            ),
            # What the sweep looks at, however many units have ended or wait for their turn.
            models.Index(fields=["run"], name="unit_at_work", condition=models.Q(status=S.RUNNING)),
            # Asked at the end of each unit: do others of its kind wait to be opened?
            models.Index(fields=["run", "kind"], name="unit_in_line", condition=models.Q(status=S.PENDING)),
        ]
        triggers = [edge_trigger(UNIT_EDGES, UNIT_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.title or f"{self.kind} {self.pk}"

    @property
    def dom_id(self) -> str:
        return f"unit-{self.pk}"

    @property
    def channel(self) -> str:
        return f"analysis-{self.run_id}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"unit-{pk}", f"analysis-{owner}", live_version(version), status)


SERVED_FOR = """
                    NEW.served_for := coalesce((SELECT r.owner_id FROM analysis_analysisrun r
                        JOIN analysis_unit u ON u.run_id = r.id WHERE u.id = NEW.unit_id), 0);"""


class UnitAttempt(PaidAttempt):
    """One try at a unit."""

    edges: ClassVar[Edges] = ATTEMPT_EDGES
    channel_column: ClassVar[str] = "unit_id"

    unit = models.ForeignKey(Unit, on_delete=models.CASCADE, related_name="attempts", db_index=False)

    objects = AttemptQuerySet["UnitAttempt"].as_manager()

    class Meta:
        ordering = ["unit", "number"]
        constraints = [
            *state_constraints(
                "unit_attempt", ATTEMPT_EDGES, started=[S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF]
            ),
            *lease_constraints("unit_attempt", ATTEMPT_EDGES),
            models.UniqueConstraint(fields=["unit", "number"], name="unit_attempt_number"),
            models.UniqueConstraint(
                fields=["unit"],
                name="unit_attempt_one_open",
                condition=models.Q(status__in=[S.PENDING, S.RUNNING, S.WAITING]),
            ),
            answer_constraint(
                "unit_attempt_complete_answer",
                models.Q(kind__in=["overview", "chunk", "verify", "document"], status=S.COMPLETED),
            ),
        ]
        indexes = [
            # One for each status that somebody looks for; not on due_at: every heartbeat would rewrite them all.
            models.Index(
                fields=["served_for", "queued_at", "id"],
                name="unit_attempt_pending",
                condition=models.Q(status=S.PENDING),
            ),
            models.Index(
                fields=["served_for"], name="unit_attempt_running", condition=models.Q(status=S.RUNNING)
            ),
            models.Index(fields=["id"], name="unit_attempt_waiting", condition=models.Q(status=S.WAITING)),
        ]
        triggers = [
            edge_trigger(ATTEMPT_EDGES),
            *history_triggers("analysis_unitattempt", "unit", "unit_id", also=SERVED_FOR),
        ]

    def __str__(self) -> str:
        return f"{self.unit_id} #{self.number}"
