"""What has come to the findings since the page was made: told beside them, and put among them when asked for.

A list that is being read does not move by itself, so the page keeps what it shows; this counts what it lacks.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest

from analysis import findings
from analysis.findings import Filter, Line
from analysis.pages import Page


@dataclass(frozen=True)
class Seen:
    """What a page shows: up to which finding, and a sum over all that others may change of them."""

    newest: int
    stamp: int

    @classmethod
    def of(cls, everything: Sequence[Line], chosen: Filter) -> Seen:
        # What the reader says of a finding changes its line at once; it is no news.
        kept = replace(chosen, triage="")
        facts = "|".join(
            f"{line.pk}{line.verdict}{line.state}{line.severity}" for line in everything if kept.meets(line)
        )
        return cls(max((line.pk for line in everything), default=0), zlib.crc32(facts.encode()))

    @classmethod
    def read(cls, request: HttpRequest) -> Seen:
        words = [request.GET.get(name, "") for name in ("newest", "stamp")]
        newest, stamp = (
            int(word) if word.isascii() and word.isdecimal() and len(word) < 19 else 0 for word in words
        )
        return cls(newest, stamp)

    def query(self) -> str:
        return urlencode({"newest": self.newest, "stamp": self.stamp})


def tab(request: HttpRequest, page: Page) -> dict[str, Any]:
    """The list of findings, and what it shows."""
    found = findings.context(request, page)
    return found | {"seen": Seen.of(found["everything"], found["filter"]).query()}


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    """How many findings have come under this filter, and whether anything else has changed."""
    chosen, seen = Filter.read(request.GET), Seen.read(request)
    everything = findings.everything(page.run.pk, chosen)
    came = sum(line.pk > seen.newest for line in findings.shown(everything, chosen))
    changed = Seen.of(everything, chosen).stamp != seen.stamp
    return {"seen": seen.query(), "came": came, "changed": changed, "query": chosen.query()}
