"""Running again from a step: what is reused, what runs again, what it may cost."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings

from nyxcore.llm import models as registry
from nyxcore.models import AuditEntry
from nyxcore.states import Status, current_actor, transition, transition_all
from workflows import engine, specs
from workflows.decide import DONE
from workflows.kinds import KINDS
from workflows.models import Step, StepAttempt, Workflow
from workflows.services.base import CLOSED, Refused, check_needs, dependents, fresh, verb
from workflows.services.definition import edit_configs, spec_of

S = Status


@dataclass(frozen=True)
class RerunPlan:
    """What `rerun_from` would do: steps whose results are reused, steps that run again, USD from and to."""

    reused: list[Step]
    again: list[Step]
    cost_low: Decimal | None
    cost_high: Decimal | None


def plan_rerun(step: Step, config_edits: dict[str, dict[str, Any]] | None = None) -> RerunPlan:
    """Look, do not touch: the list a person confirms before a rerun, with these edits of configs."""
    workflow = step.workflow
    again_pks = _rerun_set(workflow, step)
    steps = list(Step.objects.filter(workflow=workflow).order_by("position"))
    again = [other for other in steps if other.pk in again_pks]
    rows = StepAttempt.objects.filter(step__in=again_pks, cost__isnull=False)
    paid = {row.step_id: row for row in rows.only("step", "cost", "input_tokens").order_by("number")}
    low = high = Decimal(0)
    known = True
    for other in again:
        last = paid.get(other.pk)
        config = other.config | (config_edits or {}).get(other.key, {})
        worst = _worst_of(workflow, other.kind, config, int(last.input_tokens or 0) if last else 0)
        known = known and worst is not None
        high += worst or Decimal(0)
        low += min(last.cost if last and last.cost else Decimal(0), worst or Decimal(0))
    return RerunPlan(
        [other for other in steps if other.pk not in again_pks],
        again,
        low if known else None,
        high if known else None,
    )


def _worst_of(workflow: Workflow, kind: str, config: dict[str, Any], sent: int) -> Decimal | None:
    """USD that one call may cost at most, with as long a prompt as `sent` tokens; None where the price is unknown."""
    if KINDS[kind].for_owner:
        return Decimal(str(config["budget"])) if config.get("budget") else None
    if not KINDS[kind].paid:
        return Decimal(0)
    model = str(config.get("model") or workflow.default_model or registry.default_model())
    room = int(config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)
    return registry.worst_case(model, sent or registry.estimate_tokens(str(config.get("prompt", ""))), room)


def rerun_from(
    step: Step,
    *,
    by: Any,
    config_edits: dict[str, dict[str, Any]] | None = None,
    output_edits: dict[str, str] | None = None,
    input_edits: dict[str, str] | None = None,
    seen: int | None = None,
) -> None:
    """Run a step again, with its dependents and everything not done; what is completed besides is reused.

    Refused while the run is live, or while the step's own needs are not done. `config_edits` changes steps that run
    again, `output_edits` the stored outputs of steps that do not (each an attempt of cause `edit`), `input_edits` the
    input that the former are given. `seen` is the workflow's version that the person decided by.
    """
    with verb(step.workflow_id, by, "rerun", detail=step.key) as workflow:
        step = fresh(step)
        refuse_rerun(workflow)
        if seen is not None and workflow.version != seen:
            raise Refused("The workflow has changed since you looked at it. Look again at what would run.")
        check_needs(workflow, step)
        again = _rerun_set(workflow, step)
        for key, output in (output_edits or {}).items():
            _edit_output(workflow, key, output, again)
        if input_edits:
            _edit_input(workflow, input_edits)
        if config_edits:
            edit_configs(workflow, config_edits)
        transition(workflow, CLOSED, S.RUNNING)
        reset = (S.FAILED, S.CANCELLED, S.COMPLETED, S.SKIPPED, S.CUT_OFF)
        for status in reset:
            rows = Step.objects.filter(pk__in=again, status=status).values_list("pk", flat=True)
            transition_all(Step, list(rows), status, S.PENDING, output="")
        engine.settle(workflow, rerun=True)


def refuse_rerun(workflow: Workflow) -> None:
    """Raise while the workflow is live: what it would run again may be at work."""
    if workflow.status not in CLOSED:
        raise Refused(
            f"The workflow is still live: it is {Status(workflow.status).label.lower()}. Cancel it or wait for its "
            "end, then run it again from here. A single step that failed or was cut off can be retried meanwhile."
        )


def _rerun_set(workflow: Workflow, step: Step) -> set[int]:
    """The step, its dependents, and everything that is neither completed nor skipped."""
    undone = Step.objects.filter(workflow=workflow).exclude(status__in=DONE).values_list("pk", flat=True)
    return {step.pk, *dependents(workflow, step), *undone}


def _edit_output(workflow: Workflow, key: str, output: str, again: set[int]) -> None:
    other = Step.objects.get(workflow=workflow, key=key)
    if other.pk in again or other.status not in DONE:
        raise Refused(
            f"The output of “{other.title}” is written anew or not there yet, so it cannot be edited."
        )
    engine.record_edit(other, output.replace("\x00", ""))
    _audit_edit(workflow, other.key)


def _edit_input(workflow: Workflow, edits: dict[str, str]) -> None:
    """Other input; the outputs that are reused stay those that were made from the input as it was."""
    try:
        values = specs.validate_input(spec_of(workflow), workflow.input | edits)
    except specs.SpecError as error:
        raise Refused(" ".join(problem.message for problem in error.problems)) from None
    for name in (name for name in values if values[name] != workflow.input.get(name)):
        _audit_edit(workflow, f"input.{name}")
    workflow.input = values
    workflow.save(update_fields=["input"])


def _audit_edit(workflow: Workflow, what: str) -> None:
    actor = current_actor()
    assert actor is not None  # verb() sets it
    AuditEntry.of(actor, Workflow, workflow.pk, action="edit", detail=what).save()
