"""The kernel's rows in the Django admin, to look at. Nothing here saves a row: states change through services only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib import admin
from django.db import models
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from nyxcore.dbtime import ago
from nyxcore.models import BulkAction, LanguageModel, StatefulModel, SweepState, Worker
from nyxcore.states import Reason, Status

admin.site.site_header = "nyxcore"
admin.site.site_title = "nyxcore"
admin.site.index_title = "Operation"

HOUR, DAY = 3600, 86_400
AGES = (
    ("<1h", "less than an hour ago", HOUR),
    ("<1d", "less than a day ago", DAY),
    (">10min", "more than 10 minutes ago", 600),
    (">1h", "more than an hour ago", HOUR),
    (">1d", "more than a day ago", DAY),
    (">7d", "more than 7 days ago", 7 * DAY),
)


if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin  # generic for the type checker only


class ReadOnlyAdmin(ModelAdmin):
    """Shows rows. Adding, changing and deleting are closed to everybody, superusers included."""

    list_per_page = 50
    show_full_result_count = False
    age_column: ClassVar[str] = "status_changed_at"

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def urgency() -> Case:
    """What the sweep has ended first (stuck before the rest), then failed, what waits for a person, what is at work."""
    person = Q(status__in=(Status.CUT_OFF, Status.WAITING, Status.PAUSED))
    swept = Q(reason__in=(Reason.LOST, Reason.DEADLINE), status=Status.FAILED)
    ranks = [Q(reason=Reason.STUCK) & ~Q(status=Status.COMPLETED), swept, Q(status=Status.FAILED), person]
    ranks += [Q(status=Status.RUNNING), Q(status=Status.PENDING)]
    cases = [When(condition, then=Value(rank)) for rank, condition in enumerate(ranks)]
    return Case(*cases, default=Value(len(ranks)), output_field=IntegerField())


class StatefulAdmin(ReadOnlyAdmin):
    """Rows with a status: what needs somebody comes first."""

    ordering = (urgency().asc(), "-pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).annotate(urgency=urgency())
        return rows

    @admin.display(description="status", ordering="urgency")
    def status_word(self, row: StatefulModel) -> str:
        return str(Status(row.status).label)


class Explained(StatefulAdmin):
    """The page of a row begins with what `manage.py explain` says of it."""

    readonly_fields: ClassVar[tuple[str, ...]] = ("explanation",)
    explain: ClassVar[Any]  # from a row to its sentences

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        fields = [name for name in super().get_fields(request, obj) if name not in self.readonly_fields]
        return [*self.readonly_fields, *fields]

    @admin.display(description="why it is where it is")
    def explanation(self, row: Any) -> SafeString:
        return format_html_join("", "<p>{}</p>", ((line,) for line in self.explain(row)))


# --- filters ---


class StatusFilter(admin.SimpleListFilter):
    """By the status words that rows of this model can have."""

    title = parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(status.value, str(status.label)) for status in Status if status in model_admin.model.edges]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(status=self.value()) if self.value() else queryset


class ReasonFilter(admin.SimpleListFilter):
    title = parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(word, word) for word in sorted(Reason.values)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(reason=self.value()) if self.value() else queryset


class AgeFilter(admin.SimpleListFilter):
    """By the time of the last change, measured by the database's clock."""

    title, parameter_name = "last change", "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.column = model_admin.age_column
        return [(word, label) for word, label, _seconds in AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        for word, _label, seconds in AGES:
            if self.value() == word:
                lookup = "gt" if word.startswith("<") else "lt"
                return queryset.filter(**{f"{self.column}__{lookup}": ago(seconds)})
        return queryset


def row_link(model: type[models.Model] | str, pk: int, text: str = "") -> SafeString | str:
    """A link to the admin page of a row, or just its name where there is none."""
    label = model if isinstance(model, str) else model._meta.label_lower
    try:
        url = reverse(f"admin:{label.replace('.', '_')}_change", args=[pk])
    except NoReverseMatch:
        return text or f"{label} {pk}"
    return format_html('<a href="{}">{}</a>', url, text or f"{label} {pk}")


# --- the kernel's own rows ---


@admin.register(BulkAction)
class BulkActionAdmin(StatefulAdmin):
    list_display = (
        "id",
        "verb",
        "target",
        "said",
        "owner",
        "status_word",
        "total",
        "done",
        "skipped",
        "failed",
        "worker",
    )
    list_filter = (StatusFilter, "verb", AgeFilter)
    list_select_related = ("owner",)
    search_fields = ("said", "owner__username", "id__exact")
    exclude = ("rows",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("rows")


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    change_list_template = "admin/workers_link.html"
    age_column = "seen_at"
    list_display = ("name", "host", "threads", "started_at", "seen_at", "state")
    list_filter = ("host", AgeFilter)
    search_fields = ("name", "host")
    ordering = ("-seen_at",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        alive = When(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), then=Value(True))
        rows: QuerySet[Worker] = super().get_queryset(request)
        return rows.annotate(alive=Case(alive, default=Value(False)))

    @admin.display(description="state")
    def state(self, worker: Any) -> str:
        if not worker.alive:
            return "gone"
        return "stopping" if worker.stopping else "lives"


@admin.register(SweepState)
class SweepStateAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "last_pass", "guard_until")


@admin.register(LanguageModel)
class LanguageModelAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "label",
        "provider",
        "context_tokens",
        "max_output_tokens",
        "lifecycle",
        "refreshed_at",
    )
    list_filter = ("provider", "lifecycle")
    search_fields = ("id", "label")
    ordering = ("provider", "id")
