"""The list of analyses."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from analysis import bulk
from analysis.filters import Filter
from analysis.models import AnalysisRun
from analysis.pages import LIVE
from analysis.querysets import SEVERITIES
from nyxcore import lists
from nyxcore.access import signed_in


@signed_in
@require_GET
@vary_on_headers("HX-Request")
def analysis_list(request: HttpRequest) -> HttpResponse:
    """The analyses that the person may see and the filter lets through."""
    return lists.show(request, LISTING, AnalysisRun.objects.visible_to(request.user))


def _whole(pks: list[int]) -> Mapping[int, AnalysisRun]:
    full = AnalysisRun.objects.filter(pk__in=pks).with_progress().with_cost().select_related("owner")
    whole = full.defer("coverage", "estimate", "overview", "gaps").in_bulk()
    for run in whole.values():
        counts = run.summary.get("severities", {})
        run.found = [(counts[word], word) for word in SEVERITIES if word in counts]  # type: ignore[attr-defined]
    return whole


LISTING = lists.Listing(
    "analysis", bulk.SOURCE, Filter, "units__attempts__cost", tuple(status.value for status in LIVE), _whole
)
