"""One unit: the files it looks at and its attempts, with what each used."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from analysis.engine import paths_of
from analysis.models import Unit
from nyxcore.access import signed_in
from nyxcore.states import NEXT_ACTION, Reason

PATHS = 40


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def unit(request: HttpRequest, pk: int, unit_pk: int) -> HttpResponse:
    """The attempts of a unit: a fragment for a script, else a page."""
    rows = Unit.objects.visible_to(request.user).select_related("run__owner", "reused_from")
    found = get_object_or_404(rows.defer("result"), pk=unit_pk, run=pk)
    paths = paths_of(found)
    context = {
        "unit": found, "run": found.run, "attempts": found.attempts.order_by("number").defer("output"),
        "paths": paths[:PATHS], "more": len(paths) - PATHS, "then": NEXT_ACTION.get(found.reason, ""),
        "said": str(Reason(found.reason).label) if found.reason in Reason.values else found.reason,
        "section": "analyses",
    }  # fmt: skip
    name = "_unit" if request.htmx else "unit"  # type: ignore[attr-defined]
    return render(request, f"analysis/{name}.html", context)
