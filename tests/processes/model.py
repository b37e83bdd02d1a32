"""A server that speaks the Messages API by script and can hold an answer open for as long as a test wants."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.nyxcore.llm.wire import END, answer, block, event, start, stop, text

# In a script beside bytes: a number waits so many seconds, and HOLD until the test lets the answer go on. A HOLD before
# the first bytes holds the head of the answer too.
HOLD = object()
BEGINNING, REST = "The beginning, ", "and the rest."
HELD = [start(), block(), text(BEGINNING), HOLD, text(REST)]
HELD += [event("content_block_stop", index=0), stop("end_turn"), END]


REFUSED = {429: "rate_limit_error", 529: "overloaded_error", 400: "invalid_request_error"}


class Refusal:
    """In a script, before anything else was sent: an error in place of an answer."""

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        self.status, self.retry_after = status, retry_after


class Call:
    """One request that was made, and what has become of its answer."""

    def __init__(self, number: int, body: dict[str, Any]) -> None:
        self.number, self.body = number, body
        self.held = threading.Event()
        self.ended = threading.Event()  # nothing more will be sent
        self.whole = False  # the answer was sent to its end
        self.hung_up_at: float | None = None  # time.monotonic() when the client closed the connection first
        self.instead: Sequence[Any] | None = None  # what is sent after the gate in place of the script
        self._gate, self._key = socket.socketpair()

    @property
    def request_id(self) -> str:
        return f"req_{self.number}"

    def release(self, instead: Sequence[Any] | None = None) -> None:
        """Let a held answer go on, or go on otherwise."""
        self.instead = instead
        with contextlib.suppress(OSError):  # it has ended already
            self._key.send(b".")

    def wait_at_gate(self, client: socket.socket) -> bool:
        """True when the test releases the answer, False when the client hangs up before."""
        self.held.set()
        readable, _, _ = select.select([self._gate, client], [], [], 60)
        if client not in readable:
            self._gate.recv(1)
            return bool(readable)
        self.hung_up_at = time.monotonic()
        return False

    def close(self) -> None:
        self._gate.close()
        self._key.close()


class Model(ThreadingHTTPServer):
    """Each request takes the next script, and a short whole answer when there is none."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.calls: list[Call] = []
        self._scripts: deque[Sequence[Any]] = deque()
        self._changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def play(self, *scripts: Sequence[Any]) -> None:
        self._scripts.extend(scripts)

    def script(self, body: dict[str, Any]) -> Sequence[Any]:
        """What answers this request."""
        return self._scripts.popleft() if self._scripts else answer("A whole answer.")

    def begin(self, body: dict[str, Any]) -> tuple[Call, Sequence[Any]]:
        with self._changed:
            call = Call(len(self.calls) + 1, body)
            self.calls.append(call)
            script = self.script(body)
            self._changed.notify_all()
        return call, script

    def call(self, number: int = 1, seconds: float = 20) -> Call:
        """The call of that number, once it has been made."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.calls) >= number, seconds), f"no call {number}"
        return self.calls[number - 1]

    def held(self, number: int = 1, seconds: float = 20) -> Call:
        """The call of that number, once its answer is held."""
        call = self.call(number, seconds)
        assert call.held.wait(seconds), f"call {number} is not held"
        return call

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on purpose here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Model

    def do_GET(self) -> None:
        """The list of models: empty, so that the seed values stay."""
        self._json(200, {"data": [], "has_more": False, "first_id": None, "last_id": None})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        call, script = self.server.begin(json.loads(self.rfile.read(length)))
        self.close_connection = True
        try:
            call.whole = self._perform(call, deque(script))
        finally:
            call.ended.set()
            call.close()

    def _perform(self, call: Call, parts: deque[Any]) -> bool:
        """Send a script; whether its last part has left."""
        open_ = False
        while parts:
            part = parts.popleft()
            if part is HOLD:
                if not call.wait_at_gate(self.connection):
                    return False
                parts = parts if call.instead is None else deque(call.instead)
            elif isinstance(part, Refusal):
                self._refuse(part)
                return False
            elif isinstance(part, float):
                time.sleep(part)
            else:
                if not open_:
                    self._begin(call)
                    open_ = True
                self.wfile.write(part)
        if not open_:
            self._begin(call)
        return True

    def _begin(self, call: Call) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", call.request_id)
        self.send_header("connection", "close")
        self.end_headers()

    def _refuse(self, refusal: Refusal) -> None:
        error = {"type": REFUSED[refusal.status], "message": "By script."}
        after = {} if refusal.retry_after is None else {"retry-after": f"{refusal.retry_after:g}"}
        self._json(refusal.status, {"type": "error", "error": error}, after)

    def _json(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        fields = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""
