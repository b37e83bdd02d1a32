"""The page of the workers, for staff."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from nyxcore import health, workers
from nyxcore.access import signed_in


@signed_in
@require_GET
@never_cache
def workers_page(request: HttpRequest) -> HttpResponse:
    """Who lives and what each holds. With `part=workers` the fragment alone; 204 if `v` is its version still."""
    if not request.user.is_staff:
        raise Http404("There is no such page.")
    overview = workers.overview()
    part = request.GET.get("part") == "workers"
    if part and request.GET.get("v") == overview.version:
        return HttpResponse(status=204)
    context: dict[str, Any] = {
        "overview": overview, "now": timezone.now(), "section": "workers",
        "no_worker": None if overview.living else health.no_worker_since(),
    }  # fmt: skip
    return render(request, "_workers.html" if part else "workers.html", context)
