"""Acts on all analyses that match a filter: asked first, with the count."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from analysis import bulk
from analysis.filters import Filter
from analysis.models import AnalysisRun
from nyxcore import bulk as kernel
from nyxcore.access import signed_in
from nyxcore.models import BulkAction

EXAMPLES = 8  # names on the page that asks
SAID = {
    "cancel": "What is live is stopped; what was found so far is kept. What has ended already is left as it is.",
    "retry": "What failed, was cancelled or stands still goes on; what is completed is kept and not paid twice.",
    "delete": "What is not live is removed for good, with findings, documents and costs. What is live stays.",
}


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_confirm(request: HttpRequest, verb: str) -> HttpResponseBase:
    """Ask with the exact count; a POST that names this count begins, any other is asked again."""
    if verb not in bulk.SOURCE.verbs:
        raise Http404("No such action.")
    posted = request.method == "POST"
    asked: QueryDict = request.POST if posted else request.GET
    chosen = Filter.read(asked, request.user)
    rows = list(
        chosen.apply(AnalysisRun.objects.visible_to(request.user)).order_by("pk").values_list("pk", flat=True)
    )
    refused = _refusal(verb, chosen, len(rows))
    if refused:
        return _ask(request, verb, chosen, rows, refused=refused, status=422)
    if not posted:
        return _ask(request, verb, chosen, rows)
    if asked.get("count", "") != str(len(rows)):
        again = f"{len(rows):,} match now, not as many as when you were asked. Nothing was done yet."
        return _ask(request, verb, chosen, rows, again=again, status=409)
    return redirect("bulk", pk=_begin(request, verb, chosen, rows).pk)


def _refusal(verb: str, chosen: Filter, total: int) -> str:
    """Why this cannot be asked for at all; "" when it can."""
    if chosen.wrong:
        return chosen.wrong
    if not chosen.query():
        label = bulk.SOURCE.verbs[verb].label.lower()
        return (
            f"This would {label} every analysis there is. Narrow the list first, by status, name or source."
        )
    if total > kernel.AT_MOST:
        return f"{total:,} analyses match; at most {kernel.AT_MOST:,} go at once. Narrow the filter."
    return "" if total else "No analysis matches this filter, so there is nothing to do."


def _ask(
    request: HttpRequest,
    verb: str,
    chosen: Filter,
    rows: list[int],
    *,
    refused: str = "",
    again: str = "",
    status: int = 200,
) -> HttpResponse:
    examples = AnalysisRun.objects.filter(pk__in=rows[-EXAMPLES:]).order_by("-pk").only("name", "status")
    context: dict[str, Any] = {
        "verb": bulk.SOURCE.verbs[verb], "filter": chosen, "refused": refused, "again": again, "total": len(rows),
        "counted": bulk.SOURCE.count(len(rows)), "back": bulk.list_url(chosen.query()), "section": "analyses",
        "examples": examples if not refused else [], "unnamed": len(rows) - EXAMPLES, "said": SAID[verb],
    }  # fmt: skip
    return render(request, "analysis/bulk_confirm.html", context, status=status)


def _begin(request: HttpRequest, verb: str, chosen: Filter, rows: list[int]) -> BulkAction:
    """A new bulk action; the one that is under way where the same was asked for twice."""
    query = chosen.query()
    same = BulkAction.objects.open().filter(
        owner=request.user.pk, target=bulk.SOURCE.name, verb=verb, filter=query
    )
    return same.first() or kernel.begin(
        by=request.user,
        source=bulk.SOURCE,
        verb=bulk.SOURCE.verbs[verb],
        query=query,
        said=chosen.said,
        rows=rows,
    )
