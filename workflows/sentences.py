"""The sentences of `explain` for a workflow and its steps: where a row stands, and what would move it. What every app
has alike stands in nyxcore.telling.

Nothing here asks the database, so every pair of status and reason can be tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nyxcore import telling, ui
from nyxcore.states import Status
from nyxcore.telling import MOVES, Moment, clock, tried, word
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


# --- the run ---


def run(workflow: Workflow, moment: Moment) -> str:
    """Where a run stands, since when, why, and who paused it."""
    why = ui.cause(workflow.reason) if workflow.status in (S.PAUSED, S.FAILED, S.CANCELLED) else ""
    return telling.run("Workflow", workflow, why, moment)


def run_moves(workflow: Workflow, moment: Moment, *, queued: bool, waits: bool = False) -> str:
    """What would move a run. `queued`: something waits for a worker; `waits`: a step waits for a decision."""
    if workflow.status == S.PENDING:
        return telling.STARTED
    if workflow.status == S.COMPLETED:
        return "It is done; run it again from any step if you like."
    beside = " One of its steps needs somebody meanwhile." if waits else ""
    return telling.run_moves(workflow, moment, queued=queued, beside=beside)


# --- a step ---


def step(row: Step, attempt: Any, unmet: Sequence[Step], workflow: Workflow, moment: Moment) -> str:
    """Where a step stands, by its newest attempt (None: it never ran) and the steps that it waits for."""
    head = f"Step {row.position} “{row.title}” is {word(row.status)}"
    if row.status == S.PENDING:
        return f"{head}: {_pending(unmet, workflow)}"
    if row.status in DONE:
        return f"{head} since {clock(row.finished_at)}{_passed(row)}."
    if attempt is None:
        return f"{head}; it never ran." if row.status == S.CANCELLED else f"{head}, though it has no attempt."
    if row.status in (S.RUNNING, S.WAITING) or attempt.status == S.PENDING or not row.reason:
        return f"{head}: {tried(attempt, moment)}"
    why = "" if row.reason == attempt.reason else f" {ui.cause(row.reason)}"
    return f"{head}: {tried(attempt, moment)}{why}"


def _pending(unmet: Sequence[Step], workflow: Workflow) -> str:
    if unmet:
        return f"it waits for {', '.join(_named(other, workflow) for other in unmet)}."
    return "nothing stands before it."


def _named(other: Step, workflow: Workflow) -> str:
    """A step that others wait for; where it stands too, unless it only waits for its own turn."""
    return (
        other.title
        if other.status in (S.PENDING, S.RUNNING)
        else f"{other.title}, which is {word(other.status)}"
    )


def _passed(row: Step) -> str:
    if row.status == S.SKIPPED:
        return ": a person skipped it"
    return ": a person accepted it as it was" if row.reason == "user" else ""


def step_moves(row: Step, attempt: Any, unmet: Sequence[Step], workflow: Workflow, moment: Moment) -> str:
    """What would move a step."""
    if row.status in DONE:
        return "It is done; it can be run again from here."
    if row.status == S.PENDING:
        if telling.is_held_up(workflow):
            return f"It moves with its workflow. {run_moves(workflow, moment, queued=False)}"
        if unmet:
            return f"It begins when {', '.join(other.title for other in unmet)} is done or skipped."
        return "It may begin; whatever ends next in this workflow opens it, and at the latest the sweep."
    if row.status == S.RUNNING:
        if attempt is None or attempt.status not in (S.PENDING, S.RUNNING, S.WAITING):
            return "Nothing runs for it now; the sweep settles its workflow within seconds."
        return moves(attempt, workflow, moment)
    if row.status == S.WAITING:
        return _decides(workflow)
    return f"{MOVES}{ui.helps(row.status, row.reason)}"


# --- an attempt ---


def moves(attempt: StepAttempt, workflow: Workflow, moment: Moment) -> str:
    """What would move an attempt, and when."""
    held_up = run_moves(workflow, moment, queued=False) if telling.is_held_up(workflow) else ""
    return telling.moves(attempt, moment, of="step", waits=_decides(workflow), held_up=held_up)


def _decides(workflow: Workflow) -> str:
    return f"{MOVES}{workflow.owner}, or staff, decides: approve, edit, or send back."
