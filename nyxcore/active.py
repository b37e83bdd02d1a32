"""What is running now, over all apps. Each app registers where its rows come from; the page and the count in the
navigation know no app."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import QuerySet

SHOWN = 100  # runs of each source


@dataclass(frozen=True)
class Doing:
    """One open step or unit of a run: what it is about, and who has it since when."""

    title: str
    url: str
    status: str
    word: str  # on the badge, where more is known than the status ("Queued")
    remark: str = ""
    worker: str = ""
    model: str = ""
    since: datetime | None = None
    needs_somebody: bool = False


@dataclass(frozen=True)
class ActiveRun:
    """One run, ready to be shown."""

    dom_id: str
    name: str
    url: str
    owner: str
    status: str
    needs_somebody: bool
    started_at: datetime | None
    done: int
    total: int
    tokens: int = 0
    cost: Decimal | None = None  # USD
    estimated: bool = False
    said: str = ""  # why it waits
    then: str = ""  # what helps
    doing: tuple[Doing, ...] = ()
    more: int = 0  # open steps beyond those
    kind: str = ""  # what sort of run, in the source's word


@dataclass(frozen=True)
class Source:
    """One app's runs."""

    name: str
    noun: str  # as people call one of its runs
    active: Callable[
        [Any], QuerySet[Any]
    ]  # those at work or paused that a user may see; counted on every page
    rows: Callable[[Any, int], Sequence[ActiveRun]]  # at most that many, those that need somebody first


@dataclass(frozen=True)
class Overview:
    """The page's content. `version` differs when what is shown does."""

    runs: tuple[ActiveRun, ...]
    total: int

    @property
    def needing(self) -> int:
        return sum(run.needs_somebody for run in self.runs)

    @property
    def hidden(self) -> int:
        return max(0, self.total - len(self.runs))

    @property
    def queued(self) -> bool:
        return any(doing.word == "Queued" for run in self.runs for doing in run.doing)

    @property
    def version(self) -> str:
        return hashlib.blake2b(repr((self.total, self.runs)).encode(), digest_size=9).hexdigest()


SOURCES: dict[str, Source] = {}


def register(source: Source) -> None:
    """Called by an app when it is ready."""
    SOURCES[source.name] = source


def count(user: Any) -> int:
    """How many runs are active that `user` may see; one statement, by the partial indexes over active rows."""
    first, *others = [source.active(user).order_by().values("pk") for source in SOURCES.values()]
    return first.union(*others, all=True).count()


def count_for(request: Any) -> int:
    """The same, asked once for each request."""
    known: int | None = getattr(request, "_nyxcore_active", None)
    if known is None:
        known = request._nyxcore_active = count(request.user)
    return known


def overview(request: Any) -> Overview:
    """Everything active that the reader may see; what needs somebody comes first."""
    found = ((source, source.rows(request.user, SHOWN)) for source in SOURCES.values())
    runs = [replace(run, kind=source.noun) for source, rows in found for run in rows]
    runs.sort(key=lambda run: not run.needs_somebody)  # stable: each source has its own order
    return Overview(tuple(runs), max(count_for(request), len(runs)))
