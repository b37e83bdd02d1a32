"""The bus between processes: its names, its connection options, and a subscription that never gives up.

Publishing goes through django_eventstream's `send_event` (see events.py); this module is the reading half. It
speaks that package's Redis format, so both halves stay exchangeable.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.utils.crypto import salted_hmac

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.asyncio.client import PubSub

log = logging.getLogger(__name__)

EVENTS = "events_channel"  # django_eventstream's Redis channel; the name is fixed there
EVERYONE = "*"  # the channel of messages for all streams; no channel of ours can have this name
PING_EVERY = 3.0  # s between two messages of a subscription to itself
SILENT_AFTER = 7.0  # s without the echo of one: the connection is half open or the server is frozen
CONNECT_TIMEOUT, COMMAND_TIMEOUT = 1.0, 1.5  # s; a frozen Valkey must cost the sender little
TURN = 32  # messages of one burst, then the streams are written to; far below what a stream may have pending
ALONE = 0.001  # s waited for a message: it begins no burst, and is written at once
MAX_BACKOFF = 3.0  # s; pages are to be live within 5 s after Valkey is

Message = tuple[str, str, str]  # channel, event, data


def options(url: str) -> dict[str, Any]:
    """Return EVENTSTREAM_REDIS for `url`: where Valkey is, and for how long a call may take.

    Written without redis-py's own parser: importing that costs every command a third of a second.
    """
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    found: dict[str, Any] = {
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_timeout": COMMAND_TIMEOUT,
        "socket_keepalive": True,
    }
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            found[name] = unquote(value)
    if parts.scheme == "unix":
        found |= {"unix_socket_path": unquote(parts.path), "db": int(query.get("db", 0))}
        del found["socket_keepalive"]
    elif parts.scheme in ("redis", "rediss", "valkey", "valkeys"):
        database = parts.path.strip("/") or query.get("db", "0")
        found |= {"host": parts.hostname or "127.0.0.1", "port": parts.port or 6379, "db": int(database)}
        if parts.scheme in ("rediss", "valkeys"):
            found["ssl"] = True
            found |= {name: value for name, value in query.items() if name.startswith("ssl_")}
    else:
        raise ValueError(f"REDIS_URL must start with redis://, rediss:// or unix://, not {parts.scheme}://.")
    return found


@lru_cache(maxsize=4)
def _site(secret: str) -> str:
    return salted_hmac("nyxcore.bus", "site", secret=secret).hexdigest()[:12]


def wire(channel: str) -> str:
    """The name of `channel` on the bus.

    Pub/sub knows no database numbers, so two installations on one Valkey hear each other; the prefix, made
    from SECRET_KEY, keeps the text of one out of the pages of the other.
    """
    return f"{_site(settings.SECRET_KEY)}:{channel}"


def kicks_key() -> str:
    """The sorted set of recent kicks: for processes that were not listening when one was sent."""
    return wire("kicks")


def parse(raw: bytes) -> Message | None:
    """Return (channel, event, data) of one message, None when it is another installation's.

    ValueError for anything that is no message of this format.
    """
    try:
        message = json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict):
        raise ValueError("not an object")
    channel, event, data = (message.get(name) for name in ("channel", "event_type", "data"))
    if not (isinstance(channel, str) and isinstance(event, str) and isinstance(data, str)):
        raise ValueError("channel, event_type and data must be texts")
    prefix = wire("")
    return (channel[len(prefix) :], event, data) if channel.startswith(prefix) else None


class Subscription:
    """The one subscription of a process. `run()` ends only by being cancelled.

    What is sent between `on_down` and `on_up` is lost here, so the owner must tell its streams. `on_up` gets
    the kicks of the last `remember` seconds, because one may have fallen into the gap.
    """

    def __init__(
        self,
        on_message: Callable[[Message], None],
        on_up: Callable[[list[tuple[bytes, float]]], None],
        on_down: Callable[[], None],
        remember: float,
    ) -> None:
        self._on_message, self._on_up, self._on_down = on_message, on_up, on_down
        self._remember = remember
        self._echo = wire(f"echo-{random.getrandbits(64):x}")
        self._up = False

    async def run(self) -> None:
        """Listen for ever; after each failure wait a little longer, at random, and subscribe anew."""
        from redis.exceptions import RedisError

        waits = _waits()
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                log.warning("bus: %s: %s", type(error).__name__, error)
            except Exception:
                log.exception("bus: the subscription failed and starts again")
            if self._up:
                self._up = False
                waits = _waits()
                self._on_down()
            await asyncio.sleep(next(waits))

    async def _listen(self) -> None:
        """Subscribe and pass messages on until something breaks."""
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # No retries inside the client: it would subscribe again by itself and hide the gap.
        where: dict[str, Any] = settings.EVENTSTREAM_REDIS | {"retry": Retry(NoBackoff(), 0)}
        async with Redis(**where) as client, client.pubsub() as pubsub:
            await pubsub.subscribe(EVENTS, self._echo)
            oldest = time.time() - self._remember
            kicks: Any = await client.zrangebyscore(kicks_key(), oldest, "+inf", withscores=True)
            self._up = True
            log.info("bus: listening")
            self._on_up([(member, float(at)) for member, at in kicks])
            await self._pump(client, pubsub)

    async def _pump(self, client: Redis, pubsub: PubSub) -> None:
        clock = asyncio.get_running_loop().time
        heard, next_ping, echo, burst = clock(), 0.0, self._echo.encode(), 0
        while True:
            now = clock()
            if now >= next_ping:
                await client.publish(self._echo, b"")
                next_ping = now + PING_EVERY
            if now - heard > SILENT_AFTER:
                raise TimeoutError(f"nothing came back for {SILENT_AFTER:g} s")
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=PING_EVERY / 2)
            if message is None:
                continue
            alone = clock() - now > ALONE
            if message["channel"] == echo:
                heard = clock()
            else:
                self._pass_on(message["data"])
            burst = 0 if alone else burst + 1
            if burst % TURN == 0:  # what has been read already is got without waiting: nobody else would run
                await asyncio.sleep(0)

    def _pass_on(self, raw: bytes) -> None:
        try:
            message = parse(raw)
        except ValueError as error:
            log.warning("bus: a malformed message of %d bytes was ignored (%s)", len(raw), error)
            return
        if message:
            self._on_message(message)


def _waits() -> Iterator[float]:
    """Seconds to wait before each new try: growing, and different in every process."""
    wait = 0.2
    while True:
        yield wait * random.uniform(0.5, 1.0)
        wait = min(wait * 2, MAX_BACKOFF)
