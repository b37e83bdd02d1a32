"""A Valkey that can be killed, servers on it, and a client that reads event streams over the wire."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import psutil

from nyxcore.valkey import valkey_binary

SERVER = Path(__file__).with_name("live_server.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnValkey:
    """One server on one port, for tests that end, freeze and start it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [str(valkey_binary()), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*argv, "--appendonly", "no"], cwd=self.folder, stdout=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as link:
                link.sendall(b"PING\r\n")
                return link.recv(10).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


class Proxy:
    """Passes connections on to a Valkey; `deafen()` makes the first one silent without closing it."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.links: list[tuple[socket.socket, socket.socket]] = []
        self.deaf: socket.socket | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def deafen(self) -> None:
        self.deaf = self.links[0][1]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _address = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
                self.links.append((client, server))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source is not self.deaf:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.listener.close()
        for link in self.links:
            for end in link:
                end.close()


class Server:
    """One uvicorn process with the application."""

    def __init__(self, redis_url: str, settings: dict[str, Any], limits: dict[str, Any], log: Path) -> None:
        env = os.environ | {"LIVE_SETTINGS": json.dumps(settings), "LIVE_LIMITS": json.dumps(limits)}
        self.log = log
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(SERVER), redis_url], stdout=subprocess.PIPE, stderr=stderr, env=env
            )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def threads(self) -> int:
        return psutil.Process(self.process.pid).num_threads()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Events:
    """An open stream; `next()` reads one event."""

    def __init__(self, port: int, token: str, **headers: str) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=10)
        self.connection.request("GET", f"/events/?token={token}", headers=headers)
        self.response: HTTPResponse = self.connection.getresponse()
        self.socket = self.connection.sock

    @property
    def status(self) -> int:
        return self.response.status

    def next(self, timeout: float = 10.0) -> tuple[str, Any]:
        """The next event as (name, data); ("end", None) when the stream has ended."""
        name, data = "message", ""
        deadline = time.monotonic() + timeout
        while True:
            if self.socket is not None and not self.response.isclosed():
                self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            line = self.response.readline().decode()
            if not line:
                return ("end", None)
            if line == "\n":
                if data:
                    return name, json.loads(data)
                continue
            field, _, value = line.rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data += value

    def until(self, wanted: str, timeout: float = 10.0) -> Any:
        """Skip to the next event of this name and return its data."""
        deadline = time.monotonic() + timeout
        while True:
            name, data = self.next(max(0.01, deadline - time.monotonic()))
            if name == wanted:
                return data
            assert name != "end", f"the stream ended before {wanted!r}"

    def hello(self) -> "Events":
        """Read the greeting and return the stream."""
        name, data = self.next()
        assert (name, data["live"]) == ("hello", True), (name, data)
        return self

    def close(self) -> None:
        self.response.close()
        self.connection.close()


def wait_until(condition: Any, timeout: float = 10.0) -> None:
    """Return as soon as `condition()` is true; fail when it does not become so."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "this did not happen in time"
        time.sleep(0.02)


@contextmanager
def closing_all() -> Iterator[list[Events]]:
    """A list whose streams are closed at the end."""
    streams: list[Events] = []
    try:
        yield streams
    finally:
        for stream in streams:
            stream.close()
