"""Remedies for one step: retry, continue, skip, accept."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from nyxcore.pulse import ring
from nyxcore.states import Reason, Status, transition
from workflows import again, engine, requests
from workflows.kinds import KINDS
from workflows.models import Cause, Step, StepAttempt, Workflow
from workflows.services.base import Refused, check_needs, fresh, open_again, open_now, verb
from workflows.services.definition import edit_config

S = Status


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
        step = fresh(step)
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
        edit_config(workflow, step, edits)
        check_needs(workflow, step)
        open_again(workflow)
        step = fresh(step)
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


def skip_step(step: Step, *, by: Any, replacement: str = "") -> None:
    """Go on without a step's result. Where a later prompt names its output, a replacement text is needed."""
    with verb(step.workflow_id, by, "skip", detail=step.key) as workflow:
        step = fresh(step)
        if step.status not in (S.PENDING, S.FAILED, S.CANCELLED, S.CUT_OFF):
            raise Refused(f"“{step.title}” cannot be skipped: it is {Status(step.status).label.lower()}.")
        users = _named_by(workflow, step)
        if users and not replacement.strip():
            raise Refused(
                f"{', '.join(users)} uses the output of “{step.title}”: give a text to use in its place."
            )
        if workflow.status != S.PENDING:
            open_again(workflow)
            step = fresh(step)
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
        step = fresh(step)
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
