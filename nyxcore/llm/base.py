"""What every provider of answers takes, returns and raises. Plain data; knows neither Django nor a vendor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

log = logging.getLogger(__name__)

GOOD_STOPS = frozenset({"end_turn", "stop_sequence"})
CUT_STOPS = {"max_tokens": "cut_off:max_tokens", "model_context_window_exceeded": "cut_off:context"}


PRACTICE_KEY = "x-practice"  # in a schema: what the practice model fills in; see samples.py


@dataclass(frozen=True)
class Message:
    role: Literal["user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """One question to a model. There is no temperature: current models refuse every sampling field.

    The last message is always the user's, because models refuse an answer that is begun for them.
    """

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    system: str = ""
    schema: dict[str, Any] | None = None
    effort: str | None = None
    cache: bool = True
    shared: str = ""  # stands before the first message, alike in many calls: kept in the vendor's cache

    def __post_init__(self) -> None:
        if not self.messages or self.messages[-1].role != "user":
            raise ValueError("A request must end with a user message.")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be at least 1, not {self.max_tokens}.")

    def joined(self) -> Request:
        """The same for vendors whose cache needs no marks: the shared part within the first message."""
        if not self.shared:
            return self
        first = replace(self.messages[0], content=f"{self.shared}\n\n{self.messages[0].content}")
        return replace(self, messages=(first, *self.messages[1:]), shared="")


def vendor_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` as it leaves for a vendor: without the words that only the practice model reads."""
    return {
        key: _stripped(value, named=key in ("properties", "$defs", "definitions"))
        for key, value in schema.items()
        if key != PRACTICE_KEY
    }


def _stripped(value: Any, *, named: bool) -> Any:
    if isinstance(value, list):
        return [_stripped(part, named=False) for part in value]
    if not isinstance(value, dict):
        return value
    if named:  # the keys are names of properties and not words of the schema
        return {name: _stripped(part, named=False) for name, part in value.items()}
    return vendor_schema(value)


@dataclass(frozen=True)
class Usage:
    """Tokens of one call. `input_tokens` leaves out cache reads and writes; all three are the prompt."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    thinking_tokens: int = 0
    raw: Mapping[str, Any] = field(default_factory=dict)
    estimated: bool = False


@dataclass(frozen=True)
class Completion:
    text: str
    stop_reason: str
    model: str
    usage: Usage
    request_id: str = ""
    seconds: float = 0.0


class LLMError(Exception):
    """A call that gave no usable answer.

    `message` is a sentence for people: what happened, where, and what to do. `retry_after` counts seconds
    from now. What had been written is in `partial`; `usage` is None when nothing can have been billed.
    """

    def __init__(
        self,
        message: str,
        reason: str = "internal",
        retryable: bool = False,
        retry_after: float | None = None,
        partial: str = "",
        usage: Usage | None = None,
        code: str = "",
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.retryable = retryable
        self.retry_after = retry_after
        self.partial = partial
        self.usage = usage
        self.code = code
        self.request_id = request_id


class Stopped(LLMError):
    """The caller's StopSignal ended the call. `reason` is the cause that was given with it."""


class StopSignal:
    """Tells a running call, from any thread, to end now. The first cause given is the one that stays."""

    def __init__(self) -> None:
        # Reentrant: a signal handler may set it in a thread that is just registering a callback.
        self._lock = threading.RLock()
        self._set = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self.cause = ""

    def set(self, cause: str) -> None:
        with self._lock:
            if self._set.is_set():
                return
            self.cause = cause
            self._set.set()
            for callback in tuple(self._callbacks):
                _run(callback)

    def is_set(self) -> bool:
        return self._set.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until set, at most `timeout` seconds; return whether it is set."""
        return self._set.wait(timeout)

    @contextmanager
    def on_set(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` when set, at once if that has been; after the block it never runs again."""
        with self._lock:
            self._callbacks.append(callback)
            if self._set.is_set():
                _run(callback)
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)


def _run(callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception:
        # Whoever sets the signal (a heartbeat, a signal handler) must reach the other callbacks too.
        log.exception("A stop callback failed")


def classify(completion: Completion) -> tuple[str, str]:
    """Return (status, reason) for an answer: completed, or cut off and by what.

    Thinking counts against max_tokens, so an answer cut there may hold no text at all: more room alone
    may not help then, which is why it has a reason of its own.
    """
    if completion.stop_reason in GOOD_STOPS:
        return "completed", ""
    reason = CUT_STOPS[completion.stop_reason]
    if reason == "cut_off:max_tokens" and not completion.text.strip():
        reason = "cut_off:thinking"
    return "cut_off", reason


@dataclass(frozen=True)
class ListedModel:
    """What a provider says of one of its models. 0 and "" mean that it does not say."""

    id: str
    label: str = ""
    context_tokens: int = 0
    max_output_tokens: int = 0
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    lifecycle: str = ""


class Provider(Protocol):
    """A vendor or a stand-in. `complete` blocks, streams inside and calls `on_text` in its own thread."""

    name: str

    def complete(
        self, request: Request, *, on_text: Callable[[str], None], stop: StopSignal
    ) -> Completion: ...

    def list_models(self) -> Sequence[ListedModel]: ...
