"""A provider that gives the answers it was told to, piece by piece, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from nyxcore.llm.base import Completion, ListedModel, LLMError, Request, StopSignal, Usage


@dataclass
class Answer:
    text: str
    stop_reason: str = "end_turn"
    error: LLMError | None = None
    pieces: int = 7  # characters in one piece


@dataclass
class ScriptedProvider:
    name: str = "scripted"
    answers: ClassVar[list[Answer]] = []
    requests: ClassVar[list[Request]] = []
    options: dict[str, str] = field(default_factory=dict)

    def complete(self, request: Request, *, on_text: Callable[[str], None], stop: StopSignal) -> Completion:
        self.requests.append(request)
        answer = self.answers.pop(0)
        for start in range(0, len(answer.text), answer.pieces):
            on_text(answer.text[start : start + answer.pieces])
        if answer.error:
            answer.error.partial = answer.text
            raise answer.error
        return Completion(answer.text, answer.stop_reason, request.model, Usage(output_tokens=5))

    def list_models(self) -> Sequence[ListedModel]:
        return []
