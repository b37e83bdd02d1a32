"""Many clients of event streams in one cheap process: raw sockets, one event loop, no thread.

Run by streams.py: `python -m bench.listeners`. Orders and answers are lines of JSON on stdin and stdout. An event is
known by its number, the `"n": 7` in its data; each stream must bring the numbers in order. All times are of the
monotonic clock, which the processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

NUMBER = re.compile(rb'"n": ?(\d+)')
PATIENCE = 60.0  # s for all streams to open


class Listener(asyncio.Protocol):
    """One stream: what it has heard since the last order."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self.crowd, self.request = crowd, request
        self.rest = b""
        self.at = 0  # the last number heard
        self.heard = self.disordered = self.resyncs = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        data = self.rest + data
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self.rest = data
            return
        self.rest, whole = data[end:], data[:end]
        if b"event: hello" in whole:
            self.crowd.greeted += 1
        self.resyncs += whole.count(b"event: resync")
        last = self.crowd.last
        for found in NUMBER.findall(whole):
            number = int(found)
            self.disordered += number != self.at + 1
            self.at = number
            self.heard += 1
            last[number] = now
        if self.at == self.crowd.awaited:
            self.crowd.arrived += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.crowd.gone += 1


class Crowd:
    """All streams of one server."""

    def __init__(self) -> None:
        self.listeners: list[Listener] = []
        self.last: dict[int, float] = {}  # number -> when the last stream got it
        self.awaited = self.arrived = self.greeted = self.gone = 0

    async def open(self, port: int, paths: list[str]) -> dict[str, Any]:
        began = time.monotonic()
        for start in range(0, len(paths), 50):
            await asyncio.gather(*(self._connect(port, path) for path in paths[start : start + 50]))
        await _until(lambda: self.greeted >= len(self.listeners), PATIENCE)
        return {"open": self.greeted, "seconds": time.monotonic() - began}

    async def _connect(self, port: int, path: str) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        _transport, made = await asyncio.get_running_loop().create_connection(
            lambda: Listener(self, request), "127.0.0.1", port
        )
        self.listeners.append(made)

    def expect(self, after: int, number: int) -> dict[str, Any]:
        """Numbers after `after` are going to come, up to `number`."""
        self.last.clear()
        self.awaited, self.arrived = number, 0
        for one in self.listeners:
            one.at, one.heard, one.disordered, one.resyncs = after, 0, 0, 0
        return {}

    async def collect(self, within: float) -> dict[str, Any]:
        """What has come, as soon as every stream has the awaited number, or after `within` seconds."""
        await _until(lambda: self.arrived >= len(self.listeners), within)
        return {
            "heard": sum(one.heard for one in self.listeners),
            "disordered": sum(one.disordered for one in self.listeners),
            "resyncs": sum(one.resyncs for one in self.listeners),
            "gone": self.gone,
            "last": list(self.last.items()),
        }

    def close(self) -> dict[str, Any]:
        for one in self.listeners:
            one.transport.abort()
        self.__init__()  # type: ignore[misc]
        return {}


async def _until(condition: Any, within: float) -> None:
    end = time.monotonic() + within
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.005)


async def obey() -> None:
    """Carry out the orders of stdin until it ends."""
    crowds: dict[str, Crowd] = {}
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = json.loads(line)
        crowd = crowds.setdefault(order.pop("crowd"), Crowd())
        answer = getattr(crowd, order.pop("do"))(**order)
        print(json.dumps(await answer if asyncio.iscoroutine(answer) else answer), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(obey())
