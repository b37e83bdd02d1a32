"""What a person asks for. Each verb is one transaction, checks the state under the lock, and is audited.

A verb that the state does not allow raises Refused with a sentence for the person; nothing has changed then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from nyxcore import live, sweep
from nyxcore.llm import models as registry
from nyxcore.llm.base import LLMError
from nyxcore.models import AuditEntry
from nyxcore.pulse import ring, tell_to_stop
from nyxcore.states import Reason, Status, acting, current_actor, person, touch, transition, transition_all
from workflows import again, engine, hotpath, requests, specs
from workflows.decide import DONE
from workflows.kinds import KINDS
from workflows.models import Cause, OnCutOff, Origin, Step, StepAttempt, Workflow

S = Status
CLOSED = (S.COMPLETED, S.FAILED, S.CANCELLED)
TABLE = StepAttempt._meta.db_table


class Refused(Exception):
    """The state does not allow what was asked; the message says why and what is possible."""


@contextmanager
def verb(
    workflow_pk: int, by: Any, action: str, *, kind: str = "person", detail: str = ""
) -> Iterator[Workflow]:
    """One audited transaction of a person on a locked workflow."""
    with acting(person(by, kind)):
        workflow = engine.lock(workflow_pk)
        actor = current_actor()
        assert actor is not None
        AuditEntry.of(actor, Workflow, workflow.pk, action=action, detail=detail).save()
        yield workflow


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
        _refuse_unpriced(spec)
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


def _refuse_unpriced(spec: specs.WorkflowSpec) -> None:
    """A budget that cannot be kept is refused: every model of the workflow needs a known price."""
    models = {
        str(step.config.get("model") or spec.default_model or registry.default_model()) for step in spec.steps
    }
    for model in sorted(models):
        if registry.worst_case(model, 1, 1) is None:
            raise Refused(
                f"The price of {model} is unknown, so a budget cannot be kept. Choose another model or no budget."
            )


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
        if locked.held_by_id or locked.status not in (S.RUNNING, S.PAUSED):
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
        cut = [step.title for step in steps if step.status == S.CUT_OFF or _cut_if_resumed(locked, step)]
        if cut:
            raise Refused(
                f"Cut off: {', '.join(cut)}. Retry with more room, continue, or accept the answer as it is; "
                "asking again with the same limit would be cut again."
            )
        if locked.status in (S.PENDING, S.COMPLETED):
            raise Refused(
                f"There is nothing to resume: the workflow is {Status(locked.status).label.lower()}."
            )
        if locked.status == S.RUNNING and not locked.held_by_id:
            raise Refused("The workflow is running already.")
        _release(locked)
        if locked.status in CLOSED:
            transition(locked, CLOSED, S.RUNNING)
        for status in (S.FAILED, S.CANCELLED):
            transition_all(Step, [step.pk for step in steps if step.status == status], status, S.PENDING)
        engine.settle(locked)


def _cut_if_resumed(workflow: Workflow, step: Step) -> bool:
    """Whether the answer of a step was cut before it was cancelled, at a limit that the next one would have again."""
    if step.status != S.CANCELLED:
        return False
    last = step.attempts.order_by("-number").first()
    if last is None or last.status != S.CUT_OFF or last.reason != Reason.CUT_MAX_TOKENS:
        return False
    default = settings.NYXCORE_DEFAULT_MAX_TOKENS
    model = step.config.get("model") or workflow.default_model or registry.default_model()
    room = registry.clamp_max_tokens(str(model), int(step.config.get("max_tokens") or default))
    same_model = last.request.get("model", model) == model
    return same_model and room <= int(last.request.get("max_tokens") or default)


def _release(workflow: Workflow) -> None:
    if workflow.held_by_id:
        workflow.held_by = None
        workflow.save(update_fields=["held_by"])
        touch(Workflow, [workflow.pk])


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
        if locked.held_by_id:
            locked.held_by = None
            locked.save(update_fields=["held_by"])
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


# --- one step ---


def retry_step(
    step: Step,
    *,
    by: Any,
    max_tokens: int | None = None,
    model: str | None = None,
    prompt: str | None = None,
    effort: str | None = None,
    continue_text: bool = False,
    kind: str = "person",
) -> StepAttempt:
    """Try a failed, cancelled or cut step again now, also while siblings stream.

    Changes of model, prompt and effort stay in the step; `max_tokens` too. `continue_text` asks the model to go on
    where a cut answer ended, at most `engine.PARTS` parts.
    """
    with verb(step.workflow_id, by, "retry", kind=kind, detail=step.key) as workflow:
        step = _locked_step(step)
        if step.status not in (S.FAILED, S.CANCELLED, S.CUT_OFF):
            raise Refused(f"“{step.title}” cannot be retried: it is {Status(step.status).label.lower()}.")
        edits = {"max_tokens": max_tokens, "model": model, "prompt": prompt, "effort": effort}
        edits = {name: value for name, value in edits.items() if value is not None}
        last = step.attempts.order_by("-number").first()
        cause = str(Cause.CONTINUE if continue_text else Cause.RETRY)
        fields = _continue(last) if continue_text else again.asked(again.standing(step), changed=bool(edits))
        if not continue_text and last and last.status == S.CUT_OFF and not edits.keys() - {"max_tokens"}:
            reason = step.reason if step.status == S.CUT_OFF else last.reason
            _refuse_same_cut(last, reason, max_tokens or step.config.get("max_tokens"))
        _edit_config(workflow, step, edits)
        check_needs(workflow, step)
        open_again(workflow)
        step = _locked_step(step)
        open_now(workflow, step, cause, fields)
        engine.settle(workflow)
        transaction.on_commit(ring)
        return step.attempts.order_by("-number")[0]


def _refuse_same_cut(last: StepAttempt, reason: str, max_tokens: int | None) -> None:
    """A cut answer is not asked for again with what would cut it again."""
    had = int(last.request.get("max_tokens") or 0)
    if reason == Reason.CUT_CONTEXT:
        raise Refused(
            "Prompt and answer filled the context window, which more room does not widen. Shorten the prompt, choose "
            "a model with a larger window, or accept the answer."
        )
    if max_tokens and max_tokens > had:
        return
    if reason == Reason.CUT_THINKING:
        raise Refused(
            "With the same settings the model may spend everything on thinking again. Lower the effort, choose "
            "another model, change the prompt, or name more room."
        )
    raise Refused(
        "The same limit would cut the answer again. Name a larger one, continue, or accept the answer."
    )


def _continue(last: StepAttempt | None) -> dict[str, Any]:
    if last is None or last.status != S.CUT_OFF or last.reason != Reason.CUT_MAX_TOKENS:
        raise Refused("Only an answer that was cut at its token limit can be continued.")
    if requests.part_number(last) >= engine.PARTS:
        raise Refused(
            f"The answer has {engine.PARTS} parts already. Retry with more room, or accept it as it is."
        )
    return {"continues_id": last.pk, "max_tokens": last.max_tokens, "comment": last.comment}


def _locked_step(step: Step) -> Step:
    """The step as it is now; its workflow is locked, so it stays so."""
    return Step.objects.get(pk=step.pk)


def check_needs(workflow: Workflow, step: Step) -> None:
    unmet = Step.objects.filter(workflow=workflow, key__in=step.needs).exclude(status__in=DONE)
    titles = list(unmet.values_list("title", flat=True))
    if titles:
        raise Refused(f"“{step.title}” needs {', '.join(titles)} first. Resume the workflow instead.")


def open_again(workflow: Workflow) -> None:
    """Bring a closed or paused workflow back, before any of its steps.

    What was cancelled when it closed stands in line again, or it could never be completed; except a cut answer,
    which waits for a decision of its own.
    """
    _release(workflow)
    closed = workflow.status in CLOSED
    if workflow.status != S.RUNNING:
        transition(workflow, Status(workflow.status), S.RUNNING)
    if closed:
        cancelled = Step.objects.filter(workflow=workflow, status=S.CANCELLED)
        pks = [step.pk for step in cancelled if not _cut_if_resumed(workflow, step)]
        transition_all(Step, pks, S.CANCELLED, S.PENDING)


def open_now(workflow: Workflow, step: Step, cause: str, fields: dict[str, Any]) -> None:
    try:
        engine.open_attempt(workflow, step, cause=cause, **fields)
    except engine.OverBudget:
        left = engine.left_of_budget(workflow)
        raise Refused(
            f"The next call may cost more than the ${left:.2f} that is left of the budget. Raise it first."
        ) from None
    except LLMError as error:
        raise Refused(error.message) from None


def _edit_config(workflow: Workflow, step: Step, edits: dict[str, Any]) -> None:
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


def skip_step(step: Step, *, by: Any, replacement: str = "") -> None:
    """Go on without a step's result. Where a later prompt names its output, a replacement text is needed."""
    with verb(step.workflow_id, by, "skip", detail=step.key) as workflow:
        step = _locked_step(step)
        if step.status not in (S.PENDING, S.FAILED, S.CANCELLED, S.CUT_OFF):
            raise Refused(f"“{step.title}” cannot be skipped: it is {Status(step.status).label.lower()}.")
        users = _named_by(workflow, step)
        if users and not replacement.strip():
            raise Refused(
                f"{', '.join(users)} uses the output of “{step.title}”: give a text to use in its place."
            )
        if workflow.status != S.PENDING:
            open_again(workflow)
            step = _locked_step(step)
        transition(step, Status(step.status), S.SKIPPED, reason=Reason.USER, output=replacement)
        engine.settle(workflow)


def _named_by(workflow: Workflow, step: Step) -> list[str]:
    """Titles of the steps whose prompts name this step's output."""
    from workflows.prompts import steps_named

    named = []
    for other in Step.objects.filter(workflow=workflow).exclude(pk=step.pk):
        kind = KINDS[other.kind]
        if step.key in steps_named(kind.templates(kind.Config.model_validate(other.config)).values()):
            named.append(other.title)
    return named


def accept_step(step: Step, *, by: Any) -> None:
    """Let a cut answer pass as it is; who did it is recorded."""
    with verb(step.workflow_id, by, "accept", detail=step.key) as workflow:
        step = _locked_step(step)
        last = step.attempts.filter(status=S.CUT_OFF).order_by("-number").first()
        if step.status != S.CUT_OFF or last is None:
            raise Refused(
                f"“{step.title}” has no cut answer to accept: it is {Status(step.status).label.lower()}."
            )
        text = requests.joined(last, last.output)
        if not text.strip():
            raise Refused(
                "There is no text to accept: the model only thought. Retry with another model or lower effort."
            )
        open_again(workflow)
        transition(step, S.CUT_OFF, S.COMPLETED, reason=Reason.USER, output=text)
        engine.settle(workflow)


# --- gates ---


def _gate(step: Step) -> tuple[Step, StepAttempt]:
    step = _locked_step(step)
    attempt = step.attempts.filter(status=S.WAITING).first()
    if step.status != S.WAITING or attempt is None:
        raise Refused(
            f"“{step.title}” does not wait for a decision: it is {Status(step.status).label.lower()}."
        )
    return step, attempt


def approve_step(step: Step, *, by: Any, text: str | None = None) -> None:
    """Let the reviewed text pass, as it is or edited."""
    with verb(
        step.workflow_id, by, "approve" if text is None else "edit and approve", detail=step.key
    ) as workflow:
        step, attempt = _gate(step)
        if text is not None and not text.strip():
            raise Refused("The edited text is empty. Send the step back, or cancel the workflow.")
        output = attempt.output if text is None else text.replace("\x00", "")
        transition(attempt, S.WAITING, S.COMPLETED, reason=Reason.USER, output=output)
        transition(step, S.WAITING, S.COMPLETED, output=output)
        engine.settle(workflow)


def send_back_step(step: Step, *, by: Any, comment: str) -> None:
    """Have the reviewed step write its answer again with a comment, and everything after it up to this gate."""
    comment = comment.replace("\x00", "").strip()
    with verb(step.workflow_id, by, "send back", detail=step.key) as workflow:
        step, attempt = _gate(step)
        if not comment:
            raise Refused("Say in the comment what should be different.")
        source = Step.objects.get(workflow=workflow, key=attempt.request["shows"])
        if source.status not in (S.COMPLETED, S.SKIPPED):
            raise Refused(
                f"“{source.title}” is {Status(source.status).label.lower()}; it cannot be sent back now."
            )
        transition(attempt, S.WAITING, S.CANCELLED, reason=Reason.USER)
        transition(step, S.WAITING, S.CANCELLED, reason=Reason.USER)
        transition(step, S.CANCELLED, S.PENDING)
        affected = _dependents(workflow, source) - {step.pk}
        done = Step.objects.filter(pk__in=affected, status__in=DONE)
        if Step.objects.filter(pk__in=affected, status__in=(S.RUNNING, S.WAITING)).exists():
            raise Refused("Other steps that use this answer are at work. Wait until they have ended.")
        for status in DONE:
            transition_all(
                Step, list(done.filter(status=status).values_list("pk", flat=True)), status, S.PENDING
            )
        transition(source, Status(source.status), S.PENDING)
        open_again(workflow)
        open_now(workflow, source, Cause.RERUN, {"comment": comment})
        engine.settle(workflow)
        transaction.on_commit(ring)


# --- running again from a step ---


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
    seen: int | None = None,
) -> None:
    """Run a step again, with its dependents and everything not done; what is completed besides is reused.

    Refused while the run is live, or while the step's own needs are not done. `config_edits` changes steps that run
    again, `output_edits` the stored outputs of steps that do not (each an attempt of cause `edit`). `seen` is the
    workflow's version that the person decided by.
    """
    with verb(step.workflow_id, by, "rerun", detail=step.key) as workflow:
        step = _locked_step(step)
        refuse_rerun(workflow)
        if seen is not None and workflow.version != seen:
            raise Refused("The workflow has changed since you looked at it. Look again at what would run.")
        check_needs(workflow, step)
        again = _rerun_set(workflow, step)
        for key, output in (output_edits or {}).items():
            _edit_output(workflow, key, output, again)
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
    return {step.pk, *_dependents(workflow, step), *undone}


def _dependents(workflow: Workflow, step: Step) -> set[int]:
    """Primary keys of the steps that need `step`, directly or through others."""
    rows = list(Step.objects.filter(workflow=workflow).values_list("pk", "key", "needs"))
    found: set[int] = set()
    keys = {step.key}
    while True:
        new = {pk: key for pk, key, needs in rows if pk not in found and keys.intersection(needs)}
        if not new:
            return found
        found |= new.keys()
        keys |= set(new.values())


def _edit_output(workflow: Workflow, key: str, output: str, again: set[int]) -> None:
    other = Step.objects.get(workflow=workflow, key=key)
    if other.pk in again or other.status not in DONE:
        raise Refused(
            f"The output of “{other.title}” is written anew or not there yet, so it cannot be edited."
        )
    engine.record_edit(other, output.replace("\x00", ""))
    actor = current_actor()
    assert actor is not None  # verb() sets it
    AuditEntry.of(actor, Workflow, workflow.pk, action="edit", detail=other.key).save()


# --- settings ---

UNCHANGED: Any = object()


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
            _refuse_unpriced(spec_of(locked))
        touch(Workflow, [locked.pk])
