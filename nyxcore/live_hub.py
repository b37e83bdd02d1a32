"""All event streams of a process, fed by its one subscription. Everything here runs on one event loop."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

from django.conf import settings

from nyxcore import bus, events
from nyxcore.live_tokens import Claim

log = logging.getLogger(__name__)

STREAMS_PER_USER = 50  # in one process; setting NYXCORE_LIVE_STREAMS
PING_AFTER = 15.0  # s without an event
STALLED_AFTER = 30.0  # s in which a client took nothing
MAX_PENDING, MAX_PENDING_BYTES = 500, 256 * 1024  # for each stream, beside what its socket holds


def encode(event: str, data: str) -> bytes:
    """One event as bytes. Line breaks in `data` become further data lines, so nothing can be injected."""
    from django_eventstream.utils import sse_encode_event

    return str(sse_encode_event(event, data)).encode("utf-8", "replace")


RESYNC, AWAY, EXPIRED = (f"event: {name}\ndata: {{}}\n\n".encode() for name in ("resync", "away", "expired"))


class Stream:
    """One open response: what it may hear and what waits to be written."""

    __slots__ = ("claim", "ended", "pending", "sending_since", "size", "stalled", "task", "wake", "wrote_at")

    def __init__(self, claim: Claim, now: float) -> None:
        self.claim = claim
        self.pending: list[bytes] = []
        self.size = 0
        self.ended = False
        self.stalled = False
        self.wake = asyncio.Event()
        self.wrote_at = now
        self.sending_since: float | None = None
        self.task = asyncio.current_task()

    def push(self, payload: bytes) -> None:
        """Queue `payload`; a stream that cannot keep up gets one `resync` in place of what it missed."""
        if self.ended:
            return
        if len(self.pending) >= MAX_PENDING or self.size + len(payload) > MAX_PENDING_BYTES:
            self.pending.clear()
            self.size = 0
            payload = RESYNC
        self.pending.append(payload)
        self.size += len(payload)
        self.wake.set()

    def end(self, payload: bytes = b"") -> None:
        """Write what is pending and `payload`, then end the response."""
        if not self.ended:
            self.pending.append(payload)
            self.ended = True
            self.wake.set()

    def take(self) -> bytes:
        """Everything pending, as one piece."""
        chunk = self.pending[0] if len(self.pending) == 1 else b"".join(self.pending)
        self.pending.clear()
        self.size = 0
        return chunk


class Hub:
    """The streams by channel and by user, the kicks, and the two tasks that serve them all."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self.up = asyncio.Event()  # set while the subscription is known to work
        self._streams: set[Stream] = set()
        self._by_channel: dict[str, set[Stream]] = {}
        self._per_user: dict[int, int] = {}
        self._kicks: dict[tuple[int | None, str | None], float] = {}
        subscription = bus.Subscription(self._on_message, self._on_up, self._on_down, events.KICKS_KEPT)
        self._tasks = [self.loop.create_task(subscription.run()), self.loop.create_task(self._watch())]
        self._close_on_signals()

    # --- streams come and go
    def is_full(self, user_id: int) -> bool:
        """True if this user has as many streams here as one may have."""
        most = int(getattr(settings, "NYXCORE_LIVE_STREAMS", STREAMS_PER_USER))
        return self._per_user.get(user_id, 0) >= most

    def is_void(self, claim: Claim) -> bool:
        """True if the token was made before its user was kicked."""
        names = [(user, channel) for user in (claim.user_id, None) for channel in (*claim.channels, None)]
        return any(self._kicks.get(name, 0.0) >= claim.issued_at for name in names)

    def add(self, claim: Claim) -> Stream:
        """Open a stream; it counts, and hears its channels, from here on."""
        stream = Stream(claim, self.loop.time())
        self._streams.add(stream)
        self._per_user[claim.user_id] = self._per_user.get(claim.user_id, 0) + 1
        for channel in claim.channels:
            self._by_channel.setdefault(channel, set()).add(stream)
        return stream

    def remove(self, stream: Stream) -> None:
        """Forget a stream whose response has ended."""
        stream.ended = True
        self._streams.discard(stream)
        self._per_user[stream.claim.user_id] -= 1
        if not self._per_user[stream.claim.user_id]:
            del self._per_user[stream.claim.user_id]
        for channel in stream.claim.channels:
            listeners = self._by_channel.get(channel, set())
            listeners.discard(stream)
            if not listeners:
                self._by_channel.pop(channel, None)

    def greeting(self, event: str, claim: Claim) -> bytes:
        """`hello` or `ping`: whether events can come at all, and for how long the token is still good."""
        left = max(0, int(claim.expires_at - time.time()))
        return encode(event, json.dumps({"live": self.up.is_set(), "expires_in": left}))

    # --- what comes over the bus
    def _on_message(self, message: bus.Message) -> None:
        channel, event, data = message
        if event == "kick":
            kick = _parse_kick(data, time.time())  # it is meant now, whatever the clock of its sender says
            if kick:
                self.kick(*kick)
            return
        listeners = self._streams if channel == bus.EVERYONE else self._by_channel.get(channel)
        if listeners:
            payload = encode(event, data)
            for stream in listeners:
                stream.push(payload)

    def _on_up(self, kicks: list[tuple[bytes, float]]) -> None:
        self.up.set()
        for member, at in kicks:
            kick = _parse_kick(member, at)
            if kick:
                self._note(*kick)
        self._end_void()
        self._push_all(RESYNC)

    def _on_down(self) -> None:
        self.up.clear()
        self._push_all(AWAY)

    def _push_all(self, payload: bytes) -> None:
        for stream in self._streams:
            stream.push(payload)

    # --- kicks
    def kick(self, user_id: int | None, channel: str | None, at: float) -> None:
        """End the streams of `user_id` (None: of everybody) on `channel` (None: on any) with older tokens."""
        self._note(user_id, channel, at)
        self._end_void()

    def _note(self, user_id: int | None, channel: str | None, at: float) -> None:
        name = (user_id, channel)
        self._kicks[name] = max(min(at, time.time()), self._kicks.get(name, 0.0))

    def _end_void(self) -> None:
        for stream in self._streams:
            if self.is_void(stream.claim):
                stream.end(EXPIRED)

    # --- time passes
    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                self._look()
            except Exception:
                log.exception("live: a look at the streams failed")

    def _look(self) -> None:
        """Ping quiet streams, end those whose token ended, cut off those that take nothing."""
        now, wall = self.loop.time(), time.time()
        for stream in list(self._streams):
            if stream.sending_since is not None:
                if now - stream.sending_since > STALLED_AFTER and stream.task is not None:
                    stream.stalled = True
                    stream.task.cancel()
            elif wall >= stream.claim.expires_at:
                stream.end(EXPIRED)
            elif now - stream.wrote_at >= PING_AFTER:
                stream.push(self.greeting("ping", stream.claim))
        self._kicks = {name: at for name, at in self._kicks.items() if wall - at < events.KICKS_KEPT}

    # --- the end
    def _close_on_signals(self) -> None:
        """End all streams as soon as the process is told to stop.

        The server waits for open responses before it reports its shutdown to anybody, so its signal is the
        only early sign there is.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, partial(self._on_signal, before))

    def _on_signal(
        self, before: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None
    ) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.close)
        before(number, frame)

    def close(self) -> None:
        """End every stream and take no new ones."""
        self.closed = True
        for task in self._tasks:
            task.cancel()
        for stream in self._streams:
            stream.end()


def _parse_kick(data: str | bytes, at: float) -> tuple[int | None, str | None, float] | None:
    """Return (user id, channel, `at`) of a kick as events.py made it; None for anything else."""
    try:
        said = json.loads(data)
        user_id, channel = said["user"], said["channel"]
    except (ValueError, TypeError, KeyError, RecursionError):
        user_id, channel = "", ""
    if isinstance(user_id, int | None) and isinstance(channel, str | None):
        return user_id, channel, at
    log.warning("live: a malformed kick was ignored")
    return None


_hub: Hub | None = None


def hub() -> Hub:
    """The hub of this process; the first stream starts it."""
    global _hub
    if _hub is None or _hub.loop is not asyncio.get_running_loop():
        _hub = Hub()
    return _hub


def kick_here(user_id: int | None, channel: str | None, at: float) -> None:
    """Kick in this process, from any thread, without the bus."""
    if _hub is not None and not _hub.loop.is_closed():
        _hub.loop.call_soon_threadsafe(_hub.kick, user_id, channel, at)
