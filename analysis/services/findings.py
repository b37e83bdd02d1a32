"""What a person says of a finding. It belongs to the tracked finding, so it holds in every later run."""

from __future__ import annotations

from typing import Any

from analysis.models import AnalysisRun, Dismissal, TrackedFinding, Triage
from analysis.services.base import Refused
from nyxcore import verbs
from nyxcore.calls import storable
from nyxcore.dbtime import Clock
from nyxcore.states import touch


def dismiss_finding(
    finding: TrackedFinding, *, by: Any, why: str, note: str = "", kind: str = "person"
) -> None:
    """Turn it down: a false positive, not to be fixed, or later."""
    if why not in Dismissal.values:
        raise Refused(f"A dismissal needs one of these reasons: {', '.join(map(str, Dismissal.labels))}.")
    _decide(finding, by, "dismiss", kind, triage=Triage.DISMISSED, dismissal=why, note=note)


def accept_finding(finding: TrackedFinding, *, by: Any, note: str = "", kind: str = "person") -> None:
    """Agree that it is a fault to be mended."""
    _decide(finding, by, "accept", kind, triage=Triage.ACCEPTED, note=note)


def reopen_finding(finding: TrackedFinding, *, by: Any, kind: str = "person") -> None:
    """Take back what was said of it."""
    _decide(finding, by, "reopen", kind, triage=Triage.OPEN)


def _lock(pk: int) -> TrackedFinding:
    return TrackedFinding.objects.select_for_update().get(pk=pk)


def _decide(
    finding: TrackedFinding,
    by: Any,
    action: str,
    kind: str,
    *,
    triage: str,
    dismissal: str = "",
    note: str = "",
) -> None:
    with verbs.verb(_lock, finding.pk, by, action, kind=kind, detail=storable(note)) as locked:
        if (locked.triage, locked.dismissal, locked.note) == (triage, dismissal, storable(note)):
            return  # pressed twice
        said = {"triage": triage, "dismissal": dismissal, "note": storable(note)}
        decided = (
            {"decided_by": by, "decided_at": Clock()} if triage else {"decided_by": None, "decided_at": None}
        )
        TrackedFinding.objects.filter(pk=locked.pk).update(**said, **decided)
        runs = [pk for pk in (locked.last_seen_id,) if pk]
        touch(AnalysisRun, runs)
    finding.refresh_from_db()
