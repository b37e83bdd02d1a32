"""Acts of an operator in the admin: on some rows at once, on all matches in the background, each audited, and undone
where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from nyxcore import bulk, undo
from nyxcore.admin import ReadOnlyAdmin
from nyxcore.models import AuditEntry

AT_ONCE = 100  # rows that are done while the person waits; more of them by a worker
SHOWN = 20  # rows named on the page that asks
TOLD = 5  # refusals shown in words


class OperatedAdmin(ReadOnlyAdmin):
    """Rows with the verbs of a bulk source as actions; whoever may change such rows may use them."""

    source: ClassVar[bulk.Source]

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Django's own change permission opens forms that save rows, so it is closed; this one opens actions."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}"))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        found: dict[str, Any] = dict(super().get_actions(request))
        if self.has_operate_permission(request):
            found |= {
                name: (self._action(verb), name, verb.label) for name, verb in self.source.verbs.items()
            }
        return found

    def _action(self, verb: bulk.Verb) -> Callable[..., HttpResponse | None]:
        def action(_admin: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
            return self._act(request, rows.order_by("pk"), verb)

        return action

    def _act(self, request: HttpRequest, rows: QuerySet[Any], verb: bulk.Verb) -> HttpResponse | None:
        """Ask first where it matters; few rows at once, many in the background."""
        count = rows.count()
        if (verb.asks or count > AT_ONCE) and request.POST.get("confirmed") != str(count):
            return self._ask(request, rows, verb, count)
        if count > bulk.AT_MOST:
            self.message_user(
                request, f"At most {bulk.AT_MOST:,} rows go at once. Narrow the list.", messages.ERROR
            )
            return None
        if count <= AT_ONCE:
            self._now(request, rows, verb)
            return None
        query = request.GET.urlencode()
        pks = list(rows.values_list("pk", flat=True))
        said = f"from the administration, {query or 'all rows'}"
        action = bulk.begin(by=request.user, source=self.source, verb=verb, query=query, said=said, rows=pks)
        return redirect("bulk", pk=action.pk)

    def _ask(self, request: HttpRequest, rows: QuerySet[Any], verb: bulk.Verb, count: int) -> HttpResponse:
        """The page that asks, with the exact count. A number that has changed meanwhile is asked for again."""
        context = {
            **self.admin_site.each_context(request), "title": verb.label, "question": verb.asks, "verb": verb,
            "rows": rows[:SHOWN], "more": count - SHOWN, "count": count, "counted": self.source.count(count),
            "changed": "confirmed" in request.POST, "background": count > AT_ONCE,
            "across": request.POST.get("select_across", "0"), "action": request.POST["action"],
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME), "checkbox": ACTION_CHECKBOX_NAME,
            "opts": self.opts, "media": self.media,
        }  # fmt: skip
        return TemplateResponse(request, "admin/confirm_action.html", context)

    def _now(self, request: HttpRequest, rows: QuerySet[Any], verb: bulk.Verb) -> None:
        """Each row in a transaction of its own; tell how many it was done to, the way back, and why not to others."""
        before = AuditEntry.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        count, refusals = 0, []
        for pk in rows.values_list("pk", flat=True):
            try:
                verb.act(pk, request.user, "")
            except bulk.Skipped as error:
                refusals.append(f"{pk}: {error}")
            else:
                count += 1
        if count:
            mine = (
                AuditEntry.objects.filter(pk__gt=before, user=request.user.pk)
                .exclude(action="")
                .order_by("pk")
            )
            told = format_html("{} {}. {}", self.source.count(count), verb.done, _way_back(list(mine)))
            self.message_user(request, told, messages.SUCCESS)
        if refusals:
            more = f" … and {len(refusals) - TOLD} more." if len(refusals) > TOLD else ""
            told_not = " ".join(refusals[:TOLD])
            self.message_user(
                request, f"{len(refusals)} left as they are. {told_not}{more}", messages.WARNING
            )


def _way_back(entries: list[AuditEntry]) -> SafeString | str:
    """A link that undoes these acts, or why there is none."""
    ways = [undo.way_of(entry) for entry in entries]
    lost = [way for way in ways if isinstance(way, str)]
    if lost or not entries:
        return lost[0] if lost else ""
    if len(entries) == 1:
        return format_html('<a href="{}">Undo</a>', undo_url(entries[0].pk))
    keys = ",".join(str(entry.pk) for entry in entries)
    return format_html(
        '<a href="{}?id__in={}">Undo some or all</a>', reverse("admin:nyxcore_auditentry_changelist"), keys
    )


def undo_url(pk: int) -> str:
    return reverse("admin:nyxcore_auditentry_undo", args=[pk])
