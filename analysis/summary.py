"""The overview of a run: its result with what it rests on, numbers, gaps, and what the repository is."""

from __future__ import annotations

from typing import Any

from django.db.models import Count
from django.http import HttpRequest

from analysis.analyzers import STATIC
from analysis.exports import gap_said
from analysis.models import AnalysisRun, Finding, FindingChange, RejectedFinding, TrackedState
from analysis.pages import Page
from analysis.plan import analyzers
from analysis.querysets import SEVERITIES
from analysis.rows import overview_of

GAPS_SHOWN = 50


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run = page.run
    shown = Finding.objects.filter(run=run).kept().credible().exclude(tracked__triage="dismissed")
    counted = dict(shown.order_by().values_list("severity").annotate(n=Count("pk")))
    states = FindingChange.objects.filter(run=run).order_by().values_list("state").annotate(n=Count("pk"))
    by_state = dict(states)
    return {
        "severities": [(word, counted.get(word, 0)) for word in SEVERITIES],
        "shown": sum(counted.values()),
        "refuted": Finding.objects.filter(run=run, verdict__verdict="refuted").kept().count(),
        "rejected": RejectedFinding.objects.filter(run=run).count(),
        "dismissed": Finding.objects.filter(run=run, tracked__triage="dismissed").kept().count(),
        "changes": [
            (word, label, by_state[word]) for word, label in TrackedState.choices if by_state.get(word)
        ],
        "gaps": [gap_said(gap) for gap in run.gaps[:GAPS_SHOWN]],
        "more_gaps": len(run.gaps) - GAPS_SHOWN,
        "overview": overview_of(run),
        "asked": asked(run),
    }


def asked(run: AnalysisRun) -> list[str]:
    """The analyzers that look at the run, the one without a model first."""
    return [STATIC.label, *(one.label for one in analyzers(run))]
