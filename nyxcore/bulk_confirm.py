"""The page that asks, with the exact count, before something is done to all runs that match a filter."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.urls import reverse

from nyxcore import bulk
from nyxcore.bulk_acts import LABELS, Acts, Plan, plan
from nyxcore.filters import RunFilter
from nyxcore.models import BulkAction

EXAMPLES = 8  # names on the page that asks


def confirm(request: HttpRequest, acts: Acts, source: bulk.Source, verb: str) -> HttpResponseBase:
    """Ask with the exact count; a POST that names this count begins, any other is asked again."""
    if verb not in acts.rules:
        raise Http404("No such action.")
    posted = request.method == "POST"
    asked: QueryDict = request.POST if posted else request.GET
    chosen = acts.filter.read(asked, request.user)
    planned = plan(acts, verb, chosen.apply(acts.model.objects.visible_to(request.user)))
    said, status = {"refused": _refusal(acts, source, verb, chosen, planned)}, 422
    if not said["refused"]:
        said, status = {"again": _changed(asked, planned) if posted else ""}, 409
    if posted and not any(said.values()):
        return redirect("bulk", pk=_begin(request, source, source.verbs[verb], chosen, planned).pk)
    context = _context(acts, source, verb, chosen, planned) | said
    return render(request, "bulk_confirm.html", context, status=status if any(said.values()) else 200)


def _refusal(acts: Acts, source: bulk.Source, verb: str, chosen: RunFilter, planned: Plan) -> str:
    """Why this cannot be asked for at all; "" when it can."""
    if chosen.wrong:
        return " ".join(chosen.wrong.values())
    if chosen.is_empty:
        return (
            f"This would {LABELS[verb][0].lower()} every {acts.noun} there is. Narrow the list first, by "
            f"{acts.narrow}; the action is then for what matches."
        )
    if planned.total > bulk.AT_MOST:
        return (
            f"{planned.total:,} {acts.nouns} match; at most {bulk.AT_MOST:,} go at once. Narrow the filter."
        )
    if not planned.total:
        return f"No {acts.noun} matches this filter, so there is nothing to do."
    if not planned.changed:
        whom = f"The {acts.noun} that matches cannot" if planned.total == 1 else (
            f"None of the {source.count(planned.total)} that match can"
        )  # fmt: skip
        return f"{whom} be {LABELS[verb][2]} now."
    return ""


def _changed(posted: QueryDict, planned: Plan) -> str:
    """What is different from what was confirmed; "" when nothing is."""
    total, changed = posted.get("count", "")[:12], posted.get("changed", str(planned.changed))[:12]
    if not (total.isdecimal() and changed.isdecimal() and (total + changed).isascii()):
        return "Confirm the number first."
    if int(total) != planned.total:
        return f"{int(total):,} matched when you were asked; now {planned.total:,} do. Nothing was done yet."
    if int(changed) < planned.changed:
        return (
            f"{int(changed):,} could be changed when you were asked; now {planned.changed:,} can. "
            "Nothing was done yet."
        )
    return ""


def _context(acts: Acts, source: bulk.Source, verb: str, chosen: RunFilter, planned: Plan) -> dict[str, Any]:
    examples = (
        acts.model.objects.filter(pk__in=planned.pks[-EXAMPLES:]).order_by("-pk").only("name", "status")
    )
    return {
        "acts": acts, "verb": source.verbs[verb], "plan": planned, "filter": chosen, "section": acts.nouns,
        "counted": source.count(planned.changed), "back": acts.list_url(chosen.query()), "examples": examples,
        "unnamed": planned.total - EXAMPLES, "action": reverse(f"{acts.app}:bulk", args=[verb]),
    }  # fmt: skip


def _begin(
    request: HttpRequest, source: bulk.Source, verb: bulk.Verb, chosen: RunFilter, planned: Plan
) -> BulkAction:
    """A new bulk action; the one that is under way where the same was asked for twice."""
    query = chosen.query()
    same = BulkAction.objects.open().filter(
        owner=request.user.pk, target=source.name, verb=verb.name, filter=query
    )
    return same.first() or bulk.begin(
        by=request.user, source=source, verb=verb, query=query, said=chosen.said, rows=planned.pks
    )
