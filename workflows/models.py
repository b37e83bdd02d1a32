"""Workflow (which is a run), its steps, and their attempts. What must always hold is enforced by the database here.

The composite key from Step to Workflow (workflow, workflow_phase) and storage settings stand in the first migration,
since Django cannot express them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from nyxcore.models import Cause as Cause
from nyxcore.models import (
    Hint,
    PaidAttempt,
    Run,
    StatefulModel,
    answer_constraint,
    history_triggers,
    lease_constraints,
    state_constraints,
)
from nyxcore.models import live_version as live_version
from nyxcore.states import (
    ATTEMPT_EDGES,
    STEP_EDGES,
    STEP_PERSON_EDGES,
    WORKFLOW_EDGES,
    WORKFLOW_PERSON_EDGES,
    Edges,
    Status,
    edge_trigger,
)
from workflows.querysets import (
    StepAttemptQuerySet,
    StepQuerySet,
    WorkflowQuerySet,
    WorkflowTemplateQuerySet,
)

S = Status


class OnCutOff(models.TextChoices):
    """What follows an answer that ended at its limit."""

    STOP = "stop", "Stop and ask"
    RAISE = "raise", "Try again with double the room"
    CONTINUE = "continue", "Ask the model to go on"


class Workflow(Run):
    """A run with its own copy of its definition."""

    edges: ClassVar[Edges] = WORKFLOW_EDGES

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="workflows")
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True, default="")
    inputs: models.JSONField[Any, Any] = models.JSONField(
        default=list
    )  # the input fields, as in the template
    input: models.JSONField[Any, Any] = models.JSONField(default=dict)  # their values
    template_slug = models.CharField(max_length=100, blank=True, default="")
    template_version = models.PositiveIntegerField(default=0)
    default_model = models.CharField(max_length=120, blank=True, default="")
    on_cut_off = models.CharField(max_length=8, choices=OnCutOff, default=OnCutOff.STOP)
    budget = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)  # USD
    copied_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="copies"
    )
    created_at = models.DateTimeField(db_default=Now())
    phase = models.GeneratedField(
        expression=models.Case(
            models.When(status__in=["pending", "running", "paused"], then=models.Value("open")),
            models.When(status="completed", then=models.Value("completed")),
            default=models.Value("closed"),
        ),
        output_field=models.CharField(max_length=9),
        db_persist=True,
    )

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            *state_constraints(
                "workflow", WORKFLOW_EDGES, started=[S.RUNNING, S.PAUSED, S.COMPLETED, S.FAILED]
            ),
            models.UniqueConstraint(fields=["id", "phase"], name="workflow_id_phase"),
            models.CheckConstraint(
                name="workflow_budget_positive",
                condition=models.Q(budget__isnull=True) | models.Q(budget__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="workflow_by_owner"),
            # what the list asks of all runs: how many of each status, and which templates
            models.Index(fields=["owner", "status", "template_slug"], name="workflow_counts"),
            models.Index(
                fields=["id"], name="workflow_active", condition=models.Q(status__in=["running", "paused"])
            ),
        ]
        triggers = [edge_trigger(WORKFLOW_EDGES, WORKFLOW_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("workflows:detail", args=[self.pk])

    @property
    def dom_id(self) -> str:
        return f"workflow-{self.pk}"

    @property
    def channel(self) -> str:
        return f"workflow-{self.pk}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"workflow-{pk}", f"workflow-{pk}", version, status)


class Origin(models.TextChoices):
    TEMPLATE = "template", "From the template"
    USER = "user", "Added by a person"
    ENGINE = "engine", "Made by the engine"


class Step(StatefulModel):
    """One step of a workflow: its definition, and its present state and output."""

    edges: ClassVar[Edges] = STEP_EDGES
    channel_column: ClassVar[str] = "workflow_id"

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="steps", db_index=False)
    # Owned by the database: follows Workflow.phase by the composite key. Never written by us.
    workflow_phase = models.CharField(max_length=9, db_default="open", editable=False)
    position = models.PositiveIntegerField()
    key = models.SlugField(max_length=60, db_index=False)
    title = models.CharField(max_length=200)
    kind = models.CharField(
        max_length=40
    )  # a name in KINDS; no choices, so that a new kind needs no migration
    config: models.JSONField[Any, Any] = models.JSONField(default=dict)
    needs: ArrayField[Any, Any] = ArrayField(models.TextField(), default=list)
    output = models.TextField(blank=True, default="")
    notes = models.TextField(blank=True, default="")
    origin = models.CharField(max_length=8, choices=Origin, default=Origin.TEMPLATE)

    objects = StepQuerySet.as_manager()

    class Meta:
        ordering = ["workflow", "position"]
        constraints = [
            *state_constraints("step", STEP_EDGES, started=[S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF]),
            models.UniqueConstraint(
                fields=["workflow", "position"], name="step_position", deferrable=models.Deferrable.DEFERRED
            ),
            models.UniqueConstraint(fields=["workflow", "key"], name="step_key"),
            # A completed workflow has only done steps; a failed or cancelled one has none at work.
            models.CheckConstraint(
                name="step_of_completed_is_done",
                condition=~models.Q(workflow_phase="completed")
                | models.Q(status__in=[S.COMPLETED, S.SKIPPED]),
            ),
            models.CheckConstraint(
                name="step_of_closed_is_idle",
                condition=~models.Q(workflow_phase="closed") | ~models.Q(status__in=[S.RUNNING, S.WAITING]),
            ),
        ]
        indexes = [  # what the sweep looks at, however many steps have ended or wait for their turn
            models.Index(
                fields=["workflow", "status"],
                name="step_at_work",
                condition=models.Q(status__in=[S.RUNNING, S.WAITING, S.CUT_OFF]),
            ),
        ]
        triggers = [edge_trigger(STEP_EDGES, STEP_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("workflows:step", args=[self.workflow_id, self.pk])

    @property
    def dom_id(self) -> str:
        return f"step-{self.pk}"

    @property
    def channel(self) -> str:
        return f"workflow-{self.workflow_id}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"step-{pk}", f"workflow-{owner}", live_version(version), status)


SERVED_FOR = """
                    NEW.served_for := coalesce((SELECT w.owner_id FROM workflows_workflow w
                        JOIN workflows_step s ON s.workflow_id = w.id WHERE s.id = NEW.step_id), 0);"""


class StepAttempt(PaidAttempt):
    """One try at a step."""

    edges: ClassVar[Edges] = ATTEMPT_EDGES
    channel_column: ClassVar[str] = "step_id"

    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    branch = models.CharField(max_length=60, blank=True, default="")
    continues = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    comment = models.TextField(blank=True, default="")  # what a person asked to be done otherwise

    objects = StepAttemptQuerySet.as_manager()

    class Meta:
        ordering = ["step", "branch", "number"]
        constraints = [
            *state_constraints(
                "attempt", ATTEMPT_EDGES, started=[S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF]
            ),
            *lease_constraints("attempt", ATTEMPT_EDGES),
            models.UniqueConstraint(fields=["step", "branch", "number"], name="attempt_number"),
            models.UniqueConstraint(
                fields=["step", "branch"],
                name="attempt_one_open",
                condition=models.Q(status__in=[S.PENDING, S.RUNNING, S.WAITING]),
            ),
            answer_constraint("attempt_complete_answer", models.Q(kind="llm", status=S.COMPLETED)),
        ]
        indexes = [
            # One for each status that somebody looks for, so that a long queue hides neither what runs nor what waits.
            # Not on due_at: every heartbeat would then rewrite all indexes of the row.
            models.Index(
                fields=["served_for", "queued_at", "id"],
                name="attempt_pending",
                condition=models.Q(status=S.PENDING),
            ),
            models.Index(fields=["served_for"], name="attempt_running", condition=models.Q(status=S.RUNNING)),
            models.Index(fields=["id"], name="attempt_waiting", condition=models.Q(status=S.WAITING)),
            # The few that go on from another; without it each deleted attempt would be looked for in the whole table.
            models.Index(
                fields=["continues"],
                name="attempt_continues",
                condition=models.Q(continues__isnull=False),
            ),
        ]
        triggers = [
            edge_trigger(ATTEMPT_EDGES),
            *history_triggers("workflows_stepattempt", "step", "step_id", "branch", also=SERVED_FOR),
        ]

    def __str__(self) -> str:
        return f"{self.step_id} #{self.number}"

    @property
    def parts(self) -> int:
        """The number of this part of an answer that was continued, from 1."""
        return int(self.request.get("part", 1))


class WorkflowTemplate(models.Model):
    """A definition that a person keeps to make workflows of. These copy it: changing it never touches the past."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="workflow_templates"
    )
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=100, db_index=False)
    version = models.PositiveIntegerField(default=1)
    spec: models.JSONField[Any, Any] = models.JSONField()  # the whole definition, as specs.load reads it
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(db_default=Now())

    objects = WorkflowTemplateQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "slug"], name="template_slug_of_owner"),
            models.CheckConstraint(name="template_version_from_1", condition=models.Q(version__gte=1)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def chosen_as(self) -> str:
        """What the address of the new-workflow page calls it; no slug of a built-in one can look like that."""
        return f"own:{self.pk}"
