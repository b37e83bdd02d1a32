"""Rows of analyses that no rule allows, as a dump brings them: which these are, and what rests on a broken answer."""

from __future__ import annotations

from typing import Any

from analysis import engine
from analysis.models import PAID, AnalysisRun, Unit, UnitAttempt
from nyxcore.imported import Imported, Rules
from nyxcore.states import Reason, Status, touch, transition

S = Status


class ImportedAnalyses(Imported):
    attempts = UnitAttempt
    items = Unit
    runs = AnalysisRun
    item = "unit"
    run = "run"
    title = "coalesce(nullif(i.title, ''), i.kind)"
    whole = True  # a unit that fails is a gap, and what would follow from it must not be left out unseen
    rules = Rules(
        started=(*engine.LIVE, S.COMPLETED),
        item_started=(S.RUNNING, S.COMPLETED),
        active=engine.LIVE,
        at_work=(S.RUNNING,),
        done=(S.COMPLETED, S.SKIPPED, S.FAILED),
        paid=tuple(PAID),
    )

    def retract(self, run: Any, broken: list[tuple[Any, Status, str]]) -> None:
        """The units fail: in a completed run they are gaps, which a person retries."""
        for unit, _status, reason in broken:
            transition(unit, S.COMPLETED, S.FAILED, reason=reason)
        if run.status == S.COMPLETED:
            run.gaps, run.reason = engine.gaps(run), Reason.GAPS
            run.save(update_fields=["gaps", "reason"])
            touch(AnalysisRun, [run.pk])
