"""Rows for tests, made the way the product makes them."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model

from workflows import services
from workflows.models import Step, StepAttempt, Workflow
from workflows.specs import WorkflowSpec, validate


def make_user(name: str = "ada", **extra: Any) -> Any:
    """A person; staff with is_staff=True."""
    found = get_user_model().objects.filter(username=name).first()
    return found or get_user_model().objects.create_user(name, password="correct horse", **extra)


def make_spec(steps: list[dict[str, Any]] | None = None, **fields: Any) -> WorkflowSpec:
    """A definition; each step is {"key", "needs", ...}, an llm step with a short prompt unless it says otherwise."""
    steps = steps or [{"key": "one"}, {"key": "two"}, {"key": "three"}]
    full = []
    for step in steps:
        step = {"title": step["key"].title(), "kind": "llm", **step}
        if step["kind"] == "llm":
            step["config"] = {"prompt": f"Write about {step['key']}.", **step.get("config", {})}
        full.append(step)
    return validate(
        WorkflowSpec.model_validate(
            {"name": "Test", "slug": "test", "version": 1, "description": "", "inputs": [], "steps": full}
            | fields
        )
    )


def make_workflow(
    steps: list[dict[str, Any]] | None = None, *, owner: Any = None, start: bool = False, **fields: Any
) -> Workflow:
    """A workflow of that definition, pending or (with `start`) running."""
    owner = owner or make_user()
    data = fields.pop("data", {})
    workflow = services.create_workflow(owner=owner, spec=make_spec(steps, **fields), data=data)
    if start:
        services.start_workflow(workflow, by=owner)
        workflow.refresh_from_db()
    return workflow


def step_of(workflow: Workflow, key: str) -> Step:
    return Step.objects.get(workflow=workflow, key=key)


def attempts_of(workflow: Workflow, key: str) -> list[StepAttempt]:
    return list(StepAttempt.objects.filter(step__workflow=workflow, step__key=key).order_by("number"))
