"""What the list of analyses is narrowed to, beyond what every list of runs knows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from django.db.models import Q
from django.http import QueryDict

from nyxcore import filters
from nyxcore.states import ANALYSIS_EDGES, Status

STATUSES = (
    Status.SCANNING, Status.ANALYZING, Status.GENERATING, Status.WAITING, Status.PAUSED, Status.FAILED,
    Status.PENDING, Status.COMPLETED, Status.CANCELLED,
)  # fmt: skip
assert set(STATUSES) == set(ANALYSIS_EDGES)


@dataclass(frozen=True)
class Filter(filters.RunFilter):
    """Criteria, all of which an analysis has to meet."""

    STATUSES: ClassVar[tuple[str, ...]] = tuple(status.value for status in STATUSES)
    SEARCHED: ClassVar[str] = "name or source"

    source: str = ""  # a source_key

    @classmethod
    def read_own(cls, asked: QueryDict, wrong: dict[str, str]) -> dict[str, Any]:
        return {"source": filters.text(asked, "source")}

    def apply_but_status(self, rows: Any) -> Any:
        rows = super().apply_but_status(rows)
        return rows.filter(source_key=self.source) if self.source else rows

    def text_matches(self) -> Q:
        return Q(name__icontains=self.q) | Q(location__icontains=self.q)

    def single(self) -> dict[str, str]:
        return {**super().single(), "source": self.source}

    def unseen(self) -> list[tuple[str, str]]:
        return [*super().unseen(), *([("source", self.source)] if self.source else [])]

    def criteria(self) -> list[tuple[str, Self]]:
        found = super().criteria()
        return [*found, ("one source", replace(self, source=""))] if self.source else found
