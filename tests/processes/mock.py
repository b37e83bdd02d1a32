"""LLMock as a process of its own, which workers ask over the wire; scenarios go to it by HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from nyxcore.processes import spawn
from tests.platform.helpers import free_port
from tests.processes.servers import eventually

ASKED = {"path": "*/messages"}


class LLMock:
    """Where it listens, and how it is told what to answer."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/_llmock/{path}", data), timeout=10
        ) as answer:
            return json.load(answer)

    def play(self, *behaviors: dict[str, Any]) -> None:
        self.ask("scenario", {"behaviors": [behavior | {"match": ASKED} for behavior in behaviors]})

    def calls(self) -> list[dict[str, Any]]:
        """What was asked of the model and has ended, oldest first; times are of time.monotonic()."""
        return [made for made in self.ask("requests")["requests"] if made["method"] == "POST"]

    def answers(self) -> bool:
        try:
            return bool(self.ask("scenario"))
        except OSError:
            return False


def reply(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reply", "text": text, **more}


def refusal(status_code: int, **more: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status_code, **more}


@contextlib.contextmanager
def serving() -> Iterator[LLMock]:
    """The server, for the time of the block."""
    server = LLMock(port := free_port())
    code = "from llmock.cli import app; app()"
    argv = [sys.executable, "-c", code, "serve", "--port", str(port), "--log-level", "warning"]
    mock = spawn(argv, env=os.environ, output=subprocess.DEVNULL)
    try:
        eventually(lambda: server.answers() or mock.poll() is not None, 60, "for llmock")
        yield server
    finally:
        mock.kill()
        mock.wait(10)
