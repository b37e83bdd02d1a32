"""The model server of the laboratory: each step's calls are planned by the mark in its prompt."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

from tests.nyxcore.llm.wire import END, answer, block, event, start, stop, text
from tests.processes.model import BEGINNING, HOLD, Call, Model

MARK = re.compile(r"\[([\w.-]+)\]")
LAST = [event("content_block_stop", index=0), stop("end_turn"), END]


def rest(words: str = "and the rest.", pause: float = 0.0) -> list[Any]:
    """What follows the beginning; with a `pause`, piece by piece."""
    pieces = re.findall(r"\S+\s*", words) if pause else [words]
    return [part for piece in pieces for part in (pause, text(piece))] + LAST


SLOW = rest("and the rest, word by word, for longer than a lease lasts.", pause=0.25)
BEFORE = [HOLD, *answer("A whole answer.")]  # held before the first byte
MIDDLE_HEAD = [start(), block(), text(BEGINNING)]
MIDDLE = [*MIDDLE_HEAD, HOLD, *rest()]  # held in mid-stream
EMPTY = [start(), stop("end_turn"), END]  # 200, a stop reason, and no text
CUT: list[Any] = []  # nothing more: the connection is closed


class LabModel(Model):
    """Calls are told apart by the mark in the prompt, [run.step]; a step without a plan gets a whole answer."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: defaultdict[str, deque[Sequence[Any]]] = defaultdict(deque)

    def plan(self, mark: str, *scripts: Sequence[Any]) -> None:
        self.plans[mark].extend(scripts)

    def script(self, body: dict[str, Any]) -> Sequence[Any]:
        waiting = self.plans[mark_of(body)]
        script = waiting.popleft() if waiting else answer("A whole answer.")
        return spoken(script, said_of(body))

    def of(self, mark: str) -> list[Call]:
        """The calls for one step, oldest first."""
        return [call for call in self.calls if mark_of(call.body) == mark]

    def held_now(self, mark: str) -> Call | None:
        """The newest call for a step, if its answer is held."""
        calls = self.of(mark)
        return calls[-1] if calls and calls[-1].held.is_set() and not calls[-1].ended.is_set() else None

    def let_go(self) -> None:
        """Nothing is held any more, and nothing is planned."""
        self.plans.clear()
        for call in self.calls:
            if call.held.is_set() and not call.ended.is_set():
                call.release()


# What a call of an analysis has to be answered with, by the first words of its system prompt.
OVERVIEW, CHUNK = "You describe a repository", "You review source code"
SAID = {
    OVERVIEW: '{"summary": "A shop.", "stack": ["Python"], "layout": "", "conventions": ""}',
    CHUNK: '{"findings": []}',
}


def said_of(body: dict[str, Any]) -> str:
    """The answer in its form; "" for a call of a workflow, which may be answered with anything."""
    return next((said for words, said in SAID.items() if _system(body).startswith(words)), "")


def spoken(script: Sequence[Any], said: str) -> Sequence[Any]:
    """A script with `said` in place of its words."""
    if not said:
        return script
    if script is MIDDLE:
        return [start(), block(), text(said[:9]), HOLD, *rest(said[9:])]
    return [HOLD, *answer(said)] if script is BEFORE else answer(said)


def _system(body: dict[str, Any]) -> str:
    system = body.get("system", "")
    return system if isinstance(system, str) else " ".join(part.get("text", "") for part in system)


def mark_of(body: dict[str, Any]) -> str:
    if _system(body).startswith(OVERVIEW):
        return "overview"
    content = body["messages"][-1]["content"]
    words = content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
    found = MARK.search(words)
    return found[1] if found else ""
