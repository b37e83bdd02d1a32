"""The list of an app's runs: what it is narrowed to, its order and its page all stand in the address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.core.paginator import Page, Paginator
from django.db.models import Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, QuerySet, Sum
from django.db.models.functions import Coalesce, Lower
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import mark_safe

from nyxcore import bulk, ui, undo
from nyxcore.dbtime import Clock
from nyxcore.filters import RunFilter
from nyxcore.models import BulkAction

SIZES = (25, 50, 100, 200)
COLUMNS = {"name": "Name", "started": "Started", "took": "Took", "cost": "Cost"}
SORTS = {
    "": "Newest first", "oldest": "Oldest first", "name": "Name, A to Z", "-name": "Name, Z to A",
    "-started": "Started last", "started": "Started first", "-took": "Longest", "took": "Shortest",
    "-cost": "Most expensive", "cost": "Cheapest",
}  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What one app's list is made of; its templates stand in the folder of the app."""

    app: str  # the namespace of its addresses, the folder of its templates
    source: bulk.Source
    filter: type[RunFilter]
    cost: str  # the way from a run to what its attempts cost
    live: tuple[str, ...]  # while one of these is on the page, it asks again
    whole: Callable[[list[int]], Mapping[int, Any]]  # the rows of one page with all that is shown of them

    @property
    def url(self) -> str:
        return reverse(f"{self.app}:list")

    @property
    def new_url(self) -> str:
        return reverse(f"{self.app}:new")


@dataclass(frozen=True)
class View:
    """Filter, order and page size, as the address has them."""

    filter: RunFilter
    sort: str
    size: int

    @classmethod
    def read(cls, request: HttpRequest, kind: type[RunFilter]) -> View:
        sort, size = request.GET.get("sort", ""), request.GET.get("size", "")
        known = {str(number): number for number in SIZES}
        return cls(
            kind.read(request.GET, request.user), sort if sort in SORTS else "", known.get(size, SIZES[0])
        )

    def query(self, chosen: RunFilter | None = None, *, sort: str | None = None, page: int = 1) -> str:
        """The address's query, with this filter, order or page in place of the present one."""
        values = (self.filter if chosen is None else chosen).values()
        sort = self.sort if sort is None else sort
        values += [("sort", sort)] if sort else []
        values += [("size", str(self.size))] if self.size != SIZES[0] else []
        values += [("page", str(page))] if page > 1 else []
        return urlencode(values)


def show(
    request: HttpRequest,
    listing: Listing,
    visible: Any,
    choices: Callable[[], dict[str, Any]] = dict,
) -> HttpResponse:
    """The runs among `visible` that the filter lets through; `choices`: what only this app's filter form offers."""
    view = View.read(request, listing.filter)
    chosen = view.filter
    counts = _counts(chosen, visible)
    total = sum(counts.get(status, 0) for status in chosen.statuses or chosen.STATUSES)
    page = _page(listing, view, visible, total, request.GET.get("page", "1"))
    under_way = _under_way(request, listing)
    context: dict[str, Any] = {
        "section": listing.source.nouns, "listing": listing, "page": page, "view": view, "filter": chosen,
        "total": total, "chips": _chips(view, counts), "criteria": _criteria(view), "headings": _headings(view),
        "any_at_all": bool(counts) or not chosen.is_empty or bool(chosen.wrong) or visible.exists(),
        "previous": view.query(page=page.number - 1), "next": view.query(page=page.number + 1),
        "here": f"{listing.url}?{view.query(page=page.number)}", "under_way": under_way,
        "acts": _acts(listing, view, total), "table": f"{listing.app}/_table.html",
        "again": under_way or any(run.status in listing.live for run in page.object_list),
    }  # fmt: skip
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    if not htmx or htmx.history_restore_request:
        context |= {"owners": _owners(request, visible), "sorts": SORTS.items(), "sizes": SIZES, **choices()}
        return render(request, f"{listing.app}/list.html", context)
    response = render(request, "_runs.html", context)
    if htmx.trigger == "filter":
        response["HX-Push-Url"] = f"?{view.query()}" if view.query() else listing.url
    return response


# --- rows -----------------------------------------------------------------------------------------------------


def _counts(chosen: RunFilter, visible: Any) -> dict[str, int]:
    """How many there are in each status, whichever of them are asked for."""
    grouped = chosen.apply_but_status(visible).order_by().values_list("status")
    return dict(grouped.annotate(n=Count("*")))


def _page(listing: Listing, view: View, visible: Any, total: int, number: str) -> Page[Any]:
    """One page. Progress and cost are counted for its rows only."""
    found = _sorted(view.filter.apply(visible), view.sort, listing.cost)
    paginator = Paginator(found.only("pk"), view.size)
    paginator.__dict__["count"] = total  # in place of the cached property, which would ask the database
    page = paginator.get_page(number)
    pks = [row.pk for row in page.object_list]
    whole = listing.whole(pks)
    page.object_list = [whole[pk] for pk in pks if pk in whole]
    return page


def _sorted(rows: QuerySet[Any], sort: str, cost: str) -> QuerySet[Any]:
    name, down = sort.removeprefix("-"), sort.startswith("-")
    if sort in ("", "oldest"):
        return rows.order_by("pk" if sort else "-pk")
    if name == "cost":
        # One pass over all attempts; a sub-query for each of 10,000 rows takes longer than the whole page.
        rows = rows.annotate(spent=Sum(cost))
    took = ExpressionWrapper(Coalesce("finished_at", Clock()) - F("started_at"), output_field=DurationField())
    keys: dict[str, Any] = {
        "name": Lower("name"),
        "started": F("started_at"),
        "took": took,
        "cost": F("spent"),
    }
    by = keys[name]
    return rows.order_by(by.desc(nulls_last=True) if down else by.asc(nulls_last=True), "-pk")


def _owners(request: HttpRequest, visible: Any) -> Sequence[str]:
    """Whose runs there are; only staff are offered them."""
    if not request.user.is_staff:
        return ()
    having = Exists(visible.filter(owner=OuterRef("pk")))
    people = get_user_model()._default_manager.filter(having).order_by("username")
    return list(people.values_list("username", flat=True)[:500])


# --- what the page says about its address ---------------------------------------------------------------------


def _chips(view: View, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """One for each status that occurs; following it adds the status to the filter, or takes it away."""
    chosen = view.filter.statuses
    every = view.query(replace(view.filter, statuses=()))
    chips: list[dict[str, Any]] = [
        {"label": "All", "count": sum(counts.values()), "query": every, "chosen": not chosen}
    ]
    for status in view.filter.STATUSES:
        if counts.get(status) or status in chosen:
            chips.append({
                "label": ui.status_word(status), "status": status, "count": counts.get(status, 0),
                "query": view.query(view.filter.toggled(status)), "chosen": status in chosen,
                "icon": mark_safe(ui.status_icon(status)),
            })  # fmt: skip
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
        query = view.query(sort=second if view.sort == first else first)
        found[name] = {"label": label, "query": query, "state": state}
    return found


def _acts(listing: Listing, view: View, total: int) -> list[dict[str, str]]:
    """What can be done to all matches; nothing while the list is not narrowed."""
    if view.filter.is_empty or not total:
        return []
    query = view.filter.query()
    return [
        {"label": verb.label, "name": name, "url": f"{reverse(f'{listing.app}:bulk', args=[name])}?{query}"}
        for name, verb in listing.source.verbs.items()
    ]


def _under_way(request: HttpRequest, listing: Listing) -> list[dict[str, Any]]:
    """The person's bulk actions on these rows that have not ended, and what undoes some."""
    shown = (listing.source.name, undo.SOURCE.name)
    actions = BulkAction.objects.open().filter(owner=request.user.pk, target__in=shown).defer("rows")
    return [_progress(action, bulk.SOURCES[action.target]) for action in actions]


def _progress(action: BulkAction, source: bulk.Source) -> dict[str, Any]:
    verb = source.verbs.get(action.verb)  # none where another version of the program has begun it
    doing = verb.doing if verb else action.verb
    return {"action": action, "doing": doing, "counted": source.count(action.total)}
