"""The calls that this process is making now: their text so far, and the signal that stops each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from nyxcore import events
from nyxcore.llm.base import StopSignal

TEXT_EVERY = 0.125  # s between two text events of one call

Key = tuple[str, int]  # table and primary key of the attempt


def storable(text: str) -> str:
    """PostgreSQL takes no NUL, and UTF-8 no half of a surrogate pair."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


@dataclass
class Call:
    """One running attempt. `on_text` is called by the thread that streams; the others by the pulse."""

    key: Key
    channel: str
    dom_id: str
    worker: str  # the name under which the attempt is held
    deadline: float  # time.monotonic() after which it has to stop
    stop: StopSignal = field(default_factory=StopSignal)
    parts: list[str] = field(default_factory=list)
    length: int = 0  # code points so far
    announced: int = 0  # code points that text events have carried
    saved: int = 0  # code points that the row has
    announced_at: float = 0.0
    shown: bool = True  # whether pages show the text while it is written
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on_text(self, delta: str) -> None:
        """Keep the text, and announce it at most eight times a second."""
        delta = storable(delta)  # offsets must agree with the row
        with self.lock:
            self.parts.append(delta)
            self.length += len(delta)
        if time.monotonic() - self.announced_at >= TEXT_EVERY:
            self.announce()

    def text(self) -> str:
        with self.lock:
            if len(self.parts) > 1:
                self.parts = ["".join(self.parts)]
            return self.parts[0] if self.parts else ""

    def announce(self) -> None:
        """Send what no text event has carried yet."""
        if not self.shown:
            return
        text = self.text()
        with self.lock:
            offset, self.announced, self.announced_at = self.announced, len(text), time.monotonic()
        if offset < len(text):
            events.text(self.channel, self.key[1], self.dom_id, offset, text[offset:])


class Calls:
    """The registry of a process; `draining` forbids new ones."""

    def __init__(self) -> None:
        self.draining = False
        self._calls: dict[Key, Call] = {}
        self._lock = threading.Lock()

    @contextmanager
    def holding(self, call: Call) -> Iterator[Call]:
        """Register `call` for as long as the block runs: its lease is renewed, its text saved."""
        with self._lock:
            self._calls[call.key] = call
        try:
            yield call
        finally:
            with self._lock:
                self._calls.pop(call.key, None)

    def all(self) -> list[Call]:
        with self._lock:
            return list(self._calls.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._calls

    def stop(self, key: Key, cause: str) -> None:
        """Ask one call to end, if it is made here."""
        call = self._calls.get(key)
        if call:
            call.stop.set(cause)


CALLS = Calls()
