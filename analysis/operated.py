"""The verbs of an operator on analyses, for one and for many, as the admin offers them; and what undoes an act."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis import engine, operating, services
from analysis.models import AnalysisRun
from nyxcore import operated
from nyxcore.states import Status
from nyxcore.undo import Way

S = Status
ACTIVE = (S.SCANNING, S.ANALYZING, S.GENERATING, S.WAITING)
AGAIN = "A call that was stopped is then paid again."
FAILING = (
    "Each of these analyses ends now as failed: running calls are stopped, what was found is kept. "
    f"It can be undone by a resume. {AGAIN}"
)
CANCELLING = (
    "Each of these analyses ends now: running calls are stopped, what was found is kept, every unit that is not done "
    f"becomes cancelled. It can be undone by a resume. {AGAIN}"
)
RELEASING = (
    "The running attempts end, though their workers may still live, and new ones wait for any worker. What the calls "
    "have cost so far is spent, and they are paid again. This cannot be undone."
)
RUNS = operated.source(
    AnalysisRun, "analysis", "analyses",
    operated.verb(AnalysisRun, "mark_failed", operated.MARK_FAILED, operating.mark_failed, FAILING),
    operated.verb(AnalysisRun, "retry", operated.RETRY, services.resume_analysis),
    operated.verb(AnalysisRun, "release", operated.RELEASE, operating.release_analysis, RELEASING),
    operated.verb(AnalysisRun, "pause", operated.PAUSE, services.pause_analysis),
    operated.verb(AnalysisRun, "cancel", operated.CANCEL, services.cancel_analysis, CANCELLING),
)  # fmt: skip


def _back(service: Callable[..., Any], *statuses: Status) -> Callable[[int, Any], None]:
    resumes = service is services.resume_analysis
    return operated.back(AnalysisRun, engine.lock, service, *statuses, resumes=resumes)


WAYS: dict[str, Way | str] = {
    "pause": Way(
        "Resume", "The analysis goes on where it stood.", _back(services.resume_analysis, *ACTIVE, S.PAUSED)
    ),
    "mark failed": Way(
        "Resume", f"The analysis goes on: what failed runs again, what is completed is kept. {AGAIN}",
        _back(services.resume_analysis, S.FAILED),
    ),
    "cancel": Way(
        "Resume", f"The analysis goes on: what was cancelled stands in line again. {AGAIN}",
        _back(services.resume_analysis, S.CANCELLED),
    ),
    "resume": Way(
        "Pause", "Nothing new starts; what has begun since ends normally.", _back(services.pause_analysis, *ACTIVE)
    ),
    "start": "A start cannot be undone: what has run stays. Cancel the analysis to stop it.",
    "release": "A release cannot be undone: the attempt has ended, and its next one is queued or at work already.",
    "delete": "What was deleted is gone from the database. A back-up may have it.",
}  # fmt: skip
