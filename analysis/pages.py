"""What the page of an analysis says in its header, banner, tabs and strip of phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum
from django.urls import reverse
from django.utils import timezone

from analysis.decide import ORDER
from analysis.models import AnalysisRun, Finding, SourceKind, Unit, UnitAttempt, UnitKind
from analysis.querysets import DONE
from nyxcore import ui
from nyxcore.states import NEXT_ACTION, Reason, Status
from nyxcore.words import counted

S = Status
LIVE = (S.SCANNING, S.ANALYZING, S.GENERATING)
OPEN = (S.PENDING, *LIVE, S.WAITING, S.PAUSED)
TABS = {
    "overview": "Overview", "coverage": "Coverage", "findings": "Findings", "documents": "Documents",
    "units": "Units", "settings": "Settings",
}  # fmt: skip
PHASES = {
    "source": ("Source", (UnitKind.SOURCE,)),
    "overview": ("Overview", (UnitKind.OVERVIEW,)),
    "chunks": ("Findings", (UnitKind.CHUNK, UnitKind.MERGE)),
    "verify": ("Second look", (UnitKind.VERIFY,)),
    "documents": ("Documents", (UnitKind.DOCUMENT,)),
    "report": ("Report", (UnitKind.REPORT,)),
}
assert {kind for _label, kinds in PHASES.values() for kind in kinds} == set(ORDER)


@dataclass(frozen=True)
class Action:
    """One button of the header."""

    verb: str
    label: str
    icon: str
    css: str = ""
    confirm: str = ""
    url: str = ""


@dataclass(frozen=True)
class Phase:
    """One pill of the strip: how many of its units have ended, and how it stands."""

    name: str
    label: str
    total: int = 0
    done: int = 0
    failed: int = 0
    running: int = 0

    @property
    def status(self) -> str:
        if self.running:
            return S.RUNNING
        if self.total and self.done + self.failed == self.total:
            return S.FAILED if self.failed else S.COMPLETED
        return S.PENDING

    @property
    def said(self) -> str:
        """Its state in words, for those who do not see the colour."""
        word = ui.status_word(self.status).lower()
        gaps = f", {self.failed:,} failed" if self.failed else ""
        return f"{word}: {self.done:,} of {self.total:,} done{gaps}" if self.total else "not planned yet"


@dataclass
class Page:
    """A run with its counts, and what its header and banner say."""

    run: AnalysisRun
    now: datetime
    phases: Sequence[Phase] = ()
    units_version: int = 0  # grows with each change of a unit
    found: int = 0
    tokens: int = 0
    cost: Decimal | None = None
    estimated: bool = False
    queued: int = 0  # attempts that wait for a worker

    @property
    def title(self) -> str:
        """The state comes first, so that a row of browser tabs tells the states."""
        return f"{ui.status_word(self.run.status)}: {ui.printable(self.run.name)} · nyxcore"

    @property
    def is_open(self) -> bool:
        return self.run.status in OPEN

    @property
    def is_live(self) -> bool:
        return self.run.status in LIVE

    @property
    def done(self) -> int:
        return sum(phase.done for phase in self.phases)

    @property
    def total(self) -> int:
        return sum(phase.total for phase in self.phases)

    @property
    def actions(self) -> list[Action]:
        """The header's buttons that make sense now; the services decide again."""
        status, held = self.run.status, self.run.is_held
        found = []
        if status == S.PENDING:
            found.append(Action("start", "Start", "play", "primary"))
        if status in (S.FAILED, S.CANCELLED, S.PAUSED):
            found.append(Action("resume", "Resume", "play", "primary"))
        if status == S.COMPLETED and self.run.gaps:
            gaps = len(self.run.gaps)
            found.append(Action("retry", f"Retry {counted(gaps, 'gap')}", "rotate-ccw", "primary"))
        if status in LIVE and not held:
            found.append(Action("pause", "Pause", "pause"))
        if self.is_open and status != S.PENDING:
            kept = (
                "Running calls are stopped. What was found so far is kept, and the analysis can be resumed."
            )
            found.append(Action("cancel", "Cancel", "x", confirm=f"Cancel this analysis? {kept}"))
        return [replace(one, url=reverse(f"analysis:{one.verb}", args=[self.run.pk])) for one in found]

    @property
    def may_go_again(self) -> bool:
        """Whether "Analyse again" is offered: the run has ended."""
        return not self.is_open

    @property
    def needs_upload(self) -> bool:
        return self.run.source_kind == SourceKind.UPLOAD

    @property
    def banner(self) -> dict[str, str] | None:
        """What the whole run waits for, and what helps; None while it goes on by itself."""
        run = self.run
        if run.held_by_id and run.held_by:
            return _banner(S.PAUSED, f"Paused by {run.held_by.username}.", "Resume it to go on.")
        if run.status == S.PENDING:
            return _banner(S.PENDING, "Not started yet.", "Starting reads the source, which costs nothing.")
        if run.status in (S.PAUSED, S.WAITING, S.FAILED):
            return _banner(run.status, _said(run), NEXT_ACTION.get(run.reason, "Resume it to go on."))
        if run.status == S.COMPLETED and run.gaps:
            said = f"Completed with {counted(len(run.gaps), 'gap')}."
            return _banner(S.CUT_OFF, said, "What failed is listed under Units. The rest is complete.")
        return None


def _banner(status: str, said: str, then: str) -> dict[str, str]:
    return {"status": status, "said": said, "then": then}


def _said(run: AnalysisRun) -> str:
    """Why it stands still; a failed source says itself what is wrong with it."""
    if run.reason == Reason.SOURCE:
        told = (
            UnitAttempt.objects.filter(unit__run=run, unit__kind=UnitKind.SOURCE, status=S.FAILED)
            .order_by("-pk")
            .values_list("error", flat=True)
            .first()
        )
        if told:
            return ui.printable(told)
    return str(Reason(run.reason).label) if run.reason in Reason.values else "This analysis stands still."


def load(run: AnalysisRun) -> Page:
    """The counts of a run, in three queries whatever its size."""
    units = Unit.objects.filter(run=run).order_by()
    counted = units.values("kind").annotate(
        total=Count("pk"),
        done=Count("pk", filter=Q(status__in=DONE)),
        failed=Count("pk", filter=Q(status=S.FAILED)),
        running=Count("pk", filter=Q(status=S.RUNNING)),
        versions=Sum("version"),
    )
    by_kind = {row["kind"]: row for row in counted}
    rows = by_kind.values()
    attempts = UnitAttempt.objects.filter(unit__run=run).aggregate(
        cost=Sum("cost"), input=Sum("input_tokens"), output=Sum("output_tokens"),
        guessed=Count("pk", filter=Q(cost_estimated=True)), queued=Count("pk", filter=Q(status=S.PENDING)),
    )  # fmt: skip
    return Page(
        run=run, now=timezone.now(), phases=_phases(by_kind),
        units_version=units_version(run, sum(row["versions"] for row in rows), sum(row["total"] for row in rows)),
        found=Finding.objects.filter(run=run).kept().count(),
        tokens=(attempts["input"] or 0) + (attempts["output"] or 0), cost=attempts["cost"],
        estimated=bool(attempts["guessed"]), queued=attempts["queued"],
    )  # fmt: skip


def units_version(run: AnalysisRun, versions: int | None, total: int) -> int:
    """A number that grows whenever a unit of the run changes, comes or goes: units go only when the run changes."""
    return run.version * 1_000_000 + (versions or 0) + total


def units_version_of(run: AnalysisRun) -> int:
    """The same, read by itself."""
    found = Unit.objects.filter(run=run).order_by().aggregate(versions=Sum("version"), total=Count("pk"))
    return units_version(run, found["versions"], found["total"])


def _phases(by_kind: Mapping[str, Mapping[str, Any]]) -> list[Phase]:
    found = []
    for name, (label, kinds) in PHASES.items():
        rows = [by_kind[kind] for kind in kinds if kind in by_kind]
        counts = {key: sum(row[key] for row in rows) for key in ("total", "done", "failed", "running")}
        if counts["total"] or name != "documents":
            found.append(Phase(name, label, **counts))
    return found
