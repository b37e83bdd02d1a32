"""The list of analyses. Filter and page stand in the address."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib.auth import get_user_model
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from analysis import bulk
from analysis.filters import STATUSES, Filter
from analysis.models import AnalysisRun
from analysis.pages import LIVE
from nyxcore import bulk as kernel
from nyxcore import ui
from nyxcore.access import signed_in
from nyxcore.models import BulkAction

PAGE_SIZE = 50


@signed_in
@require_GET
@vary_on_headers("HX-Request")
def analysis_list(request: HttpRequest) -> HttpResponse:
    """The analyses that the person may see and the filter lets through."""
    chosen = Filter.read(request.GET, request.user)
    visible = AnalysisRun.objects.visible_to(request.user)
    grouped = replace(chosen, statuses=()).apply(visible).order_by().values_list("status")
    counts: dict[str, int] = dict(grouped.annotate(n=Count("pk")))
    total = sum(counts.get(status, 0) for status in chosen.statuses or STATUSES)
    page = _page(chosen, visible, request.GET.get("page", "1"))
    under_way = list(BulkAction.objects.open().filter(owner=request.user.pk, target="analysis").defer("rows"))
    context: dict[str, Any] = {
        "section": "analyses", "page": page, "filter": chosen, "total": total, "chips": _chips(chosen, counts),
        "any_at_all": bool(counts) or bool(chosen.query()) or bool(chosen.wrong) or visible.exists(),
        "here": f"{reverse('analysis:list')}?{_query(chosen, page.number)}", "acts": _acts(chosen, total),
        "previous": _query(chosen, page.number - 1), "next": _query(chosen, page.number + 1),
        "under_way": [_progress(action) for action in under_way], "criteria": _criteria(chosen),
        "again": under_way or any(run.status in LIVE for run in page.object_list),
    }  # fmt: skip
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    if not htmx or htmx.history_restore_request:
        return render(request, "analysis/list.html", context | {"owners": _owners(request)})
    response = render(request, "analysis/_runs.html", context)
    if htmx.trigger == "filter":
        response["HX-Push-Url"] = f"?{chosen.query()}" if chosen.query() else reverse("analysis:list")
    return response


def _query(chosen: Filter, number: int) -> str:
    return "&".join(part for part in (chosen.query(), f"page={number}" if number > 1 else "") if part)


def _page(chosen: Filter, visible: Any, number: str) -> Any:
    """One page. Progress and cost are counted for its rows only."""
    page = Paginator(chosen.apply(visible).only("pk").order_by("-pk"), PAGE_SIZE).get_page(number)
    pks = [row.pk for row in page.object_list]
    full = AnalysisRun.objects.filter(pk__in=pks).with_progress().with_cost().select_related("owner")
    whole = full.defer("coverage", "estimate", "overview", "gaps").in_bulk()
    page.object_list = [whole[pk] for pk in pks if pk in whole]
    return page


def _chips(chosen: Filter, counts: dict[str, int]) -> list[dict[str, Any]]:
    """One for each status that occurs; following it adds the status to the filter, or takes it away."""
    every = replace(chosen, statuses=())
    chips: list[dict[str, Any]] = [
        {"label": "All", "count": sum(counts.values()), "query": every.query(), "chosen": not chosen.statuses}
    ]
    for status in STATUSES:
        if counts.get(status) or status in chosen.statuses:
            kept = set(chosen.statuses) ^ {status.value}
            toggled = replace(chosen, statuses=tuple(one.value for one in STATUSES if one.value in kept))
            chips.append({
                "label": ui.status_word(status), "status": status.value, "count": counts.get(status, 0),
                "query": toggled.query(), "chosen": status in chosen.statuses,
                "icon": mark_safe(ui.status_icon(status)),
            })  # fmt: skip
    return chips


def _criteria(chosen: Filter) -> list[tuple[str, str]]:
    """Each criterion but the statuses in words, with the query that is left without it."""
    found = []
    if chosen.q:
        found.append((f"“{chosen.q}” in name or source", replace(chosen, q="").query()))
    if chosen.owner:
        found.append((f"owner {chosen.owner}", replace(chosen, owner="").query()))
    if chosen.source:
        found.append(("one source", replace(chosen, source="").query()))
    return found


def _acts(chosen: Filter, total: int) -> list[dict[str, str]]:
    """What can be done to all matches; nothing while the list is not narrowed."""
    if not chosen.query() or not total:
        return []
    return [
        {"label": verb.label, "url": f"{reverse('analysis:bulk', args=[name])}?{chosen.query()}"}
        for name, verb in bulk.SOURCE.verbs.items()
    ]


def _progress(action: BulkAction) -> dict[str, Any]:
    source = kernel.SOURCES[action.target]
    return {"action": action, "doing": source.verbs[action.verb].doing, "counted": source.count(action.total)}


def _owners(request: HttpRequest) -> list[str]:
    if not request.user.is_staff:
        return []
    people = get_user_model()._default_manager.filter(analyses__isnull=False).distinct()
    return list(people.order_by("username").values_list("username", flat=True)[:500])
