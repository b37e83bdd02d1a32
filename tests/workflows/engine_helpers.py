"""Driving the engine in a test without a worker process: claim and run attempts in this thread, or stand in for
a worker that has claimed and does nothing more."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

from nyxcore.dbtime import ago
from nyxcore.llm.base import Completion, LLMError, Usage
from nyxcore.states import Status
from workflows import engine, runner
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome, StepInput
from workflows.models import StepAttempt, Workflow
from workflows.work import Result

WORKER = "test:1"


def run_all(worker: str = WORKER) -> None:
    """Run everything that is due, as a worker would."""
    while runner.work(worker):
        pass


def answer(text: str = "An answer.", stop_reason: str = "end_turn", model: str = "practice") -> Completion:
    return Completion(text, stop_reason, model, Usage(input_tokens=10, output_tokens=5))


def claim(worker: str = WORKER) -> StepAttempt:
    """Take the next attempt and leave it running, as a worker that is in the middle of its call."""
    pk = runner.claim(worker)
    assert pk is not None, "nothing to claim"
    return StepAttempt.objects.select_related("step__workflow").get(pk=pk)


def finish(
    attempt: StepAttempt, text: str = "An answer.", *, stop_reason: str = "end_turn", worker: str = WORKER
) -> int | None:
    """End a claimed attempt with that answer; does not claim the next one."""
    from nyxcore.llm.base import classify
    from workflows import requests

    completion = answer(text, stop_reason)
    status, reason = classify(completion)
    facts = requests.facts_of(completion, text)
    engine.write_facts(attempt.pk, worker, facts)
    return engine.finish(attempt, Result(Status(status), reason, text=text, facts=facts), worker, claim=False)


def fail(
    attempt: StepAttempt, reason: str = "bad_request", *, retryable: bool = False, worker: str = WORKER
) -> None:
    engine.finish(
        attempt,
        Result(Status.FAILED, reason, error="It broke.", retryable=retryable),
        worker,
        claim=False,
    )


def silence(attempt: StepAttempt, seconds: float) -> None:
    """Move the attempt's signs of life into the past, as if its worker had died then."""
    StepAttempt.objects.filter(pk=attempt.pk).update(
        due_at=ago(seconds), heartbeat_at=ago(seconds), started_at=ago(seconds + 1)
    )


def statuses(workflow: Workflow) -> dict[str, str]:
    """The workflow's status and each step's, by key."""
    workflow.refresh_from_db()
    return {"": workflow.status, **dict(workflow.steps.values_list("key", "status"))}


__all__ = [
    "KINDS",
    "Any",
    "Callable",
    "Decimal",
    "LLMError",
    "Outcome",
    "StepInput",
    "contextmanager",
    "replace",
]
