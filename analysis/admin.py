"""Analyses, units, attempts and what they found in the Django admin: rows to look at, and the verbs of an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from analysis import operating, services
from analysis.explain import explain
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
    ReadOnlyAdmin,
    ReasonFilter,
    StatefulAdmin,
    StatusFilter,
    act_on,
    ask_first,
    audited,
    row_link,
)

OPERATOR = "operator"
LARGE = ("coverage", "estimate", "overview", "summary")

audited([AnalysisRun, Unit, UnitAttempt, TrackedFinding])

_FAILING = (
    "Each of these analyses ends now as failed: running calls are stopped, what was found is kept. Their owners can "
    "resume them; a call that was stopped is then paid again."
)
_CANCELLING = (
    "Each of these analyses ends now: running calls are stopped, what was found is kept, every unit that is not done "
    "becomes cancelled."
)
_RELEASING = (
    "The running attempts end, though their workers may still live, and new ones wait for any worker. What the calls "
    "have cost so far is spent, and they are paid again."
)


@admin.register(AnalysisRun)
class AnalysisRunAdmin(StatefulAdmin):
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
    actions = ("mark_failed", "retry", "release", "pause", "cancel")
    readonly_fields = ("explanation",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("owner", "held_by", "previous", "upload")
        return rows.defer("upload__data", *(f"previous__{name}" for name in LARGE))

    def view_on_site(self, obj: AnalysisRun) -> str:
        return obj.get_absolute_url()

    @admin.display(description="why it is where it is")
    def explanation(self, run: AnalysisRun) -> SafeString:
        return format_html_join("", "<p>{}</p>", ((line,) for line in explain(run)))

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Django's own change permission opens forms that save rows, so it is closed; this one opens actions."""
        return bool(request.user.has_perm("analysis.change_analysisrun"))

    def act(
        self,
        request: HttpRequest,
        rows: QuerySet[Any],
        verb: Callable[..., Any],
        done: str,
        *,
        ask: tuple[str, str] | None = None,
        **kwargs: Any,
    ) -> HttpResponse | None:
        """Do `verb` to each row as this operator; `ask` (question and button) has it confirmed first."""
        if ask and not request.POST.get("confirmed"):
            return ask_first(self, request, rows, *ask)
        act_on(self, request, rows, lambda row: verb(row, by=request.user, **kwargs), done, services.Refused)
        return None

    @admin.action(description="Mark failed", permissions=["operate"])
    def mark_failed(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        return self.act(request, rows, operating.mark_failed, "marked failed", ask=(_FAILING, "Mark failed"))

    @admin.action(description="Retry what failed (resume)", permissions=["operate"])
    def retry(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        return self.act(request, rows, services.resume_analysis, "resumed", kind=OPERATOR)

    @admin.action(description="Release running units from their workers", permissions=["operate"])
    def release(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        return self.act(request, rows, operating.release_analysis, "released", ask=(_RELEASING, "Release"))

    @admin.action(description="Pause", permissions=["operate"])
    def pause(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        return self.act(request, rows, services.pause_analysis, "paused", kind=OPERATOR)

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        ask = (_CANCELLING, "Cancel the analyses")
        return self.act(request, rows, services.cancel_analysis, "cancelled", ask=ask, kind=OPERATOR)


@admin.register(Unit)
class UnitAdmin(StatefulAdmin):
    list_display = ("id", "of_run", "kind", "analyzer", "title", "status_word", "reason", "reused")
    list_display_links = ("id", "title")
    list_filter = (StatusFilter, ReasonFilter, AgeFilter, "kind", "analyzer", "reused")
    search_fields = ("title", "run__name", "id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("run", "parent", "reused_from")
        return rows.defer("result", *(f"run__{name}" for name in LARGE))

    @admin.display(description="analysis", ordering="run")
    def of_run(self, unit: Unit) -> SafeString | str:
        return row_link(AnalysisRun, unit.run_id, f"{unit.run_id} {unit.run.name}")


@admin.register(UnitAttempt)
class UnitAttemptAdmin(StatefulAdmin):
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
        rows = super().get_queryset(request).select_related("unit", "caused_by")
        return rows.defer("unit__result", "unit__chunk")

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
