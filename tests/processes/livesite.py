"""A web process, a proxy before it and an author of texts, for tests of live pages under faults."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route

from nyxcore import bus as buses
from nyxcore import events, pulse
from tests.processes.servers import Bus, eventually
from tests.processes.tools import database_url
from tests.workflows.engine_helpers import finish
from workflows.models import StepAttempt

# About a fifth of the real times of server and page; in the same proportions, and tokens that end within a test.
QUICK_SERVER = {"live_hub.PING_AFTER": 3.0, "live_hub.STALLED_AFTER": 6.0, "live_tokens.TOKEN_AGE": 6.0}
QUICK_PAGE = {
    "COMPARE_EVERY": 5_000,
    "POLL_EVERY": 1_000,
    "POLL_AFTER": 500,
    "GREETED_WITHIN": 2_000,
    "QUIET": 5_000,
    "DEAD": 9_000,
    "HIDDEN_FOR": 4_000,
    "SLEPT": 3_000,
}


@contextmanager
def sending_bus(folder: Path) -> Iterator[Bus]:
    """A Valkey of one's own, to which the sender of this process sends meanwhile."""
    from django_eventstream import eventstream
    from redis import Redis

    own = Bus(folder)
    sender = pulse.Process()
    thread = threading.Thread(target=sender._sender, daemon=True)  # alone: no sweep, no pulse
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eventstream, "redis_client", Redis(**buses.options(own.url)))
        thread.start()
        yield own
        sender.closed.set()
        thread.join(10)
    own.kill()


class Web:
    """The web process on a port that it keeps when it is started again, as under the supervisor."""

    def __init__(self, folder: Path, redis_url: str, times: dict[str, Any] | None = None) -> None:
        self.log = folder / f"web-{time.monotonic_ns()}.log"
        self.env = os.environ | {
            "DJANGO_SETTINGS_MODULE": "nyxcore.settings",
            "DATABASE_URL": database_url(),
            "REDIS_URL": redis_url,
            "NYXCORE_LEASE": "600",  # authors send no heartbeat
            "NYXCORE_DB_POOL": "8",
            "LIVE_TIMES": json.dumps(times or {}),
        }
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.start()

    def start(self) -> None:
        with (
            socket.create_server(("127.0.0.1", self.port), backlog=1024) as listener,
            self.log.open("ab") as log,
        ):
            command = [sys.executable, "-m", "tests.processes.web", str(listener.fileno())]
            self.process = subprocess.Popen(
                command, env=self.env, pass_fds=[listener.fileno()], stdout=log, stderr=log
            )
        eventually(self._answers, 60, "for the web process")

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as link:
                link.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                return b" 200 " in link.recv(100)
        except OSError:
            return False

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


class WebProxy:
    """Between browser and server. It may keep event streams back, cut them at some age, or forget them."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.keeps_back = False
        self.cuts_after = 3600.0
        self.streams = 0  # that have been opened through it
        self.carrying: set[socket.socket] = set()
        self.forgotten: set[socket.socket] = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self.listener.getsockname()[1])
        self.links: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self._run(self._accept)

    def close(self) -> None:
        _cut(self.listener, *self.links)
        for thread in self.threads:
            thread.join(10)
        for one in (self.listener, *self.links):
            one.close()

    def forget(self) -> None:
        """Nothing more comes over the present streams, and nobody is told, as when a router lost its table."""
        self.forgotten |= self.carrying

    def _run(self, target: Callable[..., None], *args: socket.socket) -> None:
        self.threads.append(threading.Thread(target=target, args=args, daemon=True))
        self.threads[-1].start()

    def _accept(self) -> None:
        while True:
            try:
                browser, _address = self.listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                browser.close()  # the server is down
                continue
            self.links += [browser, server]
            self._run(self._ask, browser, server)
            self._run(self._answer, browser, server)

    def _ask(self, browser: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := browser.recv(65536):
                if b"GET /events/?" in data:
                    self.streams += 1
                    timer = threading.Timer(self.cuts_after, _cut, [browser, server])
                    timer.daemon = True
                    timer.start()
                server.sendall(data)
        _cut(browser, server)

    def _answer(self, browser: socket.socket, server: socket.socket) -> None:
        kept, is_stream = b"", False
        with suppress(OSError):
            while data := server.recv(65536):
                if b"text/event-stream" in data:
                    is_stream = True
                    self.carrying.add(server)
                if server in self.forgotten:
                    continue
                if is_stream and self.keeps_back:
                    kept += data
                else:
                    browser.sendall(kept + data)
                    kept = b""
        if server not in self.forgotten:
            _cut(browser, server)


def _cut(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def words(start: int, count: int) -> str:
    """A text whose every part can be told from the others."""
    return "".join(f"{n}🚀 " if n % 10 == 0 else f"{n} " for n in range(start, start + count))


class Author:
    """Stands in for a worker that streams an answer: text events leave at once, the row lags behind."""

    def __init__(self, attempt: StepAttempt) -> None:
        self.attempt = attempt
        self.step = attempt.step
        self.count = 0
        self.text = ""

    def write(self, count: int = 10, *, save: bool = True) -> None:
        """Write so many more words."""
        more = words(self.count, count)
        channel, dom_id = self.step.workflow.channel, self.step.dom_id
        events.text(channel, self.attempt.pk, dom_id, len(self.text), more)
        self.count += count
        self.text += more
        if save:
            self.save()

    def save(self) -> None:
        StepAttempt.objects.filter(pk=self.attempt.pk, status="running").update(output=self.text)

    def write_while(self, seconds: float) -> None:
        """Write eight times a second for so long, saving once a second."""
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            self.write(5, save=turn % 8 == 7)
            turn += 1
            time.sleep(0.125)
        self.save()

    def finish(self) -> None:
        finish(self.attempt, self.text)


WATCH = """{
  const { now } = Date; // before a test sets the page's clock
  window.seen = [];
  window.texts = [];
  const note = () => {
    const mode = document.getElementById("live-state")?.dataset.state ?? "";
    if (seen.at(-1)?.[1] !== mode) seen.push([now(), mode]);
    const text = document.querySelector("pre.stream")?.textContent ?? null;
    if (text !== null && texts.at(-1) !== text) texts.push(text);
  };
  new MutationObserver(note).observe(document, {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
  sessionStorage.loads = Number(sessionStorage.loads ?? 0) + 1;
}"""


class Watched:
    """A page whose every state and text is noted, with the time."""

    def __init__(self, page: Page, quick: dict[str, int]) -> None:
        self.page = page
        page.add_init_script(WATCH)
        if quick:
            page.route(re.compile(r"/js/live\.js"), lambda route: _quicken(route, quick))

    def modes(self) -> list[tuple[float, str]]:
        """(time, state) of each change so far."""
        return [(at / 1000, mode) for at, mode in self.page.evaluate("seen")]

    def states(self, after: float = 0.0) -> list[str]:
        """The states since that time, the one in which it began first."""
        modes = self.modes()
        before = [mode for at, mode in modes if at < after]
        return before[-1:] + [mode for at, mode in modes if at >= after]

    def live_between(self, start: float, end: float) -> float:
        """Seconds between these times in which the page said `live`."""
        modes = [*self.modes(), (time.time(), "")]
        return sum(
            max(0.0, min(until, end) - max(since, start))
            for (since, mode), (until, _next) in pairwise(modes)
            if mode == "live"
        )

    def texts_grew_into(self, text: str) -> None:
        """Every text that was ever shown is a beginning of `text`: nothing doubled, nothing missing."""
        shown = self.page.evaluate("texts")
        assert shown
        for one in shown:
            assert text.startswith(one), f"{one[-80:]!r} is not where {text[: len(one)][-80:]!r} should be"

    def was_not_reloaded(self) -> None:
        assert self.page.evaluate("sessionStorage.loads") == "1"


def _quicken(route: Route, times: dict[str, int]) -> None:
    response = route.fetch()
    script = response.text()
    for name, value in times.items():
        script, found = re.subn(rf"^const {name} = [\d_]+;", f"const {name} = {value};", script, flags=re.M)
        assert found == 1, name
    route.fulfill(response=response, body=script)
