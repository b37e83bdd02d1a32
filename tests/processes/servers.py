"""Processes that a test may kill, freeze and start again. No Django here: some of them run before it is set up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from nyxcore.processes import Program
from nyxcore.valkey import Valkey
from nyxcore.worker import worker_program

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 20.0, what: str | Callable[[], str] = "") -> T:
    """What `condition` returns, as soon as that is true; the test fails when it does not become so in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain {what() if callable(what) else what}".strip())
        time.sleep(0.02)
    return found


class Child:
    """One process; its log is in a file, which a new start goes on with."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program, self.name, self.log = program, program.name, log
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.child: subprocess.Popen[bytes] = self.program.spawn(output)

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self.child.poll() is None

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    def await_up(self, seconds: float = 60) -> None:
        eventually(lambda: self.program.is_up() or not self.alive, seconds, f"for {self.name}")
        assert self.alive, self.words()[-4000:]

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


class WorkerProcess(Child):
    """One worker as `up` starts it."""

    def __init__(
        self, folder: Path, name: str, env: Mapping[str, str], module: str = "nyxcore.worker"
    ) -> None:
        program = worker_program(name, folder / f"{name}.ready", env)
        argv = [sys.executable, "-m", module, name]
        super().__init__(replace(program, argv=lambda: argv), folder / f"{name}.log")

    def await_ready(self) -> WorkerProcess:
        self.await_up()
        return self


class Bus(Child):
    """A Valkey of one test's own. Started again, it has the same port and nothing of what it held."""

    def __init__(self, folder: Path) -> None:
        self.server = Valkey(folder)
        self.url = self.server.url
        super().__init__(self.server.program(), folder / "valkey.log")

    def start(self) -> None:
        super().start()
        self.await_up(10)

    def client(self) -> Any:
        from redis import Redis

        return Redis.from_url(self.url, socket_timeout=5)
