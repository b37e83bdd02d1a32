"""What the work tells the pages: hints (`publish`), written text (`text`), and the queue on which both leave.

Nothing here talks to the network except `deliver`, which only the sender thread calls. So a frozen Valkey
blocks nobody, and a lost message costs a page some seconds: whatever cannot be sent becomes one `resync`.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from functools import partial
from queue import Empty
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction

from nyxcore import bus

MAX_QUEUED = 2_000  # items; the sender empties thousands a second, so this is some seconds of a dead Valkey
KICKS_KEPT = 900  # s a kick is remembered on the bus; longer than any token lives


class Hint(Protocol):
    """What a row offers so that pages can tell whether they show its newest state."""

    @property
    def dom_id(self) -> str: ...
    @property
    def channel(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def status(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Item:
    """One message for the bus. Of two queued items with one key, that with the higher version stays."""

    channel: str
    event: str
    data: dict[str, Any]
    key: tuple[object, ...]
    version: int = 0

    @property
    def is_kick(self) -> bool:
        """Kicks guard access: they are never dropped for room and are sent again until they arrive."""
        return self.event == "kick"


def resync_item(channel: str) -> Item:
    """Tells the streams of a channel to compare their page with the rows."""
    return Item(channel, "resync", {}, ("resync", channel))


def kick_item(user_id: int | None, channel: str | None) -> Item:
    """Ends the streams of a user on a channel; None means any. Tokens made before now are void."""
    data = {"user": user_id, "channel": channel, "at": time.time()}
    return Item(bus.EVERYONE, "kick", data, ("kick", user_id, channel))


class BoundedQueue:
    """A thread-safe queue that never blocks the one who puts and never grows past its size.

    Kicks, and items of other kinds (doorbells), go before hints and texts. When it is full, the hints and
    texts of a channel (or, if it has none, of all) give way to one `resync`; other kinds are dropped.
    """

    def __init__(self, maxsize: int = MAX_QUEUED) -> None:
        self.maxsize = maxsize
        self.dropped = 0  # items that gave way, since the process started
        self._urgent: deque[object] = deque()
        self._items: OrderedDict[tuple[object, ...], Item] = OrderedDict()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._items)

    def empty(self) -> bool:
        """True if nothing is queued."""
        return len(self) == 0

    def put_nowait(self, item: object) -> None:
        """Queue `item`."""
        with self._changed:
            if isinstance(item, Item) and not item.is_kick:
                self._add(item)
            else:
                self._add_urgent(item)
            self._changed.notify()

    def get(self, timeout: float | None = None) -> Any:
        """Take the next item; queue.Empty when none came within `timeout` seconds (None: wait for ever)."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self), timeout):
                raise Empty
            if self._urgent:
                return self._urgent.popleft()
            return self._items.popitem(last=False)[1]

    def lost(self, item: Item) -> None:
        """`item` could not be sent: a kick is queued again, anything else is owed as a `resync`."""
        if not item.is_kick:
            self.dropped += 1
            item = resync_item(item.channel)
        self.put_nowait(item)

    def discard(self, kind: type) -> None:
        """Drop the items of one other kind."""
        with self._changed:
            self._urgent = deque(item for item in self._urgent if not isinstance(item, kind))

    def clear(self) -> None:
        """Forget everything queued."""
        with self._changed:
            self._urgent.clear()
            self._items.clear()

    def _add(self, item: Item) -> None:
        known = self._items.get(item.key)
        if known is not None:
            if item.version >= known.version:
                self._items[item.key] = item
        elif len(self._items) < self.maxsize:
            self._items[item.key] = item
        else:
            self.dropped += 1
            self._give_way(item.channel)

    def _add_urgent(self, item: object) -> None:
        if len(self._urgent) < self.maxsize:
            self._urgent.append(item)
        elif isinstance(item, Item):
            # Far too many kicks to keep them apart: one for everybody says as much.
            self.dropped += len(self._urgent)
            self._urgent = deque([kick_item(None, None)])
        else:
            self.dropped += 1

    def _give_way(self, channel: str) -> None:
        """Replace what is queued for `channel` by one resync; if that frees nothing, do so for all."""
        given = [key for key, queued in self._items.items() if queued.channel == channel]
        if not given:
            channel, given = bus.EVERYONE, list(self._items)
        for key in given:
            del self._items[key]
        self.dropped += len(given)
        owed = resync_item(channel)
        self._items[owed.key] = owed


queue = BoundedQueue()


def publish(row: Hint) -> None:
    """Queue a hint that `row` has changed; it leaves once the transaction has committed, never before."""
    version = int(row.version)
    item = Item(
        row.channel,
        "hint",
        {"id": row.dom_id, "version": version, "status": str(row.status)},
        ("hint", row.channel, row.dom_id),
        version,
    )
    transaction.on_commit(partial(queue.put_nowait, item), robust=True)


def text(channel: str, attempt_pk: int, step: str, offset: int, text: str) -> None:
    """Queue text that an attempt of `step` (a dom_id) wrote; it begins `offset` code points into its output.

    The caller joins deltas, so that this is called at most 8 times a second for an attempt.
    """
    data = {"attempt": attempt_pk, "step": step, "offset": offset, "text": text}
    queue.put_nowait(Item(channel, "text", data, ("text", channel, attempt_pk, offset)))


def deliver(item: Item) -> None:
    """Send one item over the process's one bus connection; called by the sender thread only.

    Raises within about 3 s when Valkey is away or frozen. The item is then not simply gone: the queue gets
    what is owed for it, so the sender must wait a little before it goes on.
    """
    try:
        client = _client()
        if item.is_kick:
            _remember_kick(client, item)
        from django_eventstream import send_event

        send_event(bus.wire(item.channel), item.event, item.data)
    except Exception:
        queue.lost(item)
        raise


def warm_up() -> None:
    """Import now what the first `deliver` would."""
    import django_eventstream.eventstream  # noqa: F401


def _client() -> Any:
    """django_eventstream's Redis client, taught to give up soon; by default it retries three times."""
    from django_eventstream import eventstream
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.retry import Retry

    client: Any = eventstream.redis_client
    if client is None:
        raise ImproperlyConfigured("EVENTSTREAM_REDIS is not set, so no event can leave this process.")
    if getattr(client, "nyxcore_ready", False) is False:
        # One retry and only for a broken connection: the server may have been restarted since the last event.
        client.set_retry(Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)))
        client.nyxcore_ready = True
    return client


def _remember_kick(client: Any, item: Item) -> None:
    now = time.time()
    pipeline = client.pipeline(transaction=False)
    member = json.dumps({"user": item.data["user"], "channel": item.data["channel"]})
    pipeline.zadd(bus.kicks_key(), {member: item.data["at"]})
    pipeline.zremrangebyscore(bus.kicks_key(), "-inf", now - KICKS_KEPT)
    pipeline.expire(bus.kicks_key(), int(KICKS_KEPT))
    pipeline.execute()
