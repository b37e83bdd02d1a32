"""What a step kind is: plain data in, plain data out. A kind knows no rows, no browser, no engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Generic, Literal, TypeVar

from nyxcore.llm.base import Completion, LLMError, StopSignal
from workflows.fields import Strict

Fill = Callable[[str, str], str]  # (place, template) -> filled text; prompts.Filler also counts the sizes


class KindConfig(Strict):
    """The options of one kind; each kind has its own, so that none can stand where nothing reads it."""


C = TypeVar("C", bound=KindConfig)


class StepError(LLMError):
    """A step that cannot go on. It bears the facts of a failed model call: the engine treats both alike."""


def _nobody_watches(text: str) -> None:
    """Where text is not shown while it is written."""


@dataclass(frozen=True)
class StepInput(Generic[C]):
    config: C
    request: dict[str, Any]  # what prepare() made, as stored on the attempt
    number: int = 1
    cause: str = "start"
    earlier_text: str = ""  # what the attempts have written that this one continues
    on_text: Callable[[str], None] = _nobody_watches
    stop: StopSignal = field(default_factory=StopSignal)
    dom_id: str = ""  # of the step: the key under which an effect outside is made once
    owner: int = 0  # primary key of the run's owner, for kinds that act on somebody's behalf
    budget: Decimal | None = None  # USD that such a kind may spend elsewhere; None: no limit


@dataclass(frozen=True)
class Outcome:
    """How a run of a step ended. `text` is what this attempt adds: a continuation holds only the new part."""

    status: Literal["completed", "cut_off", "waiting"]
    reason: str = ""
    text: str = ""
    completion: Completion | None = None  # of a paid call
    look_again: float | None = None  # waiting: seconds until somebody looks again
    keep: Mapping[str, Any] = field(default_factory=dict)  # waiting: added to the request that is stored


class StepKind(ABC, Generic[C]):
    name: ClassVar[str]
    label: ClassVar[str]
    description: ClassVar[str]
    paid: ClassVar[bool]  # its runs cost money: a budget reserves for them
    for_owner: ClassVar[bool] = False  # whether it begins something on behalf of the run's owner, at his cost
    # Places of templates() that must hold no text of users or models: see prompts.check.
    instructions: ClassVar[frozenset[str]] = frozenset()
    Config: type[C]

    def complete(self, config: C, *, needs: Sequence[str], previous: str) -> C:
        """Return the config with what follows from the step's place: its needs and the step before it."""
        return config

    def problems(self, config: C) -> list[tuple[str, str]]:
        """Return (option, message) for what the schema alone cannot tell."""
        return []

    def model_problems(self, config: C, *, default_model: str) -> list[tuple[str, str]]:
        """Return (option, message) for what the active provider or the model's limits do not allow."""
        return []

    @abstractmethod
    def templates(self, config: C) -> dict[str, str]:
        """Return the Jinja text of each place that is filled; a place bears the name of its option."""

    @abstractmethod
    def prepare(
        self, config: C, fill: Fill, *, default_model: str, max_tokens: int | None, earlier_text: str = ""
    ) -> dict[str, Any]:
        """Return the request that is stored on the attempt (JSON). `max_tokens` overrides the config's."""

    @abstractmethod
    def run(self, step: StepInput[C]) -> Outcome:
        """Do the step; raise LLMError where it fails."""

    def look(self, request: dict[str, Any], waited: float) -> float | Outcome | None:
        """Seconds until a waiting step is looked at again (None: no limit), or how it has ended; StepError when it
        has failed or its time is up."""
        return None

    def abandon(self, request: dict[str, Any]) -> None:
        """A waiting attempt was cancelled: end what it waits for."""

    def spent(self, request: Mapping[str, Any]) -> tuple[Decimal, bool] | None:
        """What that which it began has cost so far, in USD, and whether a part of that is estimated."""
        return None

    def offers(self, output: str, request: Mapping[str, Any]) -> dict[str, str]:
        """What a completed step offers to later prompts beside its content, by the name of the part."""
        return {}


def sizes(fill: Fill, **places: str) -> dict[str, int]:
    """Return the characters of each place and, where `fill` counts them, of each part filled in."""
    return {name: len(text) for name, text in places.items()} | dict(getattr(fill, "sizes", {}))
