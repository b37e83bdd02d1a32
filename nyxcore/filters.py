"""What a list of runs is narrowed to. It stands in the address, and what can be read there is all there is.

A criterion that cannot be read matches nothing and is named: left out, it would widen what a bulk action is done to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self
from urllib.parse import urlencode

from django.db.models import Q
from django.http import QueryDict

from nyxcore import ui


@dataclass(frozen=True)
class RunFilter:
    """Criteria, all of which a run has to meet: those of every app. An app adds its own in a subclass."""

    STATUSES: ClassVar[tuple[str, ...]]  # in the order of the list: what is at work or waits first
    SEARCHED: ClassVar[str]  # where the words are looked for, as people say it

    statuses: tuple[str, ...] = ()
    q: str = ""
    owner: str = ""
    wrong: Mapping[str, str] = field(default_factory=dict)  # name in the address: what is wrong with it

    @classmethod
    def read(cls, asked: QueryDict, user: Any) -> Self:
        """The criteria of an address. Only staff can ask for an owner: everybody else has none but themselves."""
        wrong: dict[str, str] = {}
        words = set(filter(None, asked.getlist("status")))
        unknown = sorted(words - set(cls.STATUSES))
        if unknown:
            wrong["status"] = f"There is no status “{short(unknown[0])}”."
        chosen = tuple(status for status in cls.STATUSES if status in words)
        return cls(
            statuses=() if len(chosen) == len(cls.STATUSES) else chosen,  # all of them is no criterion
            q=text(asked, "q"),
            owner=text(asked, "owner") if user.is_staff else "",
            wrong=wrong,
            **cls.read_own(asked, wrong),
        )

    @classmethod
    def read_own(cls, asked: QueryDict, wrong: dict[str, str]) -> dict[str, Any]:
        """The criteria that only this app has; what is wrong with them goes into `wrong`."""
        return {}

    @property
    def is_empty(self) -> bool:
        return not self.values()

    def apply(self, rows: Any) -> Any:
        """Those of `rows` that meet every criterion."""
        return self.apply_but_status(rows).filter(**({"status__in": self.statuses} if self.statuses else {}))

    def apply_but_status(self, rows: Any) -> Any:
        if self.wrong:
            return rows.none()
        if self.q:
            rows = rows.filter(self.text_matches())
        return rows.filter(owner__username=self.owner) if self.owner else rows

    def text_matches(self) -> Q:
        """Which rows have the words of the search."""
        raise NotImplementedError

    def single(self) -> dict[str, str]:
        """Criteria that stand in the address once, in a fixed order; "" is none."""
        return {"q": self.q, "owner": self.owner}

    def values(self) -> list[tuple[str, str]]:
        """Names and values as in an address, in a fixed order."""
        return [("status", status) for status in self.statuses] + [
            pair for pair in self.single().items() if pair[1]
        ]

    def unseen(self) -> list[tuple[str, str]]:
        """Those of the values that have no field in the form, so it must carry them along."""
        return [("status", status) for status in self.statuses]

    def query(self) -> str:
        return urlencode(self.values())

    def toggled(self, status: str) -> Self:
        """With this status among those asked for, or without it if it was."""
        kept = set(self.statuses) ^ {status}
        return replace(self, statuses=tuple(other for other in self.STATUSES if other in kept))

    def criteria(self) -> list[tuple[str, Self]]:
        """Each criterion in words, with the filter that has it no more."""
        found = []
        if self.statuses:
            words = " or ".join(ui.status_word(status).lower() for status in self.statuses)
            found.append((f"status {words}", replace(self, statuses=())))
        if self.q:
            found.append((f"“{self.q}” in {self.SEARCHED}", replace(self, q="")))
        if self.owner:
            found.append((f"owner {self.owner}", replace(self, owner="")))
        return found

    @property
    def said(self) -> str:
        """All criteria in one line."""
        return "; ".join(words for words, _without in self.criteria())


def short(word: str) -> str:
    return ui.printable(word[:40])


def text(asked: QueryDict, name: str) -> str:
    return asked.get(name, "").strip()[:200].replace("\x00", "")
