"""A step that takes the last step's 1 KB text and returns a new one."""

from __future__ import annotations

from typing import Any

from workflows.kinds.base import Fill, KindConfig, Outcome, StepInput, StepKind

SIZE = 1024


class NoopConfig(KindConfig):
    prompt: str = "x"


class NoopKind(StepKind[NoopConfig]):
    name = "noop"
    label = "Nothing"
    description = "Returns as much text as it got."
    paid = False
    Config = NoopConfig

    def templates(self, config: NoopConfig) -> dict[str, str]:
        return {"prompt": config.prompt}

    def prepare(
        self,
        config: NoopConfig,
        fill: Fill,
        *,
        default_model: str = "",
        max_tokens: int | None = None,
        earlier_text: str = "",
    ) -> dict[str, Any]:
        return {"prompt": fill("prompt", config.prompt)}

    def run(self, step: StepInput[NoopConfig]) -> Outcome:
        return Outcome("completed", text=change(step.request["prompt"]))


def change(text: str) -> str:
    """A new text of 1 KB made from the last one."""
    return (chr(97 + len(text) % 26) + text).ljust(SIZE, "x")[:SIZE]
