"""What the list of workflows is narrowed to. It stands in the address, and what can be read there is all there is.

A criterion that cannot be read matches nothing and is named: left out, it would widen what a bulk action is done to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.http import QueryDict

from nyxcore import ui
from nyxcore.states import WORKFLOW_EDGES, Status
from workflows.querysets import WorkflowQuerySet

# The order in which the list offers its filters: what is at work or waits first.
STATUSES = (
    Status.RUNNING, Status.PAUSED, Status.FAILED, Status.PENDING, Status.COMPLETED, Status.CANCELLED,
)  # fmt: skip
assert set(STATUSES) == set(WORKFLOW_EDGES)
BIGGEST = 2**63 - 1
_ID = re.compile(r"#?([0-9]{1,19})", re.ASCII)


@dataclass(frozen=True)
class Filter:
    """Criteria, all of which a workflow has to meet."""

    statuses: tuple[str, ...] = ()
    q: str = ""
    owner: str = ""
    template: str = ""
    since: date | None = None  # started on that day (UTC) or later
    until: date | None = None  # started on that day or before
    over: Decimal | None = None  # USD spent
    wrong: Mapping[str, str] = field(default_factory=dict)  # name in the address: what is wrong with it

    @classmethod
    def read(cls, asked: QueryDict, user: Any) -> Filter:
        """The criteria of an address. Only staff can ask for an owner: everybody else has none but themselves."""
        wrong: dict[str, str] = {}
        words = set(filter(None, asked.getlist("status")))
        unknown = words - set(STATUSES)
        if unknown:
            wrong["status"] = f"There is no status “{_short(sorted(unknown)[0])}”."
        statuses = tuple(status.value for status in STATUSES if status in words)
        return cls(
            statuses=() if len(statuses) == len(STATUSES) else statuses,  # all of them is no criterion
            q=_text(asked, "q"),
            owner=_text(asked, "owner") if user.is_staff else "",
            template=_text(asked, "template"),
            since=_day(asked, "since", wrong),
            until=_day(asked, "until", wrong),
            over=_money(asked, "over", wrong),
            wrong=wrong,
        )

    @property
    def is_empty(self) -> bool:
        return not self.values()

    def apply(self, rows: WorkflowQuerySet) -> WorkflowQuerySet:
        """Those of `rows` that meet every criterion."""
        return self.apply_but_status(rows).filter(**({"status__in": self.statuses} if self.statuses else {}))

    def apply_but_status(self, rows: WorkflowQuerySet) -> WorkflowQuerySet:
        if self.wrong:
            return rows.none()
        if self.q:
            rows = rows.filter(self._text_matches())
        if self.owner:
            rows = rows.filter(owner__username=self.owner)
        if self.template:
            rows = rows.filter(template_slug=self.template)
        if self.since:
            rows = rows.filter(started_at__gte=_midnight(self.since))
        if self.until:
            rows = rows.filter(started_at__lt=_midnight(self.until) + timedelta(days=1))
        return rows.spent_over(self.over) if self.over is not None else rows

    def _text_matches(self) -> Q:
        words = (
            Q(name__icontains=self.q)
            | Q(template_slug__icontains=self.q)
            | Q(owner__username__icontains=self.q)
        )
        number = _ID.fullmatch(self.q)
        return words | Q(pk=int(number[1])) if number and int(number[1]) <= BIGGEST else words

    def values(self) -> list[tuple[str, str]]:
        """Names and values as in an address, in a fixed order."""
        single = {
            "q": self.q,
            "owner": self.owner,
            "template": self.template,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "over": f"{self.over:f}" if self.over is not None else "",
        }
        return [("status", status) for status in self.statuses] + [pair for pair in single.items() if pair[1]]

    def query(self) -> str:
        return urlencode(self.values())

    def toggled(self, status: str) -> Filter:
        """With this status among those asked for, or without it if it was."""
        kept = set(self.statuses) ^ {status}
        return replace(self, statuses=tuple(other.value for other in STATUSES if other in kept))

    def criteria(self) -> list[tuple[str, Filter]]:
        """Each criterion in words, with the filter that has it no more."""
        found = []
        if self.statuses:
            words = " or ".join(ui.status_word(status).lower() for status in self.statuses)
            found.append((f"status {words}", replace(self, statuses=())))
        if self.q:
            found.append((f"“{self.q}” in name, template, owner or number", replace(self, q="")))
        if self.owner:
            found.append((f"owner {self.owner}", replace(self, owner="")))
        if self.template:
            found.append((f"template {self.template}", replace(self, template="")))
        if self.since:
            found.append((f"started from {self.since:%-d %b %Y} on", replace(self, since=None)))
        if self.until:
            found.append((f"started until {self.until:%-d %b %Y}", replace(self, until=None)))
        if self.over is not None:
            found.append((f"cost over {ui.money(self.over)}", replace(self, over=None)))
        return found

    @property
    def said(self) -> str:
        """All criteria in one line."""
        return "; ".join(words for words, _without in self.criteria())


def _short(word: str) -> str:
    return ui.printable(word[:40])


def _text(asked: QueryDict, name: str) -> str:
    return asked.get(name, "").strip()[:200].replace("\x00", "")


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
        wrong[name] = f"“{_short(word)}” is no day; write it like 2026-11-23."
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
        wrong[name] = f"“{_short(word)}” is no amount; write it like 0.50."
        return None
    return amount
