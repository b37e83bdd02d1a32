"""Documents of a source and their pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from analysis.models.runs import AnalysisRun
from analysis.models.units import Unit
from analysis.querysets import OfOwnerQuerySet, OwnedQuerySet

User = settings.AUTH_USER_MODEL


class Document(models.Model):
    """One version of a document. The newest complete one is the current one; a failed generation replaces nothing."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="documents")
    slug = models.SlugField(max_length=60, db_index=False)
    title = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    complete = models.BooleanField(default=False)  # all its pages are written
    created_at = models.DateTimeField(db_default=Now())

    objects = OfOwnerQuerySet["Document"].as_manager()

    class Meta:
        ordering = ["slug", "-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "source_key", "slug", "version"], name="document_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} (version {self.version})"


class DocumentPage(models.Model):
    """One page: its plan, and its text once it is written."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="pages", db_index=False)
    position = models.PositiveIntegerField()
    slug = models.SlugField(max_length=100, db_index=False)
    title = models.CharField(max_length=200)
    purpose = models.TextField(blank=True, default="")
    paths: models.JSONField[Any, Any] = models.JSONField(default=list)
    unit = models.ForeignKey(Unit, on_delete=models.SET_NULL, null=True, related_name="+")
    text = models.TextField(blank=True, default="")  # Markdown; "" until it is written
    citations: models.JSONField[Any, Any] = models.JSONField(default=list)  # of plain.Citation
    blobs: models.JSONField[Any, Any] = models.JSONField(default=dict)  # path: blob that it rests on

    objects = OwnedQuerySet["DocumentPage"].as_manager()

    class Meta:
        ordering = ["document", "position"]
        constraints = [models.UniqueConstraint(fields=["document", "slug"], name="page_slug")]

    def __str__(self) -> str:
        return self.title
