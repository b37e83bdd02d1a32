"""The sentences of `explain`: what a status with its reason means for one row, in words, from facts that were read.

Nothing here asks the database, so every pair of status and reason can be tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nyxcore import ui
from nyxcore.states import Status
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


@dataclass(frozen=True)
class Moment:
    """What is the same for all rows when they are looked at. Times are the database's."""

    now: datetime
    workers: int  # processes that live and take work
    threads: int = 0  # of these
    busy: int = 0  # attempts at work anywhere
    last_seen: datetime | None = None  # of any worker
    guard_until: datetime | None = None  # the sweep judges nothing that runs before that


def clock(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def span(seconds: float) -> str:
    """A time in words, as exact as it matters."""
    seconds = max(0, round(seconds))
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    return f"{minutes} min" if minutes < 120 else f"{hours} h" if hours < 48 else f"{hours // 24} days"


def word(status: str) -> str:
    return "waiting" if status == S.WAITING else str(Status(status).label).lower()


def workers(moment: Moment) -> str:
    """One sentence on the workers."""
    if not moment.workers:
        return (
            f"no worker since {clock(moment.last_seen)}."
            if moment.last_seen
            else "no worker has ever been seen."
        )
    live = f"{moment.workers} worker process{'es live' if moment.workers > 1 else ' lives'}"
    return f"{live}, {min(moment.busy, moment.threads)} of {moment.threads} threads busy."


# --- the run ---


def run(workflow: Workflow, moment: Moment) -> str:
    """Where a run stands, since when, why, and who paused it."""
    why = ui.cause(workflow.reason) if workflow.status in (S.PAUSED, S.FAILED, S.CANCELLED) else ""
    held = f" {workflow.held_by} paused it." if workflow.held_by else ""
    since = f"since {clock(workflow.status_changed_at)} ({span(_gone(workflow.status_changed_at, moment))})"
    return (
        f"Workflow {workflow.pk} “{workflow.name}” of {workflow.owner} is {word(workflow.status)} {since}"
        f"{f': {why}' if why else '.'}{held}"
    )


def run_moves(workflow: Workflow, moment: Moment, *, queued: bool, waits: bool = False) -> str:
    """What would move a run. `queued`: something waits for a worker; `waits`: a step waits for a decision."""
    if workflow.status == S.PENDING:
        return "It was never started. Start it."
    if workflow.status == S.COMPLETED:
        return "It is done; run it again from any step if you like."
    if workflow.status == S.RUNNING and workflow.held_by is None:
        if queued and not moment.workers:
            return f"What would move it: a worker. {_first_up(workers(moment))}"
        beside = " One of its steps needs somebody meanwhile." if waits else ""
        return f"It goes on by itself.{beside}"
    if workflow.held_by is not None:
        return f"What would move it: {ui.helps(S.PAUSED, 'user')}"
    return f"What would move it: {ui.helps(workflow.status, workflow.reason)}"


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
        if workflow.status != S.RUNNING or workflow.held_by is not None:
            return f"It moves with its workflow. {run_moves(workflow, moment, queued=False)}"
        if unmet:
            return f"It begins when {', '.join(other.title for other in unmet)} is done or skipped."
        return "It may begin; whatever ends next in this workflow opens it, and at the latest the sweep."
    if row.status == S.RUNNING:
        if attempt is None or attempt.status not in (S.PENDING, S.RUNNING, S.WAITING):
            return "Nothing runs for it now; the sweep settles its workflow within seconds."
        return moves(attempt, workflow, moment)
    if row.status == S.WAITING:
        return f"What would move it: {workflow.owner}, or staff, decides: approve, edit, or send back."
    return f"What would move it: {ui.helps(row.status, row.reason)}"


# --- an attempt ---


def tried(attempt: StepAttempt, moment: Moment) -> str:
    """One attempt: who has it since when, its last sign of life, and what ended it. Ends with a full stop."""
    nth = f"attempt {attempt.number} ({attempt.get_cause_display()})"
    if attempt.status == S.PENDING:
        ahead = -_gone(attempt.queued_at, moment)
        if ahead > 0:
            return f"{nth} is tried again at {clock(attempt.queued_at)}, in {span(ahead)}."
        since = f"{clock(attempt.queued_at)} ({span(-ahead)})"
        return f"{nth} is queued since {since}; {workers(moment)}"
    if attempt.status == S.RUNNING:
        sign = attempt.heartbeat_at or attempt.started_at
        stored = (
            " Its answer is stored already; only what follows from it is missing."
            if attempt.stop_reason
            else ""
        )
        return (
            f"{nth} runs on {attempt.worker} since {clock(attempt.started_at)}; its last sign of life came "
            f"{_silence(sign, moment)} ago, it is judged at {clock(attempt.due_at)} and stopped at "
            f"{clock(attempt.deadline_at)}.{stored}"
        )
    if attempt.status == S.WAITING:
        again = f"; it is looked at again at {clock(attempt.due_at)}" if attempt.due_at else ""
        return f"{nth} waits for a person since {clock(attempt.started_at)}{again}."
    by = f" on {attempt.worker}" if attempt.worker else ""
    words = (
        ""
        if attempt.status == S.COMPLETED
        else " ".join(filter(None, [ui.cause(attempt.reason), attempt.error]))
    )
    return f"{nth}{by} ended at {clock(attempt.finished_at)} as {word(attempt.status)}{f': {words}' if words else '.'}"


def _silence(sign: datetime | None, moment: Moment) -> str:
    return f"{max(0.0, _gone(sign, moment)):.0f} s" if sign else "an unknown time"


def moves(attempt: StepAttempt, workflow: Workflow, moment: Moment) -> str:
    """What would move an attempt, and when."""
    if attempt.status == S.PENDING:
        return _pending_moves(attempt, workflow, moment)
    if attempt.status == S.RUNNING:
        return _running_moves(attempt, moment)
    if attempt.status == S.WAITING:
        return f"What would move it: {workflow.owner}, or staff, decides: approve, edit, or send back."
    return "It has ended, and an ended attempt never changes. What is tried next is another one."


def _pending_moves(attempt: StepAttempt, workflow: Workflow, moment: Moment) -> str:
    if workflow.held_by is not None or workflow.status != S.RUNNING:
        return f"No worker takes it now. {run_moves(workflow, moment, queued=False)}"
    if not moment.workers:
        return f"What would move it: a worker. {_first_up(workers(moment))}"
    if _gone(attempt.queued_at, moment) < 0:
        return "It goes on by itself at that time."
    if moment.busy >= moment.threads:
        return "A worker takes it as soon as a thread is free: the person with the fewest running steps comes first."
    return "A worker takes it within seconds."


def _running_moves(attempt: StepAttempt, moment: Moment) -> str:
    left = -_gone(attempt.due_at, moment) if attempt.due_at else 0.0
    late = _gone(attempt.deadline_at, moment) if attempt.deadline_at else 0.0
    if left > 0 and late <= 0:
        return (
            f"It goes on by itself. Its worker renews the lease, which holds for {span(left)} more; without another "
            "sign of life the sweep ends it then."
        )
    if moment.guard_until is not None and moment.guard_until > moment.now:
        return f"After an outage the sweep judges nothing before {clock(moment.guard_until)}; then it ends this one."
    if left > 0:
        return f"It is past its deadline by {span(late)}: its worker stops it, and a minute after that the sweep does."
    return f"Its lease has passed {span(-left)} ago: the next sweep ends it, and its step is tried again or fails."


def _gone(at: datetime | None, moment: Moment) -> float:
    """Seconds from then to now."""
    return (moment.now - at).total_seconds() if at else 0.0


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
