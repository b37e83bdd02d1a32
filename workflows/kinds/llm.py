"""One question to a language model."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from nyxcore.llm.base import LLMError, Message, Request, classify
from workflows.fields import ModelId, Text
from workflows.kinds.base import Fill, KindConfig, Outcome, StepError, StepInput, StepKind, sizes
from workflows.kinds.seam import Seam
from workflows.problems import did_you_mean

MAX_PROMPT = 200_000  # characters of a template, before input is filled in
WEEK = 7 * 24 * 3600
QUOTED_TAIL = 200
# No current tokenizer makes fewer tokens of ordinary text than one for this many bytes; a prompt that is too
# long even so is refused here, with its sizes. In between the vendor decides.
BYTES_PER_TOKEN_AT_MOST = 6


class LLMConfig(KindConfig):
    prompt: Annotated[Text, Field(min_length=1, max_length=MAX_PROMPT)] = Field(
        description="What the model is asked; names input and earlier outputs."
    )
    system: Annotated[Text, Field(max_length=MAX_PROMPT)] = Field(
        default="", description="Role and standing rules. Takes no free text of users and no earlier output."
    )
    model: ModelId = Field(default="", description="Model id. Empty: the workflow's default model.")
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Room for the answer, thinking included. Empty: NYXCORE_DEFAULT_MAX_TOKENS.",
    )
    effort: Literal["", "low", "medium", "high", "xhigh", "max"] = Field(
        default="", description="How much the model thinks and writes. Empty: the model's own default."
    )
    on_cut_off: Literal["", "stop", "raise", "continue"] = Field(
        default="",
        description="What follows an answer that is cut at its limit. Empty: as the workflow says.",
    )
    deadline: Annotated[int, Field(ge=1, le=WEEK)] | None = Field(
        default=None, description="Seconds that one attempt may take. Empty: NYXCORE_STEP_DEADLINE."
    )


class LLMKind(StepKind[LLMConfig]):
    name = "llm"
    label = "Language model"
    description = "Sends a prompt, filled with input and earlier outputs, to a language model."
    paid = True
    instructions = frozenset({"system"})
    Config = LLMConfig

    def model_problems(self, config: LLMConfig, *, default_model: str) -> list[tuple[str, str]]:
        unknown = model_problem(config.model)
        if unknown:
            return [("model", unknown)]
        return limit_problems(config, default_model)

    def templates(self, config: LLMConfig) -> dict[str, str]:
        return {"system": config.system, "prompt": config.prompt}

    def prepare(
        self,
        config: LLMConfig,
        fill: Fill,
        *,
        default_model: str = "",
        max_tokens: int | None = None,
        earlier_text: str = "",
    ) -> dict[str, Any]:
        from django.conf import settings

        from nyxcore.llm import models

        system, prompt = fill("system", config.system), fill("prompt", config.prompt)
        if not prompt.strip():
            raise StepError("The prompt is empty once it is filled.", "prompt")
        model = config.model or default_model or models.default_model()
        asked = max_tokens or config.max_tokens or int(settings.NYXCORE_DEFAULT_MAX_TOKENS)
        room = models.clamp_max_tokens(model, asked)
        counted = sizes(fill, system=system, prompt=prompt)
        if earlier_text:
            counted["earlier_text"] = len(earlier_text)
        _refuse_too_long(model, system + prompt + earlier_text, counted)
        request = {
            "model": model,
            "system": system,
            "prompt": prompt,
            "max_tokens": room,
            "effort": config.effort or None,
            "sizes": counted,
        }
        return request if room == asked else request | {"max_tokens_asked": asked}

    def run(self, step: StepInput[LLMConfig]) -> Outcome:
        """Ask the model; with an earlier text, ask it to go on there, in a turn of the user's."""
        from nyxcore import llm

        seam = Seam(step.earlier_text if step.earlier_text.strip() else "", step.on_text)
        try:
            completion = llm.complete(build_request(step), on_text=seam.feed, stop=step.stop)
        except LLMError as error:
            error.partial = seam.close(error.partial)
            raise
        # By the whole answer: one that only repeats the earlier text is not "nothing but thinking".
        status, reason = classify(completion)
        completion = replace(completion, text=seam.close(completion.text))
        return Outcome(
            status=cast(Literal["completed", "cut_off"], status),
            reason=reason,
            text=completion.text,
            completion=completion,
        )


def build_request(step: StepInput[LLMConfig]) -> Request:
    """Return the call for a stored request, with the turns that continue an earlier answer."""
    asked = step.request
    messages: tuple[Message, ...] = (Message("user", asked["prompt"]),)
    if step.earlier_text.strip():
        messages += (Message("assistant", step.earlier_text), Message("user", go_on(step.earlier_text)))
    return Request(
        model=asked["model"],
        messages=messages,
        max_tokens=asked["max_tokens"],
        system=asked.get("system", ""),
        effort=asked.get("effort"),
    )


def go_on(earlier: str) -> str:
    """Return the turn that asks for the rest. The tail is quoted in a block: it is no instruction."""
    return (
        "Your answer was cut off at its length limit. Continue exactly after the last character of this:\n\n"
        f"<end_of_answer>{earlier[-QUOTED_TAIL:]}</end_of_answer>\n\n"
        "Write only what follows it: do not repeat any of it, do not open again a code block that is open, "
        "add no introduction and no remark about the interruption. Keep to the format, the numbering and the "
        "scope of the answer so far, and bring it to its end."
    )


def model_problem(model: str) -> str:
    """Return why the active provider cannot be asked for this model, or ""."""
    if not model:
        return ""
    from nyxcore import llm
    from nyxcore.llm import models

    active, info = llm.provider_name(), models.get(model)
    if info is None:
        # A compatible address serves models that no list of ours knows.
        if active == "openai":
            return ""
        known = {other.id for other in models.choices()} | (
            {*models.SEEDS} if active == "practice" else set()
        )
        return f"The model {model} is not known to the provider {active}.{did_you_mean(model, known)}"
    if info.lifecycle == "retired":
        return f"The model {model} was retired by its provider; choose another."
    if active not in ("practice", info.provider):
        return f"The model {model} belongs to the provider {info.provider}; the active one is {active}."
    return ""


def limit_problems(config: LLMConfig, default_model: str) -> list[tuple[str, str]]:
    """Return what the step asks beyond its model's abilities, as far as they are known."""
    from nyxcore.llm import models

    model = config.model or default_model or models.default_model()
    info = models.get(model)
    if info is None:
        return []
    problems = []
    if config.max_tokens and info.max_output_tokens and config.max_tokens > info.max_output_tokens:
        limit = f"{info.max_output_tokens:,}"
        problems.append(
            ("max_tokens", f"{config.max_tokens:,} is above the limit of {model}: at most {limit}.")
        )
    if config.effort and config.effort not in info.efforts:
        offered = ", ".join(info.efforts)
        told = f"knows only: {offered}" if offered else "has no effort setting; leave it empty"
        problems.append(("effort", f"{model} {told}."))
    return problems


def _refuse_too_long(model: str, text: str, counted: dict[str, int]) -> None:
    """Raise before the call where the prompt cannot fit into the model's context; name the largest parts."""
    from nyxcore.llm import models

    info = models.get(model)
    least = len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN_AT_MOST
    if info is None or not info.context_tokens or least <= info.context_tokens:
        return
    parts = {name: size for name, size in counted.items() if "." in name or name in ("input", "earlier_text")}
    largest = sorted(parts.items(), key=lambda item: -item[1])[:3]
    named = ", ".join(f"{name} {size:,}" for name, size in largest)
    raise StepError(
        f"The prompt has {len(text):,} characters, at least {least:,} tokens; "
        f"{model} takes {info.context_tokens:,}. "
        + (f"Largest parts, in characters: {named}. " if named else "")
        + "Shorten them or choose a model with a larger context.",
        "prompt",
    )
