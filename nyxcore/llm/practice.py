"""The practice model: offline, free, the same answer to the same prompt, streamed at reading speed.

It is no language model and says so in its first line. It keeps to the rules of the real ones: max_tokens cuts
its answer, a schema gets valid JSON, a StopSignal ends it, and a cut answer can be continued.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nyxcore.llm import samples
from nyxcore.llm.base import Completion, ListedModel, Request, Stopped, StopSignal, Usage

TOKEN = 4  # characters
TICK = 0.05  # seconds between two pieces of text, at most
FIRST_LINE = (
    "*Practice answer: written by nyxcore's practice model, which is no language model. "
    "With a key in ANTHROPIC_API_KEY a real model answers here.*"
)
SHORT_ANSWER = (300, 1100)  # tokens, chosen by the prompt
GROWTH = 1.15  # what asks to improve or extend a text gets it back this much longer ...
LONGEST_ANSWER = 9_000  # ... up to here, well below the 16,384 of the long-form templates

REWRITES = re.compile(r"\b(improv|extend|expand|rewrit|revis|polish|refin|deepen)", re.IGNORECASE)
WORD = re.compile(r"[^\W\d_]{5,20}")
HEADINGS = (
    "What matters about {a}",
    "From {a} to {b}",
    "{a}, step by step",
    "Risks around {a}",
    "How {a} meets {b}",
    "Open questions on {a}",
    "Checks for {a}",
)
SENTENCES = (
    "Here a model would explain how {a} depends on {b}, and what follows from it.",
    "The prompt gives {a} much room, so the answer does too.",
    "A good answer would weigh {a} against {b} and name the price of each.",
    "This sentence stands for a concrete example of {a}.",
    "Where {a} is uncertain, the answer should say so and tell how to find out.",
    "Readers who care about {b} will look for {c} first.",
    "First {a}, then {b}: the order is easy to change and hard to guess.",
    "Nothing here was reasoned about; only the words {a} and {c} come from the prompt.",
    "Two measures help to see whether {a} works: how often {b} fails, and how long {c} takes.",
    "If {a} is left out, {b} has to carry the weight alone.",
    "The next step builds on this part, so it names {c} once more.",
)


class PracticeProvider:
    name = "practice"

    def __init__(self, tokens_per_second: float = 80) -> None:
        self._speed = max(tokens_per_second, 1)

    def complete(self, request: Request, *, on_text: Callable[[str], None], stop: StopSignal) -> Completion:
        request = request.joined()
        started = time.monotonic()
        whole = answer_to(request)
        text = whole[: request.max_tokens * TOKEN]
        sent = 0
        while not stop.is_set() and sent < len(text):
            due = (int((time.monotonic() - started) * self._speed) + 1) * TOKEN
            if due > sent:
                on_text(text[sent:due])
                sent = min(due, len(text))
            stop.wait(min(TICK, (len(text) - sent) / TOKEN / self._speed))
        if sent < len(text):
            usage = _usage(request, text[:sent], estimated=True)
            message = f"The practice answer was stopped ({stop.cause})."
            raise Stopped(message, stop.cause, partial=text[:sent], usage=usage)
        return Completion(
            text=text,
            stop_reason="end_turn" if text == whole else "max_tokens",
            model=self.name,
            usage=_usage(request, text),
            request_id=f"practice-{_digest(request)[:12]}",
            seconds=time.monotonic() - started,
        )

    def list_models(self) -> Sequence[ListedModel]:
        return []


def _usage(request: Request, text: str, *, estimated: bool = False) -> Usage:
    prompt = len(request.system) + sum(len(message.content) for message in request.messages)
    return Usage(
        input_tokens=_tokens(prompt),
        output_tokens=_tokens(len(text)),
        raw={"practice": True},
        estimated=estimated,
    )


def _tokens(characters: int) -> int:
    return -(-characters // TOKEN)


def _digest(request: Request) -> str:
    return hashlib.sha256(
        f"{request.system}\0{request.messages[0].content}".encode("utf-8", "replace")
    ).hexdigest()


def answer_to(request: Request) -> str:
    """Return the whole answer, or what is missing of it after the assistant's part in the request."""
    rng = random.Random(_digest(request))
    if request.schema is not None:
        prompt = "\n".join(message.content for message in request.messages)
        return json.dumps(samples.sample(request.schema, rng, samples.quotes_in(prompt)), indent=2)
    whole = _write(request.system, request.messages[0].content, rng)
    begun = "".join(message.content for message in request.messages if message.role == "assistant")
    at = whole.find(begun[-200:]) if begun else -1
    return whole if at < 0 else whole[at + len(begun[-200:]) :] or "That was all."


def _write(system: str, prompt: str, rng: random.Random) -> str:
    instructions = f"{system} {prompt[:400]} {prompt[-400:]}"
    rewrites = REWRITES.search(instructions) is not None
    tokens = rng.randint(*SHORT_ANSWER)
    if rewrites:
        tokens = min(max(tokens, int(_tokens(len(prompt)) * GROWTH)), LONGEST_ANSWER)
    topics = _topics(prompt)
    blocks = _rewritten(prompt, topics, rng) if rewrites else _fresh(topics, rng)
    parts, length = [FIRST_LINE], len(FIRST_LINE)
    for block in blocks:
        parts.append(block)
        length += len(block) + 2
        if length >= tokens * TOKEN:
            break
    return "\n\n".join(parts) + "\n"


def _topics(prompt: str) -> list[str]:
    counted = Counter(word.lower() for word in WORD.findall(prompt))
    frequent = [word for word, _ in counted.most_common(12)]
    return [*frequent, "purpose", "structure", "evidence"]


def _fill(template: str, topics: list[str], rng: random.Random) -> str:
    a, b, c = rng.sample(topics, 3)
    return template.format(a=a, b=b, c=c)


def _sentences(topics: list[str], rng: random.Random, number: int) -> list[str]:
    return [_fill(template, topics, rng) for template in rng.sample(SENTENCES, number)]


def _fresh(topics: list[str], rng: random.Random) -> Iterator[str]:
    """Sections without end: a heading, a paragraph, sometimes a list or a table."""
    while True:
        heading = _fill(rng.choice(HEADINGS), topics, rng)
        yield f"## {heading[0].upper()}{heading[1:]}"
        yield " ".join(_sentences(topics, rng, rng.randint(3, 5)))
        kind = rng.random()
        if kind < 0.4:
            yield "\n".join(f"- {line}" for line in _sentences(topics, rng, rng.randint(3, 5)))
        elif kind < 0.55:
            rows = [f"| {word} | {_sentences(topics, rng, 1)[0]} |" for word in rng.sample(topics, 3)]
            yield "\n".join(["| Part | Note |", "| --- | --- |", *rows])


def _rewritten(prompt: str, topics: list[str], rng: random.Random) -> Iterator[str]:
    """The prompt's own paragraphs, each with a sentence more; then fresh sections."""
    yield "## The text, gone over once more"
    for paragraph in re.split(r"\n\s*\n", prompt):
        kept = "\n".join(
            line for line in paragraph.splitlines() if not line.lstrip().startswith("```")
        ).strip()
        if kept and not kept.startswith(FIRST_LINE[:20]) and not REWRITES.search(kept[:80]):
            yield kept
            yield _sentences(topics, rng, 1)[0]
    yield from _fresh(topics, rng)
