"""One unit: the files it looks at and its attempts, with what each used."""

from __future__ import annotations

import time
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from analysis import pages
from analysis.engine import paths_of
from analysis.models import Unit, UnitAttempt, UnitKind
from analysis.views import get_run, live_context
from nyxcore.access import signed_in
from nyxcore.live_views import text_since
from nyxcore.states import NEXT_ACTION, Reason, Status

PATHS = 40


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def unit(request: HttpRequest, pk: int, unit_pk: int) -> HttpResponse:
    """The attempts of a unit: a fragment for a script, else a page."""
    asked_at = time.time()
    version = pages.units_version_of(
        get_run(request, pk)
    )  # before the rows: a page is rather older than it says
    rows = Unit.objects.visible_to(request.user).select_related("run__owner", "reused_from")
    found = get_object_or_404(rows.defer("result"), pk=unit_pk, run=pk)
    paths = paths_of(found)
    attempts = list(found.attempts.order_by("number").defer("output"))
    context = {
        "unit": found, "run": found.run, "attempts": attempts, "units_version": version, "now": timezone.now(),
        "paths": paths[:PATHS], "more": len(paths) - PATHS, "then": NEXT_ACTION.get(found.reason, ""),
        "said": str(Reason(found.reason).label) if found.reason in Reason.values else found.reason,
        "section": "analyses", "stream": _written(found, attempts),
    }  # fmt: skip
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "analysis/_unit.html", context)
    return render(request, "analysis/unit.html", context | live_context(request, found.run, asked_at))


def _written(unit: Unit, attempts: Sequence[UnitAttempt]) -> UnitAttempt | None:
    """The attempt whose text is read while it is written: a page of a document. Other answers are data, not prose."""
    last = attempts[-1] if attempts else None
    page = unit.kind == UnitKind.DOCUMENT and unit.parent_id is not None
    return last if last and page and last.status == Status.RUNNING else None


@signed_in
@require_GET
@never_cache
def unit_text(request: HttpRequest, pk: int, unit_pk: int) -> HttpResponse:
    """What an attempt at a page of a document has written from `offset` on."""
    pages_of = UnitAttempt.objects.visible_to(request.user).filter(unit=unit_pk, unit__run=pk)
    return text_since(request, pages_of.filter(unit__kind=UnitKind.DOCUMENT))
