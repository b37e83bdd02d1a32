"""An analysis, where its source comes from, and the files that it read or left out."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from analysis.querysets import OfOwnerQuerySet, OwnedQuerySet, RunQuerySet
from nyxcore.models import Hint, Run, state_constraints
from nyxcore.states import ANALYSIS_EDGES, ANALYSIS_PERSON_EDGES, Edges, Status, edge_trigger

S = Status
User = settings.AUTH_USER_MODEL


class SourceKind(models.TextChoices):
    """Where a source comes from."""

    GIT = "git", "Git address"
    UPLOAD = "upload", "Uploaded archive"
    PATH = "path", "Folder on the server"


class Upload(models.Model):
    """An archive that a person handed in; kept until its analysis has been confirmed, then gone."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    data = models.BinaryField()
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    objects = OfOwnerQuerySet["Upload"].as_manager()

    def __str__(self) -> str:
        return self.name


class AnalysisRun(Run):
    """One look at one source."""

    edges: ClassVar[Edges] = ANALYSIS_EDGES

    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="analyses")
    name = models.CharField(max_length=200)
    source_kind = models.CharField(max_length=6, choices=SourceKind)
    location = models.TextField()  # address, name of the archive, or folder
    ref = models.CharField(max_length=255, blank=True, default="")  # branch or tag; "": the default one
    sub_path = models.CharField(max_length=1000, blank=True, default="")
    source_key = models.CharField(
        max_length=64
    )  # the same for all runs on one source; see services.source_key
    upload = models.ForeignKey(Upload, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    commit = models.CharField(max_length=64, blank=True, default="")
    tree = models.CharField(max_length=64, blank=True, default="")
    options: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Options
    budget = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)  # USD
    confirmed = models.BooleanField(default=False)  # somebody has seen coverage and estimate
    marker = models.CharField(max_length=32, blank=True, default="")  # fences what comes from the source
    coverage: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # files, read, tokens, skipped, languages
    estimate: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Estimate
    overview: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Overview
    overview_key = models.CharField(max_length=64, blank=True, default="")  # changes with a major change only
    gaps: models.JSONField[Any, Any] = models.JSONField(default=list)  # see engine.gaps
    origin = models.CharField(max_length=60, blank=True, default="")  # the step that has begun it
    summary: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # of the report: numbers per rule, ...
    previous = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="followers"
    )  # the last one on this source that was completed before
    created_at = models.DateTimeField(db_default=Now())
    phase = models.GeneratedField(
        expression=models.Case(
            models.When(
                status__in=["pending", "scanning", "analyzing", "generating", "waiting", "paused"],
                then=models.Value("open"),
            ),
            models.When(status="completed", then=models.Value("completed")),
            default=models.Value("closed"),
        ),
        output_field=models.CharField(max_length=9),
        db_persist=True,
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            *state_constraints(
                "analysis",
                ANALYSIS_EDGES,
                started=[S.SCANNING, S.ANALYZING, S.GENERATING, S.WAITING, S.PAUSED, S.COMPLETED],
            ),
            models.UniqueConstraint(fields=["id", "phase"], name="analysis_id_phase"),
            models.CheckConstraint(
                name="analysis_budget_positive",
                condition=models.Q(budget__isnull=True) | models.Q(budget__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="analysis_by_owner"),
            models.Index(fields=["owner", "source_key", "-id"], name="analysis_by_source"),
            models.Index(
                fields=["id"],
                name="analysis_active",
                condition=models.Q(status__in=["scanning", "analyzing", "generating", "waiting", "paused"]),
            ),
        ]
        triggers = [edge_trigger(ANALYSIS_EDGES, ANALYSIS_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("analysis:detail", args=[self.pk])

    @property
    def dom_id(self) -> str:
        return f"analysis-{self.pk}"

    @property
    def channel(self) -> str:
        return f"analysis-{self.pk}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"analysis-{pk}", f"analysis-{pk}", version, status)


class SourceFile(models.Model):
    """One line of the manifest. `content` is there only while it is needed (see engine.forget_contents)."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="files", db_index=False)
    path = models.TextField()  # odd bytes are spelled out, see select
    blob = models.CharField(max_length=64)
    size = models.BigIntegerField()
    language = models.CharField(max_length=40, blank=True, default="")
    encoding = models.CharField(max_length=40, blank=True, default="")
    lines = models.PositiveIntegerField(default=0)
    tokens = models.PositiveIntegerField(default=0)
    read = models.BooleanField(default=True)
    reason = models.CharField(max_length=40, blank=True, default="")  # of select.SKIP_REASONS
    detail = models.TextField(blank=True, default="")
    symbols: models.JSONField[Any, Any] = models.JSONField(default=list)
    imports: models.JSONField[Any, Any] = models.JSONField(default=list)
    grammar = models.BooleanField(default=False)
    content = models.TextField(null=True)  # noqa: DJ001 - none is not the same as an empty file

    objects = OwnedQuerySet["SourceFile"].as_manager()

    class Meta:
        ordering = ["run", "path"]
        constraints = [models.UniqueConstraint(fields=["run", "path"], name="file_path")]
        indexes = [
            # The runs whose texts are still there.
            models.Index(fields=["run"], name="file_content", condition=models.Q(content__isnull=False))
        ]

    def __str__(self) -> str:
        return self.path
