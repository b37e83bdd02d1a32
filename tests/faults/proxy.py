"""Connections that can be cut, stalled, delayed and refused: a forwarder between a process and a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Address = tuple[str, int] | Path
RESET = struct.pack("ii", 1, 0)


class Wires:
    """The thread in which all proxies forward."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="wires", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


class Proxy:
    """Forwards from `listen` (a path, or a port that it chooses) to `target`."""

    def __init__(self, wires: Wires, target: Address, listen: Path | None = None) -> None:
        self.target, self.delay = target, 0.0
        self._wires, self._path = wires, listen
        self._links: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self.port, self.links = 0, 0  # `links`: connections made since the start
        wires.do(self._listen())

    # --- what a test does -----------------------------------------------------------------------

    def cut(self) -> int:
        """Reset every connection there is; how many there were."""
        return self._wires.do(self._cut())

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """A network that swallows: bytes to the server (`up`) and from it (`down`) wait until `heal`."""
        self._wires.do(self._set(up=not up, down=not down))

    def refuse(self) -> None:
        """Take no new connection."""
        self._wires.do(self._close())

    def heal(self) -> None:
        """As it was; what waited arrives."""
        self.delay = 0.0
        self._wires.do(self._set(up=True, down=True))
        if self._server is None:
            self._wires.do(self._listen())

    def close(self) -> None:
        self.refuse()
        self.cut()

    # --- in the thread --------------------------------------------------------------------------

    async def _listen(self) -> None:
        if not hasattr(self, "_up"):
            self._up, self._down = asyncio.Event(), asyncio.Event()
            await self._set(up=True, down=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _set(self, *, up: bool, down: bool) -> None:
        for event, flows in ((self._up, up), (self._down, down)):
            event.set() if flows else event.clear()

    async def _cut(self) -> int:
        links = list(self._links)
        for writer in (writer for link in links for writer in link):
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()
        return len(links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, Path):
                far_reader, far_writer = await asyncio.open_unix_connection(self.target)
            else:
                far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:  # the server is away: so are we
            writer.transport.abort()
            return
        link = (writer, far_writer)
        self._links.add(link)
        self.links += 1
        try:
            pumps = [self._pump(reader, far_writer, self._up), self._pump(far_reader, writer, self._down)]
            tasks = [asyncio.ensure_future(pump) for pump in pumps]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._links.discard(link)
            writer.close()
            far_writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await flows.wait()
                writer.write(data)
                await writer.drain()
