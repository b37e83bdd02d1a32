"""What can be done to all analyses that match a filter."""

from __future__ import annotations

from django.db.models import Q

from analysis import engine, services
from analysis.filters import Filter
from analysis.models import AnalysisRun
from nyxcore.bulk_acts import Acts, Rule
from nyxcore.states import Status

S = Status
AT_WORK = (S.SCANNING, S.ANALYZING, S.GENERATING)
GAPS = "gaps"  # completed, though not everything could be looked at

RULES = {
    "cancel": Rule(
        services.cancel_analysis,
        {
            **dict.fromkeys(AT_WORK, "stopped now; what was found so far is kept, and it can be resumed"),
            S.WAITING: "ended before anything is spent",
            S.PAUSED: "ended; what was found so far is kept, and it can be resumed",
            S.PENDING: "cancelled before its source is read",
        },
        dict.fromkeys((S.COMPLETED, S.FAILED, S.CANCELLED), "has ended already"),
    ),
    "retry": Rule(
        services.resume_analysis,
        dict.fromkeys(
            (S.FAILED, S.CANCELLED, S.PAUSED), "goes on; what is completed is kept and not paid twice"
        ),
        {
            GAPS: "is completed with gaps; retry those on its page",
            **dict.fromkeys(AT_WORK, "is at work"),
            S.WAITING: "waits for somebody to confirm it",
            S.PENDING: "was not started yet",
            S.COMPLETED: "is completed",
        },
    ),
    "delete": Rule(
        services.delete_analysis,
        dict.fromkeys(
            (S.FAILED, S.COMPLETED, S.CANCELLED, S.PENDING),
            "removed for good, with findings, documents and costs",
        ),
        dict.fromkeys(services.LIVE, "is live; cancel it first"),
    ),
}
ACTS = Acts(
    "analysis", "analysis", "analyses", AnalysisRun, engine.lock, Filter, "status, name or source", RULES,
    {GAPS: (S.COMPLETED, ~Q(gaps=[]))},
)  # fmt: skip
SOURCE = ACTS.source("analysis")
