"""An analysis, what it read, asked and found. What must always hold is enforced by the database here.

The composite key from Unit to AnalysisRun and storage settings stand in the second migration.
"""

from analysis.models.documents import Document, DocumentPage
from analysis.models.findings import (
    Dismissal,
    Finding,
    FindingChange,
    RejectedFinding,
    TrackedFinding,
    TrackedState,
    Triage,
    Verdict,
)
from analysis.models.runs import AnalysisRun, SourceFile, SourceKind, Upload
from analysis.models.units import PAID, Unit, UnitAttempt, UnitKind

__all__ = [
    "PAID",
    "AnalysisRun",
    "Dismissal",
    "Document",
    "DocumentPage",
    "Finding",
    "FindingChange",
    "RejectedFinding",
    "SourceFile",
    "SourceKind",
    "TrackedFinding",
    "TrackedState",
    "Triage",
    "Unit",
    "UnitAttempt",
    "UnitKind",
    "Upload",
    "Verdict",
]
