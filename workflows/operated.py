"""The verbs of an operator for one row and for many, as the admin offers them; and what undoes an act on a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nyxcore import operated
from nyxcore.states import Status
from nyxcore.undo import Way
from workflows import engine, operating, services
from workflows.models import Step, StepAttempt, Workflow

AGAIN = "A call that was stopped is then paid again."
FAILING = (
    "Each of these runs ends now as failed: running calls are stopped, what they have written is kept. "
    f"It can be undone by a resume. {AGAIN}"
)
CANCELLING = (
    "Each of these runs ends now: running calls are stopped, what they have written is kept, every step "
    f"that is not done becomes cancelled. It can be undone by a resume. {AGAIN}"
)
RELEASING = (
    "The running attempts end as lost, though their workers may still live, and new ones wait for any worker. "
    "What the calls have cost so far is spent, and they are paid again. This cannot be undone."
)


def _release_attempt(attempt: StepAttempt, *, by: Any, kind: str) -> None:
    if attempt.status != Status.RUNNING:
        raise services.Refused(f"No worker holds this attempt: it is {Status(attempt.status).label.lower()}.")
    operating.release_step(attempt.step, by=by, kind=kind)


WORKFLOWS = operated.source(
    Workflow, "workflow", "workflows",
    operated.verb(Workflow, "mark_failed", operated.MARK_FAILED, operating.mark_failed, FAILING),
    operated.verb(Workflow, "retry", operated.RETRY, services.resume_workflow),
    operated.verb(Workflow, "release", operated.RELEASE, operating.release_workflow, RELEASING),
    operated.verb(Workflow, "pause", operated.PAUSE, services.pause_workflow),
    operated.verb(Workflow, "cancel", operated.CANCEL, services.cancel_workflow, CANCELLING),
)  # fmt: skip
STEPS = operated.source(
    Step, "step", "steps",
    operated.verb(Step, "retry", ("Retry", "Retrying", "retried"), services.retry_step),
    operated.verb(Step, "release", operated.RELEASE, operating.release_step, RELEASING),
)  # fmt: skip
ATTEMPTS = operated.source(
    StepAttempt,
    "attempt",
    "attempts",
    operated.verb(StepAttempt, "release", operated.RELEASE, _release_attempt, RELEASING),
)


# --- undo -----------------------------------------------------------------------------------------------------
def _back(service: Callable[..., Any], *statuses: Status) -> Callable[[int, Any], None]:
    resumes = service is services.resume_workflow
    return operated.back(Workflow, engine.lock, service, *statuses, resumes=resumes)


WAYS: dict[str, Way | str] = {
    "pause": Way(
        "Resume", "The run goes on where it stood.",
        _back(services.resume_workflow, Status.RUNNING, Status.PAUSED),
    ),
    "mark failed": Way(
        "Resume", f"The run goes on: what failed runs again, what is completed is kept. {AGAIN}",
        _back(services.resume_workflow, Status.FAILED),
    ),
    "cancel": Way(
        "Resume", f"The run goes on, also if it was paused before: what was cancelled stands in line again. {AGAIN}",
        _back(services.resume_workflow, Status.CANCELLED),
    ),
    "resume": Way(
        "Pause", "Nothing new starts; what has begun since ends normally.",
        _back(services.pause_workflow, Status.RUNNING),
    ),
    "start": "A start cannot be undone: what has run stays. Cancel the run to stop it.",
    "release": "A release cannot be undone: the attempt has ended, and its next one is queued or at work already.",
    "retry": "A retry cannot be undone: attempts are only added. Pause or cancel the run to stop it.",
    "rerun": "A rerun cannot be undone: attempts are only added. The earlier answers stand in the attempts.",
    "delete": "What was deleted is gone from the database. A back-up may have it.",
    "settings": "Settings are changed back by hand, in the settings of the run.",
}  # fmt: skip
