"""A small HTTP server that replays scripted bytes, for what `llmock` cannot do, and the events to script."""

from __future__ import annotations

import json
import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SILENCE = object()  # in a reply's parts: send nothing more until the client hangs up
DROP = object()  # in a reply's parts: end the connection in the middle of the body


@dataclass
class Reply:
    parts: list = field(default_factory=list)
    status: int = 200
    headers: dict = field(default_factory=dict)
    content_type: str = "text/event-stream"
    silent: bool = False  # not even headers are sent
    hang_up: bool = False  # the connection ends without a byte


class Wire(ThreadingHTTPServer):
    """Answers each request with the next scripted reply, chunked, so that an end and a drop differ."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.forget()

    def forget(self):
        self.replies = deque()
        self.requests = []  # (path, headers, body)
        self.reached = threading.Event()  # a SILENCE began
        self.hung_up = threading.Event()  # the client ended it

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def body(self):
        return self.requests[-1][2]

    def play(self, *parts, **reply):
        self.replies.append(Reply(list(parts), **reply))

    def refuse(self, status, error, **headers):
        self.play(
            json.dumps({"type": "error", "error": error}).encode(),
            status=status,
            content_type="application/json",
            headers={name.replace("_", "-"): str(value) for name, value in headers.items()},
        )

    def handle_error(self, request, client_address):
        """Clients hang up on purpose here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Wire

    def do_POST(self):
        length = int(self.headers.get("content-length") or 0)
        self.server.requests.append(
            (self.path, dict(self.headers), json.loads(self.rfile.read(length) or "null"))
        )
        self.reply(self.server.replies.popleft())

    do_GET = do_POST

    def reply(self, reply):
        if reply.hang_up:
            self.close_connection = True
            return None
        if reply.silent:
            return self.wait_for_the_end()
        self.send_response(reply.status)
        for name, value in {"content-type": reply.content_type, **reply.headers}.items():
            self.send_header(name, value)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for part in reply.parts:
            if part is SILENCE:
                return self.wait_for_the_end()
            if part is DROP:
                self.close_connection = True
                return None
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def wait_for_the_end(self):
        self.close_connection = True
        self.connection.settimeout(20)
        self.server.reached.set()
        if self.connection.recv(1) == b"":
            self.server.hung_up.set()

    def log_message(self, *args):
        """Quiet."""


def event(kind, **data):
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()


def start(model="claude-opus-5-5", **usage):
    usage = {"input_tokens": 25, "output_tokens": 1, **usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": model}
    return event(
        "message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage}
    )


def block(index=0, kind="text", **content):
    content = content or ({"text": ""} if kind == "text" else {"thinking": "", "signature": ""})
    return event("content_block_start", index=index, content_block={"type": kind, **content})


def text(words, index=0):
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": words})


def thought(words, index=0):
    return event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": words})


def stop(reason, *, details=None, **usage):
    delta = {"stop_reason": reason, "stop_sequence": None, "stop_details": details}
    return event("message_delta", delta=delta, usage={"output_tokens": 12, **usage})


END = event("message_stop")
PING = event("ping")


def answer(words, reason="end_turn", **last):
    return [start(), block(), text(words), event("content_block_stop", index=0), stop(reason, **last), END]


def chunk(content=None, finish=None, usage=None, **delta):
    """One event of a chat completion."""
    choices = [{"index": 0, "delta": {"content": content, **delta}, "finish_reason": finish}]
    data = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**data, "choices": choices, "usage": usage}).encode() + b"\n\n"


def totals(**usage):
    data = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    return b"data: " + json.dumps({**data, "usage": usage}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
