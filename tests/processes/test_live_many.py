"""Many streams on one real web process: bursts, slow readers, and what a stream costs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from nyxcore import events, live
from tests.factories import make_user, make_workflow
from tests.processes.livesite import Web, sending_bus
from tests.processes.servers import Bus, eventually
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import url
from workflows.models import Workflow

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

MANY = 300
LIMITS = {"live_hub.MAX_PENDING": 100, "live_hub.MAX_PENDING_BYTES": 100_000}
EVENT = re.compile(rb"event: (\w+)\ndata: (.*)\n\n")


class Reader(asyncio.Protocol):
    """One stream: the numbers of the texts and the resyncs in the order in which they came, and the hints."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.rest = b""
        self.came: list[int | str] = []
        self.versions: dict[str, int] = {}

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(f"GET /events/?token={self.token} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        # Chunk sizes stand in lines of their own between events, never inside one.
        self.rest += data
        end = 0
        for found in EVENT.finditer(self.rest):
            self._take(found[1].decode(), json.loads(found[2]))
            end = found.end()
        self.rest = self.rest[end:]

    def _take(self, name: str, said: Any) -> None:
        if name == "text":
            self.came.append(said["offset"])
        elif name == "hint":
            self.versions[said["id"]] = said["version"]
        else:
            self.came.append(name)

    @property
    def is_complete(self) -> bool:
        """Each text in order, or a resync in the place of what is missing."""
        last = -1
        for one in self.came:
            if one in ("hello", "resync", "ping"):
                last = -2 if one == "resync" else last
            elif last == -2 or one == last + 1:
                last = int(one)
            else:
                return False
        return True

    @property
    def missed_at_resyncs(self) -> list[int]:
        """How many texts are missing at each resync, those in a row taken together."""
        missed, last, told = [], -1, False
        for one in self.came:
            if isinstance(one, int):
                if told:
                    missed.append(one - last - 1)
                last, told = one, False
            else:
                told = told or one == "resync"
        return missed


class Crowd:
    """The readers, in a loop of their own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.loop = asyncio.new_event_loop()
        self.readers: list[Reader] = []
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def join(self, channel: str, count: int, *, small: bool = False) -> list[Reader]:
        """So many more streams, greeted."""
        made = [Reader(live.make_token(1 + n // 40, [channel])) for n in range(count)]
        for reader in made:
            self.do(self._open(reader, small))
        self.readers += made
        eventually(lambda: all("hello" in reader.came for reader in made), 60, "for the greetings")
        return made

    async def _open(self, reader: Reader, small: bool) -> None:
        link = socket.socket()
        if small:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.setblocking(False)
        await self.loop.sock_connect(link, ("127.0.0.1", self.port))
        await self.loop.create_connection(lambda: reader, sock=link)

    def pause(self, readers: list[Reader], paused: bool) -> None:
        async def turn() -> None:
            for reader in readers:
                (reader.transport.pause_reading if paused else reader.transport.resume_reading)()

        self.do(turn())

    def close(self) -> None:
        async def leave() -> None:
            for reader in self.readers:
                reader.transport.abort()

        self.do(leave())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with sending_bus(tmp_path_factory.mktemp("valkey")) as own:
        yield own


@pytest.fixture(scope="module")
def web(bus: Bus, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    started = Web(tmp_path_factory.mktemp("web"), bus.url, LIMITS)
    yield started
    started.kill()


@pytest.fixture
def crowd(web: Web) -> Iterator[Crowd]:
    opened = Crowd(web.port)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def patient(short_times: None, settings: Any) -> None:
    settings.NYXCORE_LEASE = 600


@contextmanager
def held(web: Web) -> Iterator[None]:
    """The web process stands still, so that what is sent meanwhile reaches it in one burst."""
    web.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, web.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        yield
    finally:
        web.process.send_signal(signal.SIGCONT)


def tell(channel: str, first: int, count: int, size: int = 100) -> None:
    """Texts whose offset is their number."""
    for number in range(first, first + count):
        events.text(channel, 1, "step-1", number, "x" * size)
    eventually(events.queue.empty, 30, "for the sender")


def costs(web: Web) -> tuple[int, int]:
    """Threads of the web process, and all connections to the database but ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return psutil.Process(web.process.pid).num_threads(), cursor.fetchone()[0]


def versions_on_the_server(web: Web, workflow: Workflow) -> dict[str, int]:
    """What a page gets when it compares."""
    client = Client()
    client.force_login(make_user())
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    link = HTTPConnection("127.0.0.1", web.port, timeout=30)
    link.request("GET", url("state", workflow.pk), headers={"Cookie": cookie, "Accept": "application/json"})
    rows = json.load(link.getresponse())["rows"]
    link.close()
    return {name: version for name, (version, _status) in rows.items()}


def test_streams_cost_neither_thread_nor_connection(web, crowd):
    crowd.join("workflow-1", 1)
    before = costs(web)
    crowd.join("workflow-1", MANY)
    tell("workflow-1", 0, 20)
    eventually(lambda: all(19 in reader.came for reader in crowd.readers), 60)
    threads, connections = costs(web)
    assert threads <= before[0] + 1
    assert connections <= before[1]
    assert [reader for reader in crowd.readers if reader.came[1:] != list(range(20))] == []


def test_burst_of_small_events_reaches_every_stream(web, crowd):
    """Four times what a queue holds: the streams are written to while the burst is being read."""
    crowd.join("workflow-2", MANY)
    with held(web):
        tell("workflow-2", 0, 4 * LIMITS["live_hub.MAX_PENDING"])
    last = 4 * LIMITS["live_hub.MAX_PENDING"] - 1
    eventually(lambda: all(last in reader.came for reader in crowd.readers), 60, "for the last event")
    assert [reader for reader in crowd.readers if reader.came[1:] != list(range(last + 1))] == []


def test_burst_beyond_the_queue_is_made_good(web, crowd):
    """A row changes in the midst of it: each client has heard of it, or has a resync after which it compares."""
    workflow = make_workflow(start=True)
    attempt = claim()
    crowd.join(workflow.channel, MANY)
    with held(web):
        tell(workflow.channel, 0, 60, 5_000)
        finish(attempt, "An answer.")
        tell(workflow.channel, 60, 60, 5_000)
    tell(workflow.channel, 120, 1)
    eventually(lambda: all(120 in reader.came for reader in crowd.readers), 60, "for the last event")
    assert [reader.came for reader in crowd.readers if not reader.is_complete] == []
    assert any("resync" in reader.came for reader in crowd.readers)
    truth = versions_on_the_server(web, workflow)
    compares = [reader for reader in crowd.readers if "resync" in reader.came]
    knows = [
        r
        for r in crowd.readers
        if r.versions.get(attempt.step.dom_id, 0) // 1000 == truth[attempt.step.dom_id] // 1000
    ]
    assert {*compares, *knows} == {*crowd.readers}


def test_slow_reader_harms_nobody_and_is_told(web, crowd):
    quick = crowd.join("workflow-3", 20)
    slow = crowd.join("workflow-3", 3, small=True)
    crowd.pause(slow, True)
    tell("workflow-3", 0, 300, 20_000)  # more than the sockets hold
    # On a busy machine the last text may be among those that a quick one is told it has missed.
    eventually(lambda: all({299, "resync"} & {*reader.came} for reader in quick), 60, "for the quick ones")
    crowd.pause(slow, False)
    eventually(lambda: all("resync" in reader.came for reader in slow), 60, "for the resync")
    tell("workflow-3", 300, 1)
    eventually(lambda: all(300 in reader.came for reader in crowd.readers), 60, "for the last event")
    assert all(reader.is_complete for reader in crowd.readers)
    assert all(reader.missed_at_resyncs and min(reader.missed_at_resyncs) > 0 for reader in slow), (
        "a resync stands in the place of what a slow reader missed, and nowhere else"
    )
