"""A person reads an output and approves it, edits it, or sends it back. Costs nothing, holds no worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from workflows.fields import Text
from workflows.kinds.base import Fill, KindConfig, Outcome, StepError, StepInput, StepKind, sizes

YEAR = 366 * 24 * 3600


class GateConfig(KindConfig):
    instructions: Annotated[Text, Field(max_length=20_000)] = Field(
        default="",
        description="What the person should look at and decide; may name input and earlier outputs.",
    )
    shows: Annotated[str, Field(max_length=60)] = Field(
        default="", description="Key of the step whose output is reviewed. Empty: the step before."
    )
    timeout: Annotated[int, Field(ge=1, le=YEAR)] | None = Field(
        default=None, description="Seconds to wait for a decision; then the step fails. Empty: no limit."
    )


class GateKind(StepKind[GateConfig]):
    name = "gate"
    label = "Approval"
    description = "Waits until a person approves an output, edits it, or sends it back with a comment."
    paid = False
    Config = GateConfig

    def complete(self, config: GateConfig, *, needs: Sequence[str], previous: str) -> GateConfig:
        if config.shows:
            return config
        shown = previous if previous in needs else needs[0] if len(needs) == 1 else ""
        return config.model_copy(update={"shows": shown})

    def problems(self, config: GateConfig) -> list[tuple[str, str]]:
        if config.shows:
            return []
        return [
            ("shows", "Say which step's output is reviewed: its key, one of the steps that this one needs.")
        ]

    def templates(self, config: GateConfig) -> dict[str, str]:
        shown = f"{{{{ steps.{config.shows}.content }}}}" if config.shows else ""
        return {"instructions": config.instructions, "shows": shown}

    def prepare(
        self,
        config: GateConfig,
        fill: Fill,
        *,
        default_model: str = "",
        max_tokens: int | None = None,
        earlier_text: str = "",
    ) -> dict[str, Any]:
        if not config.shows:
            raise StepError("This approval names no step whose output it shows.", "prompt")
        filled = {place: fill(place, template) for place, template in self.templates(config).items()}
        return {
            "instructions": filled["instructions"],
            "shows": config.shows,
            "content": filled["shows"],
            "timeout": config.timeout,
            "sizes": sizes(fill, instructions=filled["instructions"], content=filled["shows"]),
        }

    def run(self, step: StepInput[GateConfig]) -> Outcome:
        return Outcome("waiting", text=step.request["content"], look_again=self._left(step.request, 0.0))

    def look(self, request: dict[str, Any], waited: float) -> float | Outcome | None:
        return self._left(request, waited)

    def _left(self, request: dict[str, Any], waited: float) -> float | None:
        timeout = request.get("timeout")
        if timeout is None:
            return None
        if waited >= timeout:
            raise StepError(
                f"Nobody decided within {_duration(timeout)}, the limit of this approval.", "deadline"
            )
        return float(timeout - waited)


def _duration(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
