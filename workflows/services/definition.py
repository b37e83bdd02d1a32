"""The definition that a workflow holds, and changes to it that keep the whole valid."""

from __future__ import annotations

from typing import Any

from nyxcore.llm import models as registry
from workflows import specs
from workflows.models import Origin, Step, Workflow
from workflows.services.base import Refused


def refuse_unpriced(spec: specs.WorkflowSpec) -> None:
    """A budget that cannot be kept is refused: every model of the workflow needs a known price."""
    models = {
        str(step.config.get("model") or spec.default_model or registry.default_model()) for step in spec.steps
    }
    for model in sorted(models):
        if registry.worst_case(model, 1, 1) is None:
            raise Refused(
                f"The price of {model} is unknown, so a budget cannot be kept. Choose another model or no budget."
            )


def edit_config(workflow: Workflow, step: Step, edits: dict[str, Any]) -> None:
    """Change a step's config where the whole workflow stays valid with it."""
    if edits:
        step.config = edit_configs(workflow, {step.key: edits})[step.key]


def edit_configs(workflow: Workflow, edits: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Change the configs of several steps at once, by key, and return them; Refused where the definition breaks."""
    try:
        checked = specs.validate(edited_spec(workflow, edits))
    except specs.SpecError as error:
        raise Refused(" ".join(problem.message for problem in error.problems)) from None
    configs = {other.key: other.config for other in checked.steps if other.key in edits}
    rows = list(Step.objects.filter(workflow=workflow, key__in=edits))
    for row in rows:
        row.config = configs[row.key]
    Step.objects.bulk_update(rows, ["config"])
    return configs


def edited_spec(workflow: Workflow, edits: dict[str, dict[str, Any]]) -> specs.WorkflowSpec:
    """The workflow's definition as it would be with these changes of configs, by step key; not validated."""
    spec = spec_of(workflow)
    steps = [
        step.model_copy(update={"config": step.config | edits[step.key]}) if step.key in edits else step
        for step in spec.steps
    ]
    return spec.model_copy(update={"steps": steps})


def spec_of(workflow: Workflow) -> specs.WorkflowSpec:
    """The definition that a workflow holds, as it would be exported; steps made by the engine are left out."""
    whole = Workflow.objects.get(pk=workflow.pk)
    steps = Step.objects.filter(workflow=workflow).exclude(origin=Origin.ENGINE).order_by("position")
    return specs.WorkflowSpec.model_validate(
        {
            "name": whole.name,
            "slug": whole.template_slug or f"workflow-{whole.pk}",
            "version": whole.template_version or 1,
            "description": whole.description,
            "inputs": whole.inputs,
            "default_model": whole.default_model,
            "on_cut_off": whole.on_cut_off,
            "budget": whole.budget,
            "steps": [
                {name: getattr(step, name) for name in ("key", "title", "kind", "config", "needs", "notes")}
                for step in steps
            ],
        }
    )
