"""From rows to what a kind is asked, and from its answer back to columns."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import Any

from pydantic import ValidationError

from nyxcore import attempts
from nyxcore.attempts import facts_of as facts_of
from nyxcore.attempts import facts_of_error as facts_of_error
from nyxcore.attempts import result_from_row as result_from_row
from nyxcore.fencing import marker_of
from nyxcore.llm import models as registry
from nyxcore.llm.base import LLMError
from nyxcore.states import Reason, Status
from workflows import prompts, specs
from workflows.decide import DONE
from workflows.kinds import KINDS
from workflows.kinds.base import StepKind
from workflows.models import Step, StepAttempt, Workflow
from workflows.work import Job

PENNY = Decimal("0.0001")  # as budgets are stored


def build(
    workflow: Workflow,
    step: Step,
    *,
    max_tokens: int | None = None,
    continues: int | None = None,
    comment: str = "",
) -> dict[str, Any]:
    """The request of an attempt as it will be sent and stored: prompt, system, model, max_tokens, sizes.

    Raises LLMError (reason "prompt") when it cannot be filled from what there is.
    """
    return assemble(
        step.kind,
        step.config,
        input=workflow.input,
        outputs=_outputs(workflow.pk, needed(workflow.pk, step.needs)),
        default_model=workflow.default_model,
        max_tokens=max_tokens,
        earlier_text=chain_text(continues),
        revision=_revision(step.pk, comment),
        scope=f"workflow-{workflow.pk}",
    )


def build_for(job: Job) -> dict[str, Any]:
    """The same for a claimed job, with as few queries as its prompts allow."""
    outputs = {
        key: prompts.StepOutput(content=text, notes=notes) for key, (text, notes) in job.outputs.items()
    }
    farther = specs.outputs_used(job.kind, job.config) - outputs.keys()
    if specs.further_used(job.kind, job.config):
        farther |= needed(job.workflow, [job.key]) - {job.key}
    if farther:
        outputs |= _outputs(job.workflow, farther)
    return assemble(
        job.kind,
        job.config,
        input=job.input,
        outputs=outputs,
        default_model=job.default_model,
        max_tokens=job.max_tokens,
        earlier_text=chain_text(job.continues),
        revision=_revision(job.step, job.comment),
        scope=f"workflow-{job.workflow}",
    )


def assemble(
    kind_name: str,
    config: dict[str, Any],
    *,
    input: dict[str, Any],
    outputs: dict[str, prompts.StepOutput],
    default_model: str,
    max_tokens: int | None,
    earlier_text: str,
    revision: str,
    scope: str,
) -> dict[str, Any]:
    """Have the kind fill its prompts; `scope` is the run, whose fences have one marker."""
    kind = KINDS[kind_name]
    marker = marker_of(scope) if kind.paid else ""
    request = kind.prepare(
        _checked(kind, config),
        prompts.Filler(input=input, steps=outputs, marker=marker),
        default_model=default_model or registry.default_model(),
        max_tokens=max_tokens,
        earlier_text=earlier_text,
    )
    if prompts.fences(request.get("prompt", ""), marker):
        request["system"] = prompts.with_rule(request["system"], marker)
        request["sizes"]["system"] = len(request["system"])
    if revision and "prompt" in request:
        request["prompt"] += revision
    return request


def _checked(kind: StepKind[Any], config: dict[str, Any]) -> Any:
    try:
        return kind.Config.model_validate(config)
    except ValidationError as error:  # saved under other rules than today's
        raise LLMError(f"The step's settings are not valid: {error}", reason=Reason.PROMPT) from None


def needed(workflow_pk: int, needs: list[str]) -> set[str]:
    """The keys of the steps that `needs` stand on, directly or through others."""
    all_needs = dict(Step.objects.filter(workflow=workflow_pk).values_list("key", "needs"))
    found: set[str] = set()
    queue = list(needs)
    while queue:
        key = queue.pop()
        if key not in found:
            found.add(key)
            queue += all_needs.get(key, [])
    return found


def _outputs(workflow_pk: int, keys: set[str]) -> dict[str, prompts.StepOutput]:
    rows = Step.objects.filter(workflow=workflow_pk, key__in=keys, status__in=DONE).order_by("position")
    return {
        key: prompts.StepOutput(content=output, notes=notes, further=_further(pk, kind, output))
        for pk, key, kind, output, notes in rows.values_list("pk", "key", "kind", "output", "notes")
    }


def _further(step_pk: int, kind: str, output: str) -> dict[str, str]:
    """What a kind offers beside its output, by what its last attempt was asked."""
    if not KINDS[kind].for_owner:
        return {}
    asked = StepAttempt.objects.filter(step=step_pk).exclude(request={}).order_by("-number")
    return KINDS[kind].offers(output, asked.values_list("request", flat=True).first() or {})


def _revision(step_pk: int, comment: str) -> str:
    """What is added to the prompt when a person sent an answer back."""
    if not comment:
        return ""
    ended = StepAttempt.objects.filter(step=step_pk, status__in=(Status.COMPLETED, Status.CUT_OFF))
    last = ended.order_by("-number").first()
    earlier = (
        f"\n\n<your_earlier_answer>\n{joined(last, last.output)}\n</your_earlier_answer>" if last else ""
    )
    return (
        f"{earlier}\n\n<comment_of_the_reviewer>\n{comment}\n</comment_of_the_reviewer>\n\n"
        "Write the whole answer again, changed as the reviewer's comment asks."
    )


# --- answers in parts ---


def chain_text(attempt_pk: int | None) -> str:
    """The text so far of the attempt that another one continues."""
    if attempt_pk is None:
        return ""
    attempt = StepAttempt.objects.get(pk=attempt_pk)
    return joined(attempt, attempt.output)


def _chain(attempt: StepAttempt) -> list[StepAttempt]:
    """The attempts that this one goes on from, oldest first."""
    chain: list[StepAttempt] = []
    before = attempt.continues
    while before is not None:
        chain.append(before)
        before = before.continues
    return chain[::-1]


def part_number(attempt: StepAttempt) -> int:
    """1 for a first answer, 2 for the one that continues it, and so on."""
    return len(_chain(attempt)) + 1


def parts(attempt: StepAttempt) -> list[str]:
    """The parts of an answer whose last one is this attempt's."""
    return [*(part.output for part in _chain(attempt)), attempt.output]


def joined(attempt: StepAttempt, text: str) -> str:
    """The whole answer, when `text` is the last part of it."""
    return "".join(part.output for part in _chain(attempt)) + text


# --- money and usage ---


def worst_case(
    workflow: Workflow, step: Step, *, max_tokens: int | None, continues: int | None, comment: str
) -> Decimal:
    """USD that the next call of a step may cost at most; 0 for kinds that call nothing."""
    if not KINDS[step.kind].paid:
        return Decimal(0)
    request = build(workflow, step, max_tokens=max_tokens, continues=continues, comment=comment)
    return attempts.worst_case(request["model"], _prompt_tokens(request), int(request["max_tokens"]))


def share(step: Step, left: Decimal) -> Decimal:
    """USD of what is left of a budget that a step may spend elsewhere: what its own budget says, else all."""
    own = step.config.get("budget")
    return min(left, Decimal(str(own)) if own else left).quantize(PENNY, ROUND_DOWN)


def _prompt_tokens(request: dict[str, Any]) -> int:
    sent = f"{request.get('system', '')}{request.get('prompt', '')}"
    return registry.estimate_tokens(sent) + int(request.get("sizes", {}).get("earlier_text", 0))


def estimate_cost(attempt: StepAttempt) -> None:
    """A lost call counts with the prompt it sent and the text that arrived; the vendor's total never came."""
    if attempt.request.get("prompt"):
        attempts.estimate_cost(attempt, _prompt_tokens(attempt.request))
