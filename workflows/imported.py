"""Rows of workflows that no rule allows, as a dump brings them: which these are, and what rests on a broken answer."""

from __future__ import annotations

from typing import Any

from nyxcore import attempts
from nyxcore.imported import Imported, Rules
from nyxcore.states import OPEN_ATTEMPT, Reason, Status, transition, transition_all
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


class ImportedWorkflows(Imported):
    attempts = StepAttempt
    items = Step
    runs = Workflow
    item = "step"
    run = "workflow"
    title = "i.title"
    whole = False  # beside a step that fails others may stream on
    rules = Rules(
        started=(S.RUNNING, S.PAUSED, S.COMPLETED, S.FAILED),
        item_started=(S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF),
        active=(S.RUNNING, S.PAUSED),
        at_work=(S.RUNNING, S.WAITING),
        done=tuple(DONE),
        paid=("llm",),
    )

    def retract(self, run: Any, broken: list[tuple[Any, Status, str]]) -> None:
        """The steps fail or are cut; those that rest on them stand in line again, as before a rerun."""
        if run.status == S.COMPLETED:
            self.fail(run)
        for step, status, reason in broken:
            transition(step, S.COMPLETED, status, reason=reason)
        below = _resting_on(run, {step.key for step, _status, _reason in broken})
        opened = StepAttempt.objects.filter(step__in=below, status__in=OPEN_ATTEMPT)
        for status, pks in attempts.by_status(opened).items():
            transition_all(StepAttempt, pks, status, S.FAILED, reason=Reason.STUCK)
        steps = Step.objects.filter(pk__in=below).exclude(status__in=(S.PENDING, S.SKIPPED))
        for status, pks in attempts.by_status(steps).items():
            transition_all(Step, pks, status, S.PENDING, output="")


def _resting_on(run: Workflow, keys: set[str]) -> list[int]:
    """The steps that need one of these, directly or through others."""
    rows = list(Step.objects.filter(workflow=run).values_list("pk", "key", "needs"))
    below: dict[int, str] = {}
    while True:
        new = {
            pk: key
            for pk, key, needs in rows
            if pk not in below and key not in keys and (keys | set(below.values())).intersection(needs)
        }
        if not new:
            return sorted(below)
        below |= new
