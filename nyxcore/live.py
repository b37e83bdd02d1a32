"""The ASGI application behind /events/: event streams that hold no thread and no database connection.

Django never sees these requests. A signed token, made where access was checked, names the user and the
channels; one subscription per process feeds all streams; an event is encoded once and its bytes are shared. A
stream is never trusted to be complete: after every gap it says `resync`, and the page compares its rows.

Events: `hello` and `ping` (whether this process hears the bus, seconds until the token ends), `hint`, `text`,
`resync`, `away` (the bus is gone; `resync` follows when it is back), `expired` (come back with a new token).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from django.core import signing
from django.db import transaction

from nyxcore import events
from nyxcore.live_hub import STALLED_AFTER, Hub, Stream, hub, kick_here
from nyxcore.live_tokens import MAX_CHANNELS, Claim, FromTheFuture, make_token, read_token

__all__ = ["application", "connect_signals", "kick", "make_token"]

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Refused(Exception):
    """A request that gets no stream."""

    def __init__(self, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request with a stream, or say in plain text why not."""
    try:
        stream_hub, claim = await _admit(scope)
    except Refused as refusal:
        await _refuse(refusal, send)
        return
    stream = stream_hub.add(claim)
    reader = asyncio.create_task(_until_gone(receive))
    reader.add_done_callback(lambda _: stream.end())
    try:
        stream.push(b"retry: 5000\n" + stream_hub.greeting("hello", claim))
        await _write(stream, send)
    except asyncio.CancelledError:
        if not stream.stalled:
            raise
        log.info("live: a stream that took nothing for %g s was cut off", STALLED_AFTER)
    finally:
        reader.cancel()
        stream_hub.remove(stream)


async def _admit(scope: Scope) -> tuple[Hub, Claim]:
    """Return the hub and what the token says; Refused for whoever gets no stream."""
    claim = _claim(scope)
    stream_hub = hub()
    if stream_hub.closed:
        raise Refused(503, "The server is shutting down.", (b"retry-after", b"2"))
    if not stream_hub.up.is_set():
        await _wait_a_moment(stream_hub.up)
    if stream_hub.is_void(claim):
        raise Refused(403, "This token is no longer valid.")
    if stream_hub.is_full(claim.user_id):
        raise Refused(429, "Too many open pages.", (b"retry-after", b"30"))
    return stream_hub, claim


def _claim(scope: Scope) -> Claim:
    if scope["method"] != "GET":
        raise Refused(405, "Only GET is answered here.", (b"allow", b"GET"))
    try:
        tokens = parse_qs(scope["query_string"].decode("ascii"), max_num_fields=10).get("token", [])
    except ValueError:
        raise Refused(400, "The address cannot be read.") from None
    if len(tokens) != 1 or len(tokens[0]) > 4096:
        raise Refused(400, "Exactly one token is needed.")
    try:
        claim = read_token(tokens[0])
    except signing.SignatureExpired:
        raise Refused(403, "This token has expired.") from None
    except FromTheFuture as error:
        log.warning("live: %s", error)
        raise Refused(403, str(error)) from None
    except signing.BadSignature:
        raise Refused(403, "This token is not valid.") from None
    if not 0 < len(claim.channels) <= MAX_CHANNELS:
        raise Refused(400, f"A token names 1 to {MAX_CHANNELS} channels.")
    return claim


async def _wait_a_moment(up: asyncio.Event) -> None:
    """Let the first stream of a process be live from its beginning; go on without, if Valkey is away."""
    try:
        async with asyncio.timeout(1.0):
            await up.wait()
    except TimeoutError:
        log.debug("live: a stream opens while the bus is away")


async def _refuse(refusal: Refused, send: Send) -> None:
    body = refusal.text.encode() + b"\n"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _write(stream: Stream, send: Send) -> None:
    """Write what is pushed until the stream has ended."""
    clock = asyncio.get_running_loop().time
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    more = True
    while more:
        await stream.wake.wait()
        stream.wake.clear()
        more, chunk = not stream.ended, stream.take()
        stream.sending_since = clock()
        await send({"type": "http.response.body", "body": chunk, "more_body": more})
        stream.wrote_at, stream.sending_since = clock(), None


def kick(user_id: int | None, channel: str | None = None) -> None:
    """End, once the transaction commits, the streams of a user on `channel` (None: all), in every process.

    Whoever may still read gets a new token and is back at once, so kicking too many does no harm.
    """
    transaction.on_commit(partial(_kick_now, user_id, channel), robust=True)


def _kick_now(user_id: int | None, channel: str | None) -> None:
    item = events.kick_item(user_id, channel)
    events.queue.put_nowait(item)
    kick_here(user_id, channel, item.data["at"])


def connect_signals() -> None:
    """Kick a user on logout and when the account changes or goes; called from AppConfig.ready."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.signals import user_logged_out
    from django.db.models.signals import post_delete, post_save

    model = get_user_model()
    user_logged_out.connect(_on_logout, dispatch_uid="nyxcore.live.logout")
    post_save.connect(_on_user_change, sender=model, dispatch_uid="nyxcore.live.save")
    post_delete.connect(_on_user_change, sender=model, dispatch_uid="nyxcore.live.delete")


def _on_logout(sender: object, user: Any = None, **kwargs: object) -> None:
    if user is not None:
        kick(user.pk)


def _on_user_change(sender: object, instance: Any, created: bool = False, **kwargs: Any) -> None:
    only_login = set(kwargs.get("update_fields") or ()) == {"last_login"}
    if not created and not only_login:
        kick(instance.pk)
