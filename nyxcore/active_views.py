"""The page of what is running now, and the count in the navigation."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from nyxcore import active, health
from nyxcore.access import signed_in

UNCHANGED = 204  # htmx leaves the page as it is


@signed_in
@require_GET
@never_cache
def active_page(request: HttpRequest) -> HttpResponse:
    """All active runs. With `part=runs` the fragment alone; `v` names what is shown already: 204 if nothing changed."""
    overview = active.overview(request)
    no_worker = health.no_worker_since() if overview.queued else None
    version = overview.version + ("-idle" if no_worker else "")
    whole = request.GET.get("part") != "runs"
    if not whole and request.GET.get("v") == version:
        return HttpResponse(status=UNCHANGED)
    context: dict[str, Any] = {
        "overview": overview, "version": version, "no_worker": no_worker, "now": timezone.now(),
        "sources": list(active.SOURCES.values()), "section": "active",
    }  # fmt: skip
    return render(request, "active.html" if whole else "_active.html", context)


@require_GET
@never_cache
def active_count(request: HttpRequest) -> HttpResponse:
    """The number for the navigation; 204 if `shown` is right still, and for whoever is signed out meanwhile."""
    if not request.user.is_authenticated:
        return HttpResponse(status=UNCHANGED)
    if request.GET.get("shown") == str(active.count_for(request)):
        return HttpResponse(status=UNCHANGED)
    return render(request, "_active_count.html")
