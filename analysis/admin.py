"""Analyses, units, attempts and what they found in the Django admin: rows to look at, and the verbs of an operator."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from analysis import explain, operated
from analysis.models import (
    AnalysisRun,
    Document,
    Finding,
    RejectedFinding,
    SourceFile,
    TrackedFinding,
    Unit,
    UnitAttempt,
    Upload,
)
from nyxcore.admin import (
    AgeFilter,
    Explained,
    ReadOnlyAdmin,
    ReasonFilter,
    StatusFilter,
    row_link,
)
from nyxcore.admin_acts import OperatedAdmin
from nyxcore.admin_audit import audited

LARGE = ("coverage", "estimate", "overview", "summary")

audited([AnalysisRun, Unit, UnitAttempt, TrackedFinding])


@admin.register(AnalysisRun)
class AnalysisRunAdmin(Explained, OperatedAdmin):
    explain = staticmethod(explain.explain)
    source = operated.RUNS
    list_display = (
        "id",
        "name",
        "owner",
        "source_kind",
        "location",
        "status_word",
        "reason",
        "status_changed_at",
    )
    list_display_links = ("id", "name")
    list_filter = (StatusFilter, ReasonFilter, AgeFilter, "source_kind")
    list_select_related = ("owner",)
    search_fields = ("name", "location", "owner__username", "commit", "id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("owner", "held_by", "previous", "upload")
        return rows.defer("upload__data", *(f"previous__{name}" for name in LARGE))

    def view_on_site(self, obj: AnalysisRun) -> str:
        return obj.get_absolute_url()


@admin.register(Unit)
class UnitAdmin(Explained):
    explain = staticmethod(explain.explain_unit)
    list_display = ("id", "of_run", "kind", "analyzer", "title", "status_word", "reason", "reused")
    list_display_links = ("id", "title")
    list_filter = (StatusFilter, ReasonFilter, AgeFilter, "kind", "analyzer", "reused")
    search_fields = ("title", "run__name", "id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = (
            super()
            .get_queryset(request)
            .select_related("run__owner", "run__held_by", "parent", "reused_from")
        )
        return rows.defer("result", *(f"run__{name}" for name in LARGE))

    @admin.display(description="analysis", ordering="run")
    def of_run(self, unit: Unit) -> SafeString | str:
        return row_link(AnalysisRun, unit.run_id, f"{unit.run_id} {unit.run.name}")


@admin.register(UnitAttempt)
class UnitAttemptAdmin(Explained):
    explain = staticmethod(explain.explain_attempt)
    list_display = (
        "id",
        "of_unit",
        "number",
        "cause",
        "status_word",
        "reason",
        "worker",
        "heartbeat_at",
        "due_at",
    )
    list_filter = (StatusFilter, ReasonFilter, AgeFilter, "cause", "kind")
    search_fields = ("worker", "request_id", "id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = (
            super()
            .get_queryset(request)
            .select_related("unit__run__owner", "unit__run__held_by", "caused_by")
        )
        return rows.defer("unit__result", "unit__chunk", *(f"unit__run__{name}" for name in LARGE))

    @admin.display(description="unit", ordering="unit")
    def of_unit(self, attempt: UnitAttempt) -> SafeString | str:
        return row_link(Unit, attempt.unit_id, str(attempt.unit))


@admin.register(Finding)
class FindingAdmin(ReadOnlyAdmin):
    list_display = ("id", "run_id", "rule_id", "severity", "title", "path", "start_line")
    list_display_links = ("id", "title")
    list_filter = ("severity", "analyzer")
    search_fields = ("title", "path", "rule_id", "id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).select_related("unit", "tracked", "kept_as")


@admin.register(TrackedFinding)
class TrackedFindingAdmin(ReadOnlyAdmin):
    list_display = ("id", "owner", "rule_id", "severity", "title", "path", "state", "triage", "decided_by")
    list_display_links = ("id", "title")
    list_filter = ("state", "triage", "severity")
    list_select_related = ("owner", "decided_by")
    search_fields = ("title", "path", "rule_id", "id__exact")


@admin.register(RejectedFinding)
class RejectedFindingAdmin(ReadOnlyAdmin):
    list_display = ("id", "run_id", "rule_id", "reason", "title", "path")
    list_filter = ("reason", "analyzer")
    search_fields = ("title", "path", "rule_id")


@admin.register(SourceFile)
class SourceFileAdmin(ReadOnlyAdmin):
    list_display = ("id", "run_id", "path", "size", "language", "tokens", "read", "reason")
    list_filter = ("read", "reason", "language")
    search_fields = ("path", "run__id__exact")
    exclude = ("content",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("content", "symbols", "imports")


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    list_display = ("id", "title", "version", "complete", "run_id", "owner", "created_at")
    list_filter = ("slug", "complete")
    list_select_related = ("owner",)


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    list_display = ("id", "name", "owner", "size", "created_at")
    list_select_related = ("owner",)
    exclude = ("data",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("data")
