"""The baseline of the event streams: the least that Starlette can do. Nothing is checked, counted or noticed here.

One subscription, a queue for each stream, and an event encoded once. Run by streams.py in uvicorn.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import redis.asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

CHANNEL = "bench_floor"

streams: dict[str, set[asyncio.Queue[bytes]]] = {}


async def listen(pubsub: Any) -> None:
    async for raw in pubsub.listen():
        if raw["type"] == "message":
            message = json.loads(raw["data"])
            payload = f"event: {message['event_type']}\ndata: {message['data']}\n\n".encode()
            for stream in streams.get(message["channel"], ()):
                stream.put_nowait(payload)


async def events(request: Request) -> StreamingResponse:
    channel = request.query_params["channel"]
    stream: asyncio.Queue[bytes] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        streams.setdefault(channel, set()).add(stream)
        try:
            yield b"event: hello\ndata: {}\n\n"
            while True:
                yield await stream.get()
        finally:
            streams[channel].discard(stream)

    return StreamingResponse(body(), media_type="text/event-stream")


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with redis.asyncio.from_url(os.environ["REDIS_URL"]) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        task = asyncio.create_task(listen(pubsub))
        yield
        task.cancel()


app = Starlette(routes=[Route("/events/", events)], lifespan=lifespan)
