"""The ASGI server's entry: streams go to nyxcore.live, everything else to Django; also the web process's threads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from nyxcore import live  # noqa: E402
from nyxcore.pulse import Process  # noqa: E402

_process = Process()


async def application(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Route by path; the server's lifespan starts and stops sweep and sender."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http" and scope["path"] == "/events/":
        await live.application(scope, receive, send)
    elif scope["type"] == "http":
        await django_application(scope, receive, send)


async def _lifespan(receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _process.start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            _process.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
