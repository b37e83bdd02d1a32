"""A run as others take it along: SARIF, JSON and a Markdown report, each together with the coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from django.db.models import Sum

from analysis import report, sarif
from analysis.analyzers import ANALYZERS, STATIC
from analysis.models import (
    AnalysisRun,
    Dismissal,
    Finding,
    FindingChange,
    RejectedFinding,
    SourceKind,
    Triage,
    Unit,
    UnitAttempt,
)
from analysis.plan import analyzers
from analysis.report import Coverage, Result
from analysis.rows import checked_of, manifest
from analysis.sarif import Reported, Source
from nyxcore import ui
from nyxcore.llm import is_practice
from nyxcore.states import Status

S = Status


def as_sarif(run: AnalysisRun) -> dict[str, Any]:
    """A SARIF 2.1.0 log."""
    found = result_of(run)
    return sarif.to_sarif(
        found.findings,
        analyzers=[one for one in ANALYZERS.values() if one.label in found.coverage.analyzers],
        source=found.source,
        unread=found.coverage.skipped,
        gaps=found.coverage.gaps,
    )


def as_json(run: AnalysisRun) -> dict[str, Any]:
    """Everything, for programs."""
    return report.to_json(result_of(run))


def as_markdown(run: AnalysisRun) -> str:
    """The report for people."""
    return report.to_markdown(result_of(run))


def result_of(run: AnalysisRun) -> Result:
    """The run as its exports need it."""
    findings = reported(run)
    attempts = UnitAttempt.objects.filter(unit__run=run)
    cost = attempts.aggregate(sum=Sum("cost"))["sum"]
    models = attempts.exclude(model="").order_by("model").values_list("model", flat=True).distinct()
    return Result(
        title=f"Analysis of {run.name}",
        source=Source(run.location if run.source_kind == SourceKind.GIT else "", run.commit, run.ref),
        coverage=_coverage(run, findings),
        findings=findings,
        models=list(models),
        cost=ui.money(cost) if cost is not None else "",
        practice=is_practice(),
    )


def _coverage(run: AnalysisRun, findings: Sequence[Reported]) -> Coverage:
    units = Unit.objects.filter(run=run).exclude(kind__in=("source", "merge", "report"))
    return Coverage(
        files=manifest(run),
        analyzers=[STATIC.label, *(one.label for one in analyzers(run))],
        units=units.count(),
        done=units.filter(status__in=(S.COMPLETED, S.SKIPPED)).count(),
        gaps=[gap_said(gap) for gap in run.gaps],
        notes=run.coverage.get("notes", ()),
        rejected=RejectedFinding.objects.filter(run=run).count(),
        refuted=sum(one.verdict == "refuted" for one in findings),
    )


def gap_said(gap: dict[str, Any]) -> str:
    """One sentence on a gap: what was not looked at, by whom, and why."""
    what = gap["title"] or ", ".join(gap["paths"]) or gap["kind"]
    by = f" ({gap['analyzer']})" if gap["analyzer"] else ""
    return f"{what}{by}: {gap['said']}"


def reported(run: AnalysisRun) -> list[Reported]:
    """The findings that stay, with what became of them; those that others stand for are further places of these."""
    rows = (
        Finding.objects.filter(run=run)
        .select_related("verdict", "tracked")
        .order_by("path", "start_line", "pk")
    )
    states = dict(
        FindingChange.objects.filter(run=run, finding__isnull=False).values_list("finding", "state")
    )
    places: dict[int, list[tuple[str, int, int]]] = {}
    kept: list[Finding] = []
    for row in rows:
        if row.kept_as_id is None:
            kept.append(row)
        else:
            places.setdefault(row.kept_as_id, []).append((row.path, row.start_line, row.end_line))
    return [_reported(row, states.get(row.pk, ""), places.get(row.pk, [])) for row in kept]


def _reported(row: Finding, state: str, places: Sequence[tuple[str, int, int]]) -> Reported:
    one = checked_of(row)
    own = (row.path, row.start_line, row.end_line)
    further = tuple(dict.fromkeys(place for place in (*one.locations, *places) if place != own))
    tracked = row.tracked
    dismissed = ""
    if tracked is not None and tracked.triage == Triage.DISMISSED:
        dismissed = tracked.note or str(Dismissal(tracked.dismissal).label)
    verdict = row.verdict.verdict if hasattr(row, "verdict") else ""
    return Reported(replace(one, locations=further), verdict, state, dismissed)
