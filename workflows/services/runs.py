"""Verbs on a whole workflow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import transaction

from nyxcore import live, sweep
from nyxcore.pulse import tell_to_stop
from nyxcore.states import Reason, Status, touch, transition, transition_all
from workflows import engine, hotpath, requests, specs
from workflows.models import OnCutOff, Origin, Step, StepAttempt, Workflow
from workflows.services.base import CLOSED, TABLE, Refused, cut_if_resumed, release_hold, verb
from workflows.services.definition import edit_configs, refuse_unpriced, spec_of

S = Status
UNCHANGED: Any = object()


def create_workflow(
    *,
    owner: Any,
    spec: specs.WorkflowSpec,
    data: dict[str, str],
    name: str = "",
    default_model: str = "",
    on_cut_off: str = "",
    budget: Decimal | None = None,
    copied_from: Workflow | None = None,
) -> Workflow:
    """A pending workflow with its own copy of `spec`. SpecError when the definition or the input is wrong."""
    spec = spec.model_copy(
        update={
            "default_model": default_model or spec.default_model,
            "on_cut_off": on_cut_off or spec.on_cut_off,
            "budget": budget if budget is not None else spec.budget,
        }
    )
    spec = specs.validate(spec)
    values = specs.validate_input(spec, data)
    if spec.budget is not None:
        refuse_unpriced(spec)
    with transaction.atomic():
        workflow = Workflow.objects.create(
            owner=owner,
            name=(name or spec.name)[:200],
            description=spec.description,
            inputs=[field_.model_dump(mode="json") for field_ in spec.inputs],
            input=values,
            template_slug=spec.slug,
            template_version=spec.version,
            default_model=spec.default_model,
            on_cut_off=spec.on_cut_off,
            budget=spec.budget,
            copied_from=copied_from,
        )
        needs = specs.resolved_needs(spec)
        Step.objects.bulk_create(
            Step(
                workflow=workflow,
                position=position,
                key=step.key,
                title=step.title,
                kind=step.kind,
                config=step.config,
                needs=list(needs[step.key]),
                notes=step.notes,
                origin=Origin.TEMPLATE if spec.slug else Origin.USER,
            )
            for position, step in enumerate(spec.steps, 1)
        )
    return workflow


def start_workflow(workflow: Workflow, *, by: Any, kind: str = "person") -> None:
    """Begin a pending workflow."""
    sweep.run_pass(scope=sweep.Scope(owner=workflow.owner_id))
    with verb(workflow.pk, by, "start", kind=kind) as locked:
        if not transition(locked, S.PENDING, S.RUNNING):
            raise Refused(f"This workflow was started already; it is {Status(locked.status).label.lower()}.")
        if not hotpath.open_first(locked, by.pk):
            engine.settle(locked)


def pause_workflow(workflow: Workflow, *, by: Any, kind: str = "person") -> None:
    """Open nothing new; what streams ends normally."""
    with verb(workflow.pk, by, "pause", kind=kind) as locked:
        if locked.is_held or locked.status not in (S.RUNNING, S.PAUSED):
            raise Refused(f"This workflow cannot be paused: it is {Status(locked.status).label.lower()}.")
        locked.held_by = by
        locked.save(update_fields=["held_by"])
        touch(Workflow, [locked.pk])
        engine.settle(locked)


def resume_workflow(workflow: Workflow, *, by: Any, kind: str = "person") -> None:
    """Go on with everything that failed, was cancelled or has not run; completed steps are kept.

    An answer that was cut off is never asked for again with the same limit: such steps are named and refused.
    """
    with verb(workflow.pk, by, "resume", kind=kind) as locked:
        steps = list(Step.objects.filter(workflow=locked).order_by("position"))
        cut = [step.title for step in steps if step.status == S.CUT_OFF or cut_if_resumed(locked, step)]
        if cut:
            raise Refused(
                f"Cut off: {', '.join(cut)}. Retry with more room, continue, or accept the answer as it is; "
                "asking again with the same limit would be cut again."
            )
        if locked.status in (S.PENDING, S.COMPLETED):
            raise Refused(
                f"There is nothing to resume: the workflow is {Status(locked.status).label.lower()}."
            )
        if locked.status == S.RUNNING and not locked.is_held:
            raise Refused("The workflow is running already.")
        release_hold(locked)
        if locked.status in CLOSED:
            transition(locked, CLOSED, S.RUNNING)
        for status in (S.FAILED, S.CANCELLED):
            transition_all(Step, [step.pk for step in steps if step.status == status], status, S.PENDING)
        engine.settle(locked)


def cancel_workflow(workflow: Workflow, *, by: Any, kind: str = "person") -> None:
    """End the run now: running calls are stopped, their text is kept, nothing new opens."""
    with verb(workflow.pk, by, "cancel", kind=kind) as locked:
        if locked.status in CLOSED:
            raise Refused(f"This workflow has ended already; it is {Status(locked.status).label.lower()}.")
        _end_open_attempts(locked)
        open_steps = (S.PENDING, S.RUNNING, S.WAITING, S.CUT_OFF)
        for status in open_steps:
            steps = Step.objects.filter(workflow=locked, status=status).values_list("pk", flat=True)
            transition_all(Step, list(steps), status, S.CANCELLED, reason=Reason.USER)
        locked.let_go()
        transition(locked, Status(locked.status), S.CANCELLED, reason=Reason.USER)


def _end_open_attempts(workflow: Workflow) -> None:
    attempts = StepAttempt.objects.filter(step__workflow=workflow).open()
    for status in (S.PENDING, S.RUNNING, S.WAITING):
        # A claim may be faster than this: it moves pending rows without the workflow's lock, so running comes after.
        pks = list(attempts.filter(status=status).values_list("pk", flat=True))
        moved = transition_all(StepAttempt, pks, status, S.CANCELLED, reason=Reason.USER)
        if status == S.RUNNING:
            for attempt in StepAttempt.objects.filter(pk__in=moved).exclude(request={}):
                requests.estimate_cost(attempt)
            tell_to_stop(TABLE, moved, "cancel")
        elif status == S.WAITING:
            engine.let_go(moved)


def delete_workflow(workflow: Workflow, *, by: Any, kind: str = "person") -> None:
    """Remove a workflow that is not live, with its steps and attempts. What the audit log says of it stays."""
    with verb(workflow.pk, by, "delete", kind=kind, detail=workflow.name) as locked:
        if locked.status in (S.RUNNING, S.PAUSED):
            raise Refused(
                f"A live workflow cannot be deleted, and this one is {Status(locked.status).label.lower()}. "
                "Cancel it first."
            )
        Workflow.objects.filter(pk=locked.pk).delete()
        live.kick(None, locked.channel)


def update_settings(
    workflow: Workflow,
    *,
    by: Any,
    name: str | None = None,
    default_model: str | None = None,
    on_cut_off: str | None = None,
    budget: Decimal | None = UNCHANGED,
    steps: dict[str, dict[str, Any]] | None = None,
    kind: str = "person",
) -> None:
    """Change a workflow's settings, and the model and max_tokens of steps that are not running."""
    with verb(workflow.pk, by, "settings", kind=kind) as locked:
        changed = []
        if name is not None:
            locked.name = name[:200]
            changed.append("name")
        if default_model is not None:
            locked.default_model = default_model
            changed.append("default_model")
        if on_cut_off is not None:
            locked.on_cut_off = OnCutOff(on_cut_off)
            changed.append("on_cut_off")
        if budget is not UNCHANGED:
            locked.budget = budget
            changed.append("budget")
        if changed:
            locked.save(update_fields=changed)
        edited: dict[str, dict[str, Any]] = {}
        rows = {row.key: row for row in Step.objects.filter(workflow=locked, key__in=steps or {})}
        for key, edits in (steps or {}).items():
            step = rows[key]
            if {name: step.config.get(name) for name in edits} == edits:
                continue
            if step.status == S.RUNNING:
                raise Refused(f"“{step.title}” is running; its settings can be changed when it has ended.")
            edited[key] = edits
        if edited:
            edit_configs(locked, edited)
            touch(Step, [rows[key].pk for key in edited])
        if locked.budget is not None and ({"budget", "default_model"} & set(changed) or steps):
            refuse_unpriced(spec_of(locked))
        touch(Workflow, [locked.pk])
