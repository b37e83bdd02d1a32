"""Definitions that people keep, pass on and copy: templates of their own, duplicates of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from workflows import catalog, services, specs
from workflows.models import Origin, Step, Workflow, WorkflowTemplate
from workflows.problems import Problem, SpecError
from workflows.specs import WorkflowSpec

OWN = "own:"


# --- templates ------------------------------------------------------------------------------------------------


def own_template(user: Any, chosen: str) -> WorkflowTemplate | None:
    """The saved template that "own:12" names, where the person may see it."""
    number = chosen.removeprefix(OWN)
    if not chosen.startswith(OWN) or not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    return WorkflowTemplate.objects.visible_to(user).filter(pk=int(number)).first()


def find_spec(user: Any, chosen: str) -> WorkflowSpec | None:
    """A built-in template by slug, or one of a person's own. SpecError: saved once, no longer right now."""
    template = own_template(user, chosen)
    return specs.load(template.spec, check_models=False) if template else catalog.get(chosen)


def save_template(
    spec: WorkflowSpec, *, by: Any, template: WorkflowTemplate | None = None, seen_version: int | None = None
) -> WorkflowTemplate:
    """Keep a definition as a new template, or as the next version of `template`.

    SpecError where the slug is taken; Refused where somebody saved since `seen_version` was read.
    """
    if catalog.get(spec.slug):
        raise _slug_taken(f"{spec.slug} is the short name of a built-in template; choose another one.")
    try:
        with transaction.atomic():
            return _save(spec, by, template, seen_version)
    except IntegrityError:
        raise _slug_taken(f"Another template of yours has the short name {spec.slug}.") from None


def _save(
    spec: WorkflowSpec, by: Any, template: WorkflowTemplate | None, seen_version: int | None
) -> WorkflowTemplate:
    row = WorkflowTemplate(owner=by)
    if template is not None:
        row = WorkflowTemplate.objects.select_for_update().get(pk=template.pk)
        if seen_version is not None and row.version != seen_version:
            raise services.Refused(
                f"This template was saved as version {row.version} in the meantime. Save yours as a new one, "
                "or open the saved one and change it again."
            )
        spec = spec.model_copy(update={"version": max(spec.version, row.version + 1)})
        row.updated_at = Now()
    row.name, row.slug, row.version = spec.name, spec.slug, spec.version
    row.spec = spec.model_dump(mode="json")
    row.save()
    return row


def _slug_taken(message: str) -> SpecError:
    return SpecError([Problem("slug", message, path=("slug",))])


def free_slug(user: Any, wanted: str) -> str:
    """`wanted`, or with a number behind it where a template has it already."""
    taken = {*catalog.load_all(), *WorkflowTemplate.objects.filter(owner=user).values_list("slug", flat=True)}
    stem = wanted[:90].rstrip("-")
    names = [wanted, *(f"{stem}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


# --- runs -----------------------------------------------------------------------------------------------------


def definition_of(workflow: Workflow) -> WorkflowSpec:
    """What a run was made of: order kept, steps that the engine made left out and their needs handed through."""
    spec = services.spec_of(workflow)
    made = dict(Step.objects.filter(workflow=workflow, origin=Origin.ENGINE).values_list("key", "needs"))
    if not made:
        return spec
    steps = [step.model_copy(update={"needs": _without(step.needs or (), made)}) for step in spec.steps]
    return spec.model_copy(update={"steps": steps})


def _without(needs: Sequence[str], made: dict[str, list[str]]) -> list[str]:
    """`needs` with each key in `made` replaced by what that step itself stands on."""
    found: dict[str, None] = {}
    queue, seen = list(needs), set()
    while queue:
        key = queue.pop(0)
        if key in made and key not in seen:
            queue[:0] = made[key]
        elif key not in made:
            found[key] = None
        seen.add(key)
    return list(found)


def duplicate_workflow(
    workflow: Workflow,
    *,
    by: Any,
    spec: WorkflowSpec | None = None,
    data: dict[str, str] | None = None,
    name: str = "",
) -> Workflow:
    """A pending copy of a run for the person who asks: same steps and input, unless `spec` or `data` say otherwise."""
    return services.create_workflow(
        owner=by,
        spec=spec or definition_of(workflow),
        data=workflow.input if data is None else data,
        name=name or workflow.name,
        copied_from=workflow,
    )
