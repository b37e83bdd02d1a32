"""Worker processes and a Valkey that a test may kill, freeze and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from django.db import connection

from nyxcore.valkey import Valkey
from nyxcore.worker import worker_program
from workflows.models import StepAttempt, Workflow

T = TypeVar("T")
LEASE, SWEEP_EVERY, GRACE = 2.0, 0.5, 1.0  # s
KNOWN_WITHIN = LEASE + SWEEP_EVERY + 5  # s from the death of a worker until its row tells the truth
TIMES = {
    "NYXCORE_LEASE": str(LEASE),
    "NYXCORE_SWEEP_EVERY": str(SWEEP_EVERY),
    "NYXCORE_GRACE": str(GRACE),
    "NYXCORE_STUCK_AFTER": "600",
}
FAST = {"NYXCORE_LLM": "practice", "NYXCORE_PRACTICE_SPEED": "100000"}
SLOW = {"NYXCORE_LLM": "practice", "NYXCORE_PRACTICE_SPEED": "5"}  # a minute or more for an answer
KEY = "sk-ant-secret-0123456789abcdef"


def speaking_to(url: str) -> dict[str, str]:
    """Environment of a worker that asks the server at `url`."""
    return {"NYXCORE_LLM": "anthropic", "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url}


def environment(**more: str) -> dict[str, str]:
    """Environment of a worker on the test database: the product's settings, short times."""
    product = {"DJANGO_SETTINGS_MODULE": "nyxcore.settings", "DATABASE_URL": database_url()}
    return {**os.environ, **product, **TIMES, **more}


def eventually(condition: Callable[[], T], seconds: float = 20.0, what: str = "") -> T:
    """What `condition` returns, as soon as that is true; the test fails when it does not become so in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds:g} s in vain {what}".strip()
        time.sleep(0.02)
    return found


def database_url() -> str:
    """The address of the database that this test run has made."""
    where = connection.settings_dict
    assert where["NAME"].startswith("test_"), "the test database has not been made"
    user = quote(where["USER"], safe="") + (
        f":{quote(where['PASSWORD'], safe='')}" if where["PASSWORD"] else ""
    )
    port = f":{where['PORT']}" if where["PORT"] else ""
    return f"postgresql://{user}@{quote(where['HOST'], safe='')}{port}/{where['NAME']}"


class WorkerProcess:
    """One worker as `up` starts it; its log is in a file."""

    def __init__(self, folder: Path, name: str, env: dict[str, str], module: str = "nyxcore.worker") -> None:
        self.name, self.log = name, folder / f"{name}.log"
        program = worker_program(name, folder / f"{name}.ready", env)
        self.program = replace(program, argv=lambda: [sys.executable, "-m", module, name])
        with self.log.open("wb") as output:
            self.child: subprocess.Popen[bytes] = self.program.spawn(output)

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def await_ready(self) -> WorkerProcess:
        eventually(lambda: self.program.is_up() or not self.alive, 60, f"for {self.name}")
        assert self.alive, self.words()
        return self

    def says(self, words: str, seconds: float = 20) -> None:
        eventually(lambda: words in self.words(), seconds, f"for {words!r} in the log of {self.name}")

    def send(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(10)

    def freeze(self) -> None:
        """Stop the process where it is; returns when the kernel has done so."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    def terminate(self) -> None:
        """Ask it to end, as the supervisor does."""
        self.send(signal.SIGTERM)

    def end(self, seconds: float) -> int:
        """The same, and wait until it has ended; its exit code."""
        self.terminate()
        return self.child.wait(seconds)


class Bus:
    """A Valkey of one test's own."""

    def __init__(self, folder: Path) -> None:
        self.server = Valkey(folder)
        self.url = self.server.url
        self._log = folder / "valkey.log"
        self.start()

    def start(self) -> None:
        """Start it, again on the same port; what it held is gone."""
        with self._log.open("ab") as output:
            self._child = self.server.program().spawn(output)
        eventually(self.server.is_up, 10, "for Valkey")

    def kill(self) -> None:
        self._child.kill()
        self._child.wait(10)

    def freeze(self) -> None:
        self._child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._child.pid, os.WSTOPPED | os.WNOWAIT)

    def client(self) -> Any:
        from redis import Redis

        return Redis.from_url(self.url, socket_timeout=5)


def cut_connections() -> int:
    """End every connection to the test database but ours; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        )
        return int(cursor.fetchone()[0])


def status(workflow: Workflow) -> str:
    return str(Workflow.objects.values_list("status", flat=True).get(pk=workflow.pk))


def ends(workflow: Workflow, expected: str = "completed", seconds: float = 20) -> None:
    """Wait until the workflow has ended, and check how."""
    ended = ("completed", "failed", "cancelled", "paused")
    eventually(
        lambda: status(workflow) in ended, seconds, f"for workflow {workflow.pk}, now {story(workflow)}"
    )
    assert status(workflow) == expected, story(workflow)


def story(workflow: Workflow) -> list[tuple[str, str, str, str]]:
    """(step, cause, status, reason) of each attempt, in the order in which they were opened."""
    rows = StepAttempt.objects.filter(step__workflow=workflow).order_by("pk")
    return list(rows.values_list("step__key", "cause", "status", "reason"))


def saved(text: str = "") -> StepAttempt:
    """The running attempt, once its text so far (with `text`: exactly that) is in its row."""
    rows = StepAttempt.objects.filter(status="running").exclude(output="")
    return eventually((rows.filter(output=text) if text else rows).first, what="for the saved text")
