"""What the list of workflows is narrowed to, beyond what every list of runs knows."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar, Self

from django.db.models import Q
from django.http import QueryDict

from nyxcore import filters, ui
from nyxcore.filters import short, text
from nyxcore.states import WORKFLOW_EDGES, Status

STATUSES = (
    Status.RUNNING, Status.PAUSED, Status.FAILED, Status.PENDING, Status.COMPLETED, Status.CANCELLED,
)  # fmt: skip
assert set(STATUSES) == set(WORKFLOW_EDGES)
BIGGEST = 2**63 - 1
_ID = re.compile(r"#?([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True)
class Filter(filters.RunFilter):
    """Criteria, all of which a workflow has to meet."""

    STATUSES: ClassVar[tuple[str, ...]] = tuple(status.value for status in STATUSES)
    SEARCHED: ClassVar[str] = "name, template, owner or number"

    template: str = ""
    since: date | None = None  # started on that day (UTC) or later
    until: date | None = None  # started on that day or before
    over: Decimal | None = None  # USD spent

    @classmethod
    def read_own(cls, asked: QueryDict, wrong: dict[str, str]) -> dict[str, Any]:
        return {
            "template": text(asked, "template"),
            "since": _day(asked, "since", wrong),
            "until": _day(asked, "until", wrong),
            "over": _money(asked, "over", wrong),
        }

    def apply_but_status(self, rows: Any) -> Any:
        rows = super().apply_but_status(rows)
        if self.template:
            rows = rows.filter(template_slug=self.template)
        if self.since:
            rows = rows.filter(started_at__gte=_midnight(self.since))
        if self.until:
            rows = rows.filter(started_at__lt=_midnight(self.until) + timedelta(days=1))
        return rows.spent_over(self.over) if self.over is not None else rows

    def text_matches(self) -> Q:
        words = (
            Q(name__icontains=self.q)
            | Q(template_slug__icontains=self.q)
            | Q(owner__username__icontains=self.q)
        )
        number = _ID.fullmatch(self.q)
        return words | Q(pk=int(number[1])) if number and int(number[1]) <= BIGGEST else words

    def single(self) -> dict[str, str]:
        return {
            **super().single(),
            "template": self.template,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "over": f"{self.over:f}" if self.over is not None else "",
        }

    def criteria(self) -> list[tuple[str, Self]]:
        found = super().criteria()
        if self.template:
            found.append((f"template {self.template}", replace(self, template="")))
        if self.since:
            found.append((f"started from {self.since:%-d %b %Y} on", replace(self, since=None)))
        if self.until:
            found.append((f"started until {self.until:%-d %b %Y}", replace(self, until=None)))
        if self.over is not None:
            found.append((f"cost over {ui.money(self.over)}", replace(self, over=None)))
        return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _day(asked: QueryDict, name: str, wrong: dict[str, str]) -> date | None:
    word = asked.get(name, "").strip()
    if not word:
        return None
    try:
        found = date.fromisoformat(word)
    except ValueError:
        found = None
    if found is None or not 1970 <= found.year <= 9000:
        wrong[name] = f"“{short(word)}” is no day; write it like 2026-11-23."
        return None
    return found


def _money(asked: QueryDict, name: str, wrong: dict[str, str]) -> Decimal | None:
    word = asked.get(name, "").strip().removeprefix("$")
    if not word:
        return None
    try:
        amount = Decimal(word)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount < 10**8:
        wrong[name] = f"“{short(word)}” is no amount; write it like 0.50."
        return None
    return amount
