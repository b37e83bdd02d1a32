"""What a definition would do: the filled prompt of a step, and the tokens and money a run may take.

Nothing is stored and no model is asked. Outputs of earlier steps are not known before the run: the preview holds a
mark in their place, the estimate counts them from a short answer up to the limit of their step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.safestring import SafeString

from nyxcore.fencing import new_marker
from nyxcore.llm import models as registry
from nyxcore.states import Status
from workflows import drawing, prompts
from workflows.builder.draft import Draft
from workflows.kinds import KINDS
from workflows.lines import StepLine
from workflows.promptcheck import FURTHER, REPO
from workflows.prompts import PromptError, StepOutput
from workflows.specs import StepSpec, WorkflowSpec

SHORT_ANSWER = 500  # tokens; what the low end of an estimate takes an answer to have


@dataclass(frozen=True)
class Part:
    """One name that was filled in."""

    name: str
    chars: int
    note: str = ""


@dataclass(frozen=True)
class Place:
    """One filled text of a step: its prompt, its instructions."""

    name: str
    text: str
    tokens: int
    parts: Sequence[Part]
    trouble: str = ""


def preview(spec: WorkflowSpec, index: int, examples: Mapping[str, str]) -> list[Place]:
    """The texts of one step as they would be sent."""
    step = spec.steps[index]
    kind = KINDS[step.kind]
    outputs = {
        other.key: StepOutput(
            f"[The output of step {number}, {other.title}]", notes=other.notes, further=_unknown(other)
        )
        for number, other in enumerate(spec.steps, 1)
    }
    rooms = {other.key: _room(other) for other in spec.steps if KINDS[other.kind].paid}
    templates = kind.templates(kind.Config.model_validate(step.config))
    marker = new_marker() if kind.paid else ""
    places = [
        _place(name, text, examples, outputs, rooms, marker) for name, text in templates.items() if text
    ]
    return _with_rule(places, marker) if marker else places


def _with_rule(places: list[Place], marker: str) -> list[Place]:
    """The places of a step that asks a model, with what its system prompt will say of the fences."""
    prompt = next((place.text for place in places if place.name == "prompt"), "")
    system = next((place for place in places if place.name == "system"), Place("system", "", 0, ()))
    if system.trouble or not prompts.fences(prompt, marker):
        return places
    text = prompts.with_rule(system.text, marker)
    told = replace(system, text=text, tokens=registry.estimate_tokens(text))
    return [told, *(place for place in places if place.name != "system")]


def _unknown(step: StepSpec) -> dict[str, str]:
    """Marks in the place of what only some kinds offer."""
    names = (*FURTHER, *REPO) if KINDS[step.kind].for_owner else ()
    return {name: f"[{name} of {step.title}]" for name in names}


def _place(
    name: str,
    text: str,
    examples: Mapping[str, str],
    outputs: Mapping[str, StepOutput],
    rooms: Mapping[str, int],
    marker: str,
) -> Place:
    try:
        filled = prompts.fill(text, input=examples, steps=outputs, marker=marker)
    except PromptError as error:
        return Place(name, "", 0, (), error.message)
    parts = []
    for part, chars in sorted(filled.sizes.items()):
        if part.startswith("steps.") and not part.endswith(".notes"):
            room = rooms.get(part.split(".")[1])
            parts.append(
                Part(
                    part, 0, f"up to {room:,} tokens, known after its run" if room else "known after its run"
                )
            )
        else:
            parts.append(Part(part, chars))
    return Place(name, filled.text, registry.estimate_tokens(filled.text), parts)


# --- estimate -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepCost:
    """What one call may take. Money is None where the price is unknown."""

    title: str
    model: str
    tokens_in: tuple[int, int]
    tokens_out: tuple[int, int]
    low: Decimal | None
    high: Decimal | None
    context: int = 0  # of the model, where the prompt may not fit into it


@dataclass(frozen=True)
class Estimate:
    lines: Sequence[StepCost]

    @property
    def tokens(self) -> tuple[int, int]:
        return tuple(sum(line.tokens_in[end] + line.tokens_out[end] for line in self.lines) for end in (0, 1))  # type: ignore[return-value]

    @property
    def unpriced(self) -> list[str]:
        """The models whose price is not known."""
        return list(
            dict.fromkeys(line.model or "the default model" for line in self.lines if line.high is None)
        )

    @property
    def low(self) -> Decimal:
        return sum((line.low for line in self.lines if line.low is not None), Decimal(0))

    @property
    def high(self) -> Decimal:
        return sum((line.high for line in self.lines if line.high is not None), Decimal(0))

    @property
    def known(self) -> bool:
        """At least one price is known."""
        return any(line.high is not None for line in self.lines)


def estimate(spec: WorkflowSpec, examples: Mapping[str, str]) -> Estimate:
    """One call a step, from short answers to answers as long as their limits; retries are not counted."""
    empty = {step.key: StepOutput("x", notes=step.notes, further=_unknown(step)) for step in spec.steps}
    written: dict[str, tuple[int, int]] = {}  # tokens of each output so far, low and high
    lines = []
    for step in spec.steps:
        config = KINDS[step.kind].Config.model_validate(step.config)
        templates: dict[str, str] = KINDS[step.kind].templates(config)
        sent = _sent(templates, examples, empty, written)
        if not KINDS[step.kind].paid:
            written[step.key] = sent  # an approval passes on what it shows
            continue
        line = _cost(spec, step, sent)
        written[step.key] = line.tokens_out
        lines.append(line)
    return Estimate(lines)


def _sent(
    templates: Mapping[str, str],
    examples: Mapping[str, str],
    empty: Mapping[str, StepOutput],
    written: Mapping[str, tuple[int, int]],
) -> tuple[int, int]:
    """Tokens of what a step sends. Each output counts once for each text that names it."""
    low = high = 0
    for template in templates.values():
        try:
            fixed = registry.estimate_tokens(prompts.fill(template, input=examples, steps=empty).text)
        except PromptError:
            fixed = registry.estimate_tokens(template)
        named = {name.split(".")[1] for name in prompts.names(template) if name.startswith("steps.")}
        low += fixed + sum(written[key][0] for key in named if key in written)
        high += fixed + sum(written[key][1] for key in named if key in written)
    return low, high


def _cost(spec: WorkflowSpec, step: StepSpec, sent: tuple[int, int]) -> StepCost:
    model = str(step.config.get("model") or spec.default_model or registry.default_model())
    room = registry.clamp_max_tokens(model, _room(step))
    out = (min(SHORT_ANSWER, room), room)
    info = registry.get(model)
    context = info.context_tokens if info else 0
    return StepCost(
        step.title, model, sent, out,
        registry.worst_case(model, sent[0], out[0]) if model else None,
        registry.worst_case(model, sent[1], out[1]) if model else None,
        context if context and sent[1] > context else 0,
    )  # fmt: skip


def _room(step: StepSpec) -> int:
    return int(step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)


# --- drawing --------------------------------------------------------------------------------------------------


def draw(draft: Draft) -> SafeString:
    """The steps and what they wait for, also while the draft has mistakes. Each leads to its fields."""
    return drawing.draw(_lines(draft))


def describe(draft: Draft) -> list[str]:
    """The drawing in words."""
    lines = _lines(draft)
    place = {line.key: line.position for line in lines}
    said = []
    for line in lines:
        before = [str(place[need]) for need in line.needs if need in place]
        said.append(
            f"{line.position} {line.title}: " + (f"after {', '.join(before)}" if before else "starts at once")
        )
    return said


def _lines(draft: Draft) -> list[StepLine]:
    now = timezone.now()
    data: list[dict[str, Any]] = draft.data()["steps"]
    found: list[StepLine] = []
    for row, step in zip(draft.steps, data, strict=True):
        before = [found[-1].key] if found else []
        found.append(
            StepLine(
                pk=row.number, workflow_pk=0, position=len(found) + 1, key=step["key"], title=step["title"],
                kind=step["kind"], status=Status.PENDING, reason="", version=1, attempt_version=0, attempt_pk=0,
                needs=before if step["needs"] is None else [need for need in step["needs"] if need != step["key"]],
                took=None, since=None, model="", cap=0, attempt_status="", cause="", output_tokens=None, sent=0,
                cost=None, estimated=False, tokens=0, attempts=0, now=now,
            )
        )  # fmt: skip
    return found
