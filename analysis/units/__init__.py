"""The kinds of units by name."""

from __future__ import annotations

from analysis.models import UnitKind
from analysis.units.base import Work
from analysis.units.chunk import ChunkWork
from analysis.units.document import DocumentWork
from analysis.units.merge import MergeWork
from analysis.units.overview import OverviewWork
from analysis.units.report import ReportWork
from analysis.units.source import SourceWork
from analysis.units.verify import VerifyWork

WORKS: dict[str, Work] = {
    UnitKind.SOURCE: SourceWork(),
    UnitKind.OVERVIEW: OverviewWork(),
    UnitKind.CHUNK: ChunkWork(),
    UnitKind.MERGE: MergeWork(),
    UnitKind.VERIFY: VerifyWork(),
    UnitKind.DOCUMENT: DocumentWork(),
    UnitKind.REPORT: ReportWork(),
}
FREE = tuple(str(kind) for kind, work in WORKS.items() if not work.paid)
