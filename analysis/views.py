"""The page of an analysis, its fragments, and the JSON that pages compare themselves with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from analysis import coverage, document_pages, news, pages, settings_page, summary, unit_lines
from analysis.explain import explain
from analysis.models import AnalysisRun
from nyxcore import health, llm
from nyxcore.access import signed_in
from nyxcore.states import Status

S = Status
Tab = Callable[[HttpRequest, pages.Page], dict[str, Any]]
TABS: dict[str, Tab] = {
    "overview": summary.context,
    "coverage": coverage.context,
    "findings": news.tab,
    "documents": document_pages.context,
    "units": unit_lines.context,
    "settings": settings_page.context,
}
assert list(TABS) == list(pages.TABS)
PARTS = {"run": "_run", "progress": "_progress"}


def get_run(request: HttpRequest, pk: int) -> AnalysisRun:
    """An analysis that the person may see; else 404, as if it did not exist."""
    rows = AnalysisRun.objects.visible_to(request.user).select_related("owner", "held_by", "previous")
    return get_object_or_404(rows, pk=pk)


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def analysis_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The page of a run; `tab` is what it shows, `part` (run, progress, tab) one of its fragments."""
    asked_at = time.time()
    page = pages.load(get_run(request, pk))
    part = request.GET.get("part", "")
    if part == "news":
        return render(
            request, "analysis/_news.html", {"page": page, "run": page.run, **news.context(request, page)}
        )
    if part in PARTS:
        return render(request, f"analysis/{PARTS[part]}.html", head_context(page))
    return show(request, page, asked_at, fragment=part == "tab")


def show(
    request: HttpRequest,
    page: pages.Page,
    asked_at: float,
    *,
    tab: str = "",
    fragment: bool = False,
    more: dict[str, Any] | None = None,
    status: int = 200,
) -> HttpResponse:
    """One tab of the page, alone or with everything around it."""
    tab = tab or _tab(request, page)
    context = (
        head_context(page) | {"tab": tab, "tabs": _tabs(page, tab)} | TABS[tab](request, page) | (more or {})
    )
    if fragment:
        return render(request, f"analysis/tabs/_{tab}.html", context, status=status)
    context |= live_context(request, page.run, asked_at)
    return render(request, "analysis/detail.html", context, status=status)


def _tab(request: HttpRequest, page: pages.Page) -> str:
    """The tab that the address names; without one, what is asked of the reader comes first."""
    asked = request.GET.get("tab", "")
    if asked in TABS:
        return asked
    return "coverage" if page.run.status == S.WAITING else "overview"


def _tabs(page: pages.Page, tab: str) -> list[dict[str, Any]]:
    counts = {"findings": page.found}
    return [
        {"name": name, "label": label, "count": counts.get(name), "here": name == tab}
        for name, label in pages.TABS.items()
    ]


def head_context(page: pages.Page, refused: str = "") -> dict[str, Any]:
    """What header, banner and strip of phases need."""
    return {
        "page": page, "run": page.run, "section": "analyses", "practice": llm.is_practice(), "refused": refused,
        "no_worker": health.no_worker_since() if page.queued else None,
    }  # fmt: skip


def live_context(request: HttpRequest, run: AnalysisRun, asked_at: float) -> dict[str, Any]:
    """What live.js finds on <main id="live">. `asked_at`: before access was checked."""
    from nyxcore.live_tokens import make_token

    user = request.user.pk
    assert user is not None  # signed_in
    return {
        "token": make_token(int(user), [run.channel], issued_at=asked_at),
        "token_url": f"{reverse('events-token')}?{urlencode({'channel': run.channel})}",
    }


@signed_in
@require_GET
@never_cache
def analysis_why(request: HttpRequest, pk: int) -> HttpResponse:
    """What `manage.py explain` says: why the run is where it is, and what would move it."""
    run = get_run(request, pk)
    return render(request, "why.html", {"row": run, "sentences": explain(run), "section": "analyses"})


@signed_in
@require_GET
@never_cache
def analysis_state(request: HttpRequest, pk: int) -> JsonResponse:
    """The versions of the run and of its units together: what pages compare."""
    rows = AnalysisRun.objects.visible_to(request.user).only("pk", "version", "status")
    run = get_object_or_404(rows, pk=pk)
    live = {
        run.dom_id: [run.version, run.status],
        f"units-{run.pk}": [pages.units_version_of(run), ""],
    }
    return JsonResponse({"rows": live, "open": run.status in pages.OPEN})
