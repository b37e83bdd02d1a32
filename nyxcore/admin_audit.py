"""The audit log in the admin: who did what, where it stands, and its undo."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from nyxcore import undo
from nyxcore.admin import AgeFilter, ReasonFilter, row_link
from nyxcore.admin_acts import OperatedAdmin, undo_url
from nyxcore.models import AuditEntry, BulkAction

AUDITED: dict[
    str, str
] = {}  # an audited model's name, as entries have it: "app.model", filled by the apps' admins


def audited(models_: Iterable[type[models.Model]]) -> None:
    """Let audit entries link to the rows of these models."""
    AUDITED.update({model._meta.model_name or "": model._meta.label_lower for model in models_})


@admin.register(AuditEntry)
class AuditAdmin(OperatedAdmin):
    age_column = "at"
    source = undo.SOURCE
    list_display = ("at", "actor", "name", "action", "row_of", "change", "reason", "detail", "way_back")
    list_filter = ("actor", "model", ReasonFilter, AgeFilter)
    list_select_related = ("user", "bulk")
    search_fields = ("name", "action", "detail", "row__exact")
    ordering = ("-pk",)

    @admin.display(description="row", ordering="row")
    def row_of(self, entry: AuditEntry) -> SafeString | str:
        return row_link(AUDITED.get(entry.model, entry.model), entry.row, f"{entry.model} {entry.row}")

    @admin.display(description="change")
    def change(self, entry: AuditEntry) -> str:
        return f"{entry.from_status} > {entry.to_status}" if entry.to_status else ""

    @admin.display(description="undo")
    def way_back(self, entry: AuditEntry) -> SafeString | str:
        """A link where an opposite is known; whether it is possible still is said on its page."""
        known = isinstance(undo.WAYS.get((entry.model, entry.action)), undo.Way)
        return format_html('<a href="{}">Undo</a>', undo_url(entry.pk)) if known else ""

    def get_urls(self) -> list[URLPattern]:
        own = path(
            "<int:pk>/undo/", self.admin_site.admin_view(self.undo_view), name="nyxcore_auditentry_undo"
        )
        return [own, *super().get_urls()]

    def undo_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Say what the opposite is and what it does, or why there is none; a POST does it."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        entry = get_object_or_404(AuditEntry, pk=pk)
        way = undo.way_of(entry)
        if request.method == "POST":
            try:
                done = undo.undo(entry, request.user)
            except undo.CannotUndo as error:
                way = str(error)
            else:
                told = format_html("Undone: {} of {}. {}", entry.action, self.row_of(entry), done.told)
                self.message_user(request, told, messages.SUCCESS)
                return redirect(reverse("admin:nyxcore_auditentry_changelist"))
        context = {
            **self.admin_site.each_context(request), "title": f"Undo: {entry.action or 'a change'}", "entry": entry,
            "row": self.row_of(entry), "way": way if isinstance(way, undo.Way) else None,
            "why_not": way if isinstance(way, str) else "", "opts": self.opts, "media": self.media,
        }  # fmt: skip
        status = 409 if request.method == "POST" else 200
        return TemplateResponse(request, "admin/undo.html", context, status=status)


audited([BulkAction])
