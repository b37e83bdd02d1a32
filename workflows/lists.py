"""The list of workflows: what it is narrowed to, its order and its page all stand in the address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.core.paginator import Page, Paginator
from django.db.models import Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, Sum
from django.db.models.functions import Coalesce, Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from nyxcore import bulk as kernel
from nyxcore import ui
from nyxcore.access import signed_in
from nyxcore.dbtime import Clock
from nyxcore.models import BulkAction
from nyxcore.states import Status
from workflows import bulk, rows
from workflows.filters import STATUSES, Filter
from workflows.models import Workflow
from workflows.querysets import WorkflowQuerySet

SIZES = (25, 50, 100, 200)
COLUMNS = {"name": "Name", "started": "Started", "took": "Took", "cost": "Cost"}
SORTS = {
    "": "Newest first", "oldest": "Oldest first", "name": "Name, A to Z", "-name": "Name, Z to A",
    "-started": "Started last", "started": "Started first", "-took": "Longest", "took": "Shortest",
    "-cost": "Most expensive", "cost": "Cheapest",
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """Filter, order and page size, as the address has them."""

    filter: Filter
    sort: str
    size: int

    @classmethod
    def read(cls, request: HttpRequest) -> View:
        sort, size = request.GET.get("sort", ""), request.GET.get("size", "")
        known = {str(number): number for number in SIZES}
        return cls(
            Filter.read(request.GET, request.user), sort if sort in SORTS else "", known.get(size, SIZES[0])
        )

    def query(self, chosen: Filter | None = None, *, sort: str | None = None, page: int = 1) -> str:
        """The address's query, with this filter, order or page in place of the present one."""
        values = (self.filter if chosen is None else chosen).values()
        sort = self.sort if sort is None else sort
        values += [("sort", sort)] if sort else []
        values += [("size", str(self.size))] if self.size != SIZES[0] else []
        values += [("page", str(page))] if page > 1 else []
        return urlencode(values)


@signed_in
@require_GET
@vary_on_headers("HX-Request")
def workflow_list(request: HttpRequest) -> HttpResponse:
    """The runs that the person may see and the filter lets through."""
    view = View.read(request)
    visible = Workflow.objects.visible_to(request.user)
    grouped = view.filter.apply_but_status(visible).order_by().values_list("status")
    counts: dict[str, int] = dict(grouped.annotate(n=Count("*")))
    total = sum(counts.get(status, 0) for status in view.filter.statuses or STATUSES)
    page = _page(view, visible, total, request.GET.get("page", "1"))
    under_way = list(BulkAction.objects.open().filter(owner=request.user.pk).defer("rows"))
    context: dict[str, Any] = {
        "section": "workflows", "page": page, "lines": rows.runs(page.object_list), "total": total,
        "view": view, "filter": view.filter,
        "chips": _chips(view, counts), "criteria": _criteria(view), "headings": _headings(view),
        "any_at_all": bool(counts) or not view.filter.is_empty or bool(view.filter.wrong) or visible.exists(),
        "previous": view.query(page=page.number - 1), "next": view.query(page=page.number + 1),
        "here": f"{reverse('workflows:list')}?{view.query(page=page.number)}",
        "acts": _acts(view, total), "under_way": [_progress(action) for action in under_way],
        "again": under_way or any(run.status == Status.RUNNING for run in page.object_list),
    }  # fmt: skip
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    if not htmx or htmx.history_restore_request:
        return render(request, "workflows/workflow_list.html", context | _choices(request, visible))
    response = render(request, "workflows/_runs.html", context)
    if htmx.trigger == "filter":
        response["HX-Push-Url"] = f"?{view.query()}" if view.query() else reverse("workflows:list")
    return response


# --- rows -----------------------------------------------------------------------------------------------------


def _page(view: View, visible: WorkflowQuerySet, total: int, number: str) -> Page[Workflow]:
    """One page. Progress and cost are counted for its rows only."""
    found = _sorted(view.filter.apply(visible), view.sort)
    paginator = Paginator(found.only("pk"), view.size)
    paginator.__dict__["count"] = total  # in place of the cached property, which would ask the database
    page = paginator.get_page(number)
    pks = [row.pk for row in page.object_list]
    full = Workflow.objects.filter(pk__in=pks).with_progress().with_cost().select_related("owner")
    whole = full.defer("input", "inputs", "description").in_bulk()
    page.object_list = [whole[pk] for pk in pks if pk in whole]
    return page


def _sorted(found: WorkflowQuerySet, sort: str) -> WorkflowQuerySet:
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if sort in ("", "oldest"):
        return found.order_by("pk" if sort else "-pk")
    if name == "cost":
        # One pass over all attempts; a sub-query for each of 10,000 rows takes longer than the whole page.
        found = found.annotate(spent=Sum("steps__attempts__cost"))
    took = ExpressionWrapper(Coalesce("finished_at", Clock()) - F("started_at"), output_field=DurationField())
    keys: dict[str, Any] = {
        "name": Lower("name"),
        "started": F("started_at"),
        "took": took,
        "cost": F("spent"),
    }
    by = keys[name]
    return found.order_by(by.desc(nulls_last=True) if down else by.asc(nulls_last=True), "-pk")


# --- what the page says about its address ---------------------------------------------------------------------


def _chips(view: View, counts: dict[str, int]) -> list[dict[str, Any]]:
    """One for each status that occurs; following it adds the status to the filter, or takes it away."""
    chosen = view.filter.statuses
    every = Filter(**{**vars(view.filter), "statuses": ()})
    chips: list[dict[str, Any]] = [
        {"label": "All", "count": sum(counts.values()), "query": view.query(every), "chosen": not chosen}
    ]
    for status in STATUSES:
        if counts.get(status) or status in chosen:
            chips.append(
                {
                    "label": ui.status_word(status), "status": status.value, "count": counts.get(status, 0),
                    "query": view.query(view.filter.toggled(status)), "chosen": status in chosen,
                    "icon": mark_safe(ui.status_icon(status)),
                }
            )  # fmt: skip
    return chips


def _criteria(view: View) -> list[tuple[str, str]]:
    """Each criterion in words, with the query that is left without it. Statuses have their own chips."""
    shown = [pair for pair in view.filter.criteria() if pair[1].statuses == view.filter.statuses]
    return [(words, view.query(without)) for words, without in shown]


def _headings(view: View) -> dict[str, dict[str, str]]:
    """For each column that sorts: where its heading leads, and how it sorts now."""
    found = {}
    for name, label in COLUMNS.items():
        first, second = (name, f"-{name}") if name == "name" else (f"-{name}", name)
        state = {name: "ascending", f"-{name}": "descending"}.get(view.sort, "")
        found[name] = {
            "label": label,
            "query": view.query(sort=second if view.sort == first else first),
            "state": state,
        }
    return found


def _acts(view: View, total: int) -> list[dict[str, str]]:
    """What can be done to all matches; nothing while the list is not narrowed."""
    if view.filter.is_empty or not total:
        return []
    query = view.filter.query()
    return [
        {"label": verb.label, "name": name, "url": f"{reverse('workflows:bulk', args=[name])}?{query}"}
        for name, verb in bulk.SOURCE.verbs.items()
    ]


def _progress(action: BulkAction) -> dict[str, Any]:
    source = kernel.SOURCES.get(action.target)
    verb = source.verbs.get(action.verb) if source else None
    return {
        "action": action, "doing": verb.doing if verb else action.verb,
        "counted": source.count(action.total) if source else action.total,
    }  # fmt: skip


def _choices(request: HttpRequest, visible: WorkflowQuerySet) -> dict[str, Any]:
    """What the filter form offers."""
    owners: Sequence[str] = ()
    if request.user.is_staff:
        having = Exists(Workflow.objects.filter(owner=OuterRef("pk")))
        people = get_user_model()._default_manager.filter(having).order_by("username")
        owners = list(people.values_list("username", flat=True)[:500])
    slugs = (
        visible.exclude(template_slug="").order_by("template_slug").values_list("template_slug", flat=True)
    )
    return {
        "owners": owners, "templates": list(slugs.distinct()[:200]), "sorts": SORTS.items(), "sizes": SIZES,
        "today": datetime.now(UTC).date(),
    }  # fmt: skip
