"""The units of a run as lines: what ran, what is open, reused or failed, and what helps."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, Count, IntegerField, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.http import HttpRequest

from analysis.analyzers import ANALYZERS
from analysis.models import Unit, UnitAttempt, UnitKind
from analysis.pages import Page
from nyxcore import ui
from nyxcore.states import NEXT_ACTION, Reason, Status

S = Status
PAGE_SIZE = 100
SHOWN = {
    "": ("All", Q()), "failed": ("Failed", Q(status=S.FAILED)), "running": ("Running", Q(status=S.RUNNING)),
    "pending": ("Open", Q(status=S.PENDING)), "completed": ("Completed", Q(status__in=(S.COMPLETED, S.SKIPPED))),
    "cancelled": ("Cancelled", Q(status=S.CANCELLED)), "reused": ("Reused", Q(reused=True)),
}  # fmt: skip


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run, asked = page.run, request.GET.get("show", "")
    asked = asked if asked in SHOWN else ""
    units = Unit.objects.filter(run=run)
    counts = units.order_by().aggregate(
        **{name or "all": Count("pk", filter=q) for name, (_, q) in SHOWN.items()}
    )
    total = counts[asked or "all"]
    last = max(1, -(-total // PAGE_SIZE))
    word = request.GET.get("page", "1")
    number = min(max(int(word) if word.isascii() and word.isdecimal() and len(word) < 6 else 1, 1), last)
    return {
        "units": _rows(units.filter(SHOWN[asked][1]), number), "unit_show": asked, "number": number, "last": last,
        "unit_chips": [
            {"name": name, "label": label, "count": counts[name or "all"], "here": name == asked}
            for name, (label, _) in SHOWN.items() if counts[name or "all"] or name in ("", asked)
        ],
    }  # fmt: skip


def _rows(units: Any, number: int) -> list[dict[str, Any]]:
    """One page of lines: what failed first, then what runs, then in their order."""
    first = Case(
        When(status=S.FAILED, then=Value(0)), When(status=S.RUNNING, then=Value(1)), default=Value(2),
        output_field=IntegerField(),
    )  # fmt: skip
    attempts = UnitAttempt.objects.filter(unit=OuterRef("pk")).order_by().values("unit")
    tokens = Sum(Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0))
    rows = units.annotate(
        first=first, tries=Subquery(attempts.annotate(n=Count("pk")).values("n")),
        cost=Subquery(attempts.annotate(n=Sum("cost")).values("n")),
        spent=Subquery(attempts.annotate(n=tokens).values("n")),
    )  # fmt: skip
    order = rows.order_by("first", "position", "pk").defer("result", "chunk")
    return [_line(unit) for unit in order[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]]


def _line(unit: Any) -> dict[str, Any]:
    # Of a document this is its slug, which may be the name of an analyzer too.
    analyzer = ANALYZERS.get(unit.analyzer) if unit.kind == UnitKind.CHUNK else None
    said = str(Reason(unit.reason).label) if unit.reason in Reason.values else unit.reason
    return {
        "unit": unit, "kind": str(UnitKind(unit.kind).label), "title": ui.printable(unit.title or unit.kind),
        "analyzer": analyzer.label if analyzer else "", "said": said, "then": NEXT_ACTION.get(unit.reason, ""),
    }  # fmt: skip
