"""What follows when many attempts have been lost at once: for each what the engine does for one, in a few statements.

The plain case (a step may be tried again, and no budget has to be kept) is done for all in one go. What is not plain
goes its usual way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from nyxcore.attempts import Result
from nyxcore.states import Reason, Status
from workflows import again, engine
from workflows.models import Cause, Workflow


def follow(workflows: Mapping[int, Workflow], ended: Sequence[Any]) -> None:
    """Move the steps of attempts that have failed as their `verdict` says, then settle their workflows, all locked."""
    tried = again.tries_of([attempt.step_id for attempt in ended], Cause.LOST)
    plain = []
    for attempt in ended:
        workflow = workflows[attempt.step.workflow_id]
        if _is_plain(workflow, attempt) and tried[attempt.step_id][1] < settings.NYXCORE_LOST_RETRIES:
            plain.append(attempt)
        else:
            engine.follow(workflow, attempt, Result(Status.FAILED, attempt.verdict))
    if plain:
        engine.open_after_loss(plain, {step: number for step, (number, _tries) in tried.items()})
    moved = sorted({attempt.step.workflow_id for attempt in ended})
    for pk, steps in engine.load(moved).items():
        engine.settle(workflows[pk], steps=steps)


def _is_plain(workflow: Workflow, attempt: Any) -> bool:
    return (
        attempt.verdict == Reason.LOST
        and workflow.budget is None
        and attempt.step.status == Status.RUNNING
        and attempt.branch == ""
    )
