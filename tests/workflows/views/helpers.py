"""Runs in the states that pages have to show."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, run_all
from workflows.models import Step, StepAttempt, Workflow

GATED = [
    {"key": "draft"},
    {"key": "check", "kind": "gate", "config": {"instructions": "Read **well**."}},
    {"key": "send"},
]


def url(name: str, *args: Any) -> str:
    return reverse(f"workflows:{name}", args=args)


def step_url(name: str, step: Step) -> str:
    return url(name, step.workflow_id, step.pk)


def streaming(text: str = "Once upon", **fields: Any) -> Step:
    """A step whose attempt runs and has written `text` so far."""
    workflow = make_workflow(start=True, **fields)
    attempt = claim()
    attempt.output = text
    attempt.save(update_fields=["output"])
    return step_of(workflow, "one")


def cut(text: str = "It ends in the mid", **fields: Any) -> Step:
    """A step cut at its limit of 100 tokens; the run is paused."""
    workflow = make_workflow(
        [{"key": "one", "config": {"max_tokens": 100}}, {"key": "two"}], start=True, **fields
    )
    attempt = claim()
    attempt.request = {"model": "practice", "prompt": "Write about one.", "max_tokens": 100, "sizes": {}}
    attempt.save(update_fields=["request"])
    finish(attempt, text, stop_reason="max_tokens")
    return step_of(workflow, "one")


def cut_off(attempt: StepAttempt, text: str, room: int) -> None:
    """End a claimed attempt at its limit, a quarter of it spent on thinking."""
    attempt.request = {"model": "practice", "prompt": "Write the plan.", "max_tokens": room, "sizes": {}}
    attempt.save(update_fields=["request"])
    finish(attempt, text, stop_reason="max_tokens")
    StepAttempt.objects.filter(pk=attempt.pk).update(output_tokens=room, thinking_tokens=room // 4)


def failed(reason: str = "auth", **fields: Any) -> Step:
    workflow = make_workflow(start=True, **fields)
    fail(claim(), reason)
    return step_of(workflow, "one")


def completed(text: str = "Done **well**.", **fields: Any) -> Workflow:
    workflow = make_workflow([{"key": "one"}], start=True, **fields)
    finish(claim(), text)
    workflow.refresh_from_db()
    return workflow


def waiting() -> Step:
    """A gate that shows the draft and waits for a person."""
    workflow = make_workflow(GATED, start=True)
    finish(claim(), "The draft.")
    run_all()
    return step_of(workflow, "check")
