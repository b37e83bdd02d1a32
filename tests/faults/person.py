"""A signed-in person who speaks HTTP to the web process: pages, verbs, an event stream."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from tests.faults.system import System

TOKEN = "l" * 32


@dataclass(frozen=True)
class Answer:
    """Status 0: there was none."""

    status: int
    text: str
    seconds: float


class Person:
    def __init__(self, system: System, user: Any, session: str) -> None:
        self.system, self.user = system, user
        self._headers = {"Cookie": f"sessionid={session}; csrftoken={TOKEN}", "X-CSRFToken": TOKEN}

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def post(self, path: str) -> Answer:
        return self._ask("POST", path)

    def _ask(self, method: str, path: str) -> Answer:
        began = time.monotonic()
        link = http.client.HTTPConnection("127.0.0.1", self.system.ports[0], timeout=40)
        try:
            link.request(method, path, headers=self._headers)
            answer = link.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace"), time.monotonic() - began)
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, f"{type(error).__name__}: {error}", time.monotonic() - began)
        finally:
            link.close()


class Asking(threading.Thread):
    """A POST that is under way."""

    def __init__(self, person: Person, path: str) -> None:
        super().__init__(daemon=True)
        self.answer: Answer | None = None
        self._person, self._path = person, path
        self.start()

    def run(self) -> None:
        self.answer = self._person.post(self._path)

    def result(self) -> Answer:
        self.join(45)
        assert self.answer is not None, "the POST was not answered"
        return self.answer


class Listening(threading.Thread):
    """An open event stream; what it says, until it ends."""

    def __init__(self, system: System, user: Any, channel: str) -> None:
        from nyxcore.live import make_token

        super().__init__(daemon=True)
        self.said = ""
        self._socket = socket.create_connection(("127.0.0.1", system.ports[0]), 10)
        path = f"/events/?token={make_token(user.pk, [channel])}"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        self._socket.settimeout(None)
        self.start()

    def run(self) -> None:
        try:
            while data := self._socket.recv(65_536):
                self.said += data.decode(errors="replace")
        except OSError as error:
            self.said += f"\n[{type(error).__name__}]"

    def hang_up(self) -> None:
        """Close the tab."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the server was faster
        finally:
            self._socket.close()
