"""What the list of analyses is narrowed to; it stands in the address.

A criterion that cannot be read matches nothing: left out, it would widen what a bulk action is done to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import QueryDict

from analysis.models import AnalysisRun
from nyxcore import ui
from nyxcore.states import ANALYSIS_EDGES, Status

# The order in which the list offers them: what is at work or waits first.
STATUSES = (
    Status.SCANNING, Status.ANALYZING, Status.GENERATING, Status.WAITING, Status.PAUSED, Status.FAILED,
    Status.PENDING, Status.COMPLETED, Status.CANCELLED,
)  # fmt: skip
assert set(STATUSES) == set(ANALYSIS_EDGES)


@dataclass(frozen=True)
class Filter:
    """Criteria, all of which an analysis has to meet."""

    statuses: tuple[str, ...] = ()
    q: str = ""
    owner: str = ""
    source: str = ""  # a source_key
    wrong: str = ""  # what is wrong with the address

    @classmethod
    def read(cls, asked: QueryDict, user: Any) -> Filter:
        """The criteria of an address. Only staff can ask for an owner: everybody else has none but themselves."""
        words = set(filter(None, asked.getlist("status")))
        unknown = sorted(words - set(STATUSES))
        return cls(
            statuses=tuple(status.value for status in STATUSES if status in words),
            q=_text(asked, "q"),
            owner=_text(asked, "owner") if user.is_staff else "",
            source=_text(asked, "source"),
            wrong=f"There is no status “{ui.printable(unknown[0][:40])}”." if unknown else "",
        )

    def apply(self, rows: QuerySet[AnalysisRun]) -> QuerySet[AnalysisRun]:
        """Those of `rows` that meet every criterion."""
        if self.wrong:
            return rows.none()
        if self.statuses:
            rows = rows.filter(status__in=self.statuses)
        if self.q:
            rows = rows.filter(Q(name__icontains=self.q) | Q(location__icontains=self.q))
        if self.owner:
            rows = rows.filter(owner__username=self.owner)
        return rows.filter(source_key=self.source) if self.source else rows

    def query(self) -> str:
        """The criteria as in an address, in a fixed order."""
        single = [("q", self.q), ("owner", self.owner), ("source", self.source)]
        return urlencode([("status", status) for status in self.statuses] + [one for one in single if one[1]])

    @property
    def said(self) -> str:
        """All criteria in one line."""
        told = []
        if self.statuses:
            told.append(f"status {' or '.join(ui.status_word(one).lower() for one in self.statuses)}")
        if self.q:
            told.append(f"“{self.q}” in name or source")
        if self.owner:
            told.append(f"owner {self.owner}")
        return "; ".join([*told, *(["one source"] if self.source else [])])


def _text(asked: QueryDict, name: str) -> str:
    return asked.get(name, "").strip()[:200].replace("\x00", "")
