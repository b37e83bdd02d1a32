"""Runs programs side by side: shows their output, starts again what dies, ends all of them in order.

One thread and one `select`: while nothing happens, nothing runs. Standard library only, and no Django: a
supervisor that loads the application would cost as much memory as the web server.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import BinaryIO, Literal, cast

from nyxcore.console import Console
from nyxcore.processes import Mark, Program, StartError, mark

StateWord = Literal["new", "starting", "up", "waiting", "stopping", "ended"]
LOOK_EVERY = 0.02  # s between two looks whether a starting program answers
FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0  # s before a program that died starts again
CALM = 30.0  # s after which a program that runs has earned the short delay again
TRIES = 3  # starts that a program gets before its first success
LONGEST_LINE = 16_384
SIGNS = {"new": "·", "starting": "◐", "up": "●", "waiting": "✕", "stopping": "◌", "ended": "·"}


def _nothing(number: int, frame: FrameType | None) -> None:
    """A signal that only has to wake us up."""


class Stop(Exception):
    """A signal asked us to end while we were starting."""


@dataclass
class Child:
    """One program, its process, and what we know of it."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    state: StateWord = "new"
    quiet_start: bool = False  # its output before it is up is shown only when the start fails
    once: bool = False  # it ends by itself when its work is done
    was_up: bool = False
    failures: int = 0  # deaths in a row without a calm time between
    began: float = 0.0
    due: float = 0.0  # when it starts again
    deadline: float = 0.0  # when a stop becomes harder
    mark: Mark = (0, "")
    buffer: bytes = b""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=40))

    @property
    def name(self) -> str:
        return self.program.name


class Supervisor:
    """`start` programs, then `run_until` or `run`; `stop` ends them."""

    def __init__(self, console: Console, changed: Callable[[], None] = lambda: None) -> None:
        self.console, self.changed = console, changed
        self.children: list[Child] = []
        self.signals = 0  # how often we were asked to end
        self.stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake, wake = socket.socketpair()
        for end in (self._wake, wake):
            end.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        self._wake_writer = wake
        self._selector.register(self._wake, selectors.EVENT_READ)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            ignored = signal.getsignal(number) is signal.SIG_IGN and number != signal.SIGTERM
            # A handler that does nothing, unlike SIG_IGN, is not inherited by the children.
            signal.signal(number, _nothing if ignored else self._asked_to_end)
        signal.signal(
            signal.SIGCHLD, lambda number, frame: None
        )  # its byte on the wake-up socket is what counts

    def close(self) -> None:
        """Let go of the wake-up socket; the signal handlers stay, since the end of the process follows."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake.close()
        self._wake_writer.close()

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1

    # --- starting ---------------------------------------------------------------------------------

    def start(self, program: Program, *, quiet_start: bool = False) -> Child:
        child = Child(program, quiet_start=quiet_start)
        self.children.append(child)
        self._spawn(child)
        return child

    def _spawn(self, child: Child) -> None:
        child.buffer = b""
        child.began = time.monotonic()
        try:
            child.process = child.program.spawn(subprocess.PIPE)
        except (StartError, OSError) as error:
            if not child.was_up:
                raise
            child.tail.append(str(error))
            self.console.line(child.name, str(error))
            self._schedule(child)
            return
        child.mark = mark(child.process.pid)
        pipe = cast(BinaryIO, child.process.stdout)
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ, child)
        self._set(child, "starting")

    def _set(self, child: Child, state: StateWord) -> None:
        child.state = state
        self.changed()
        self.console.status("  ".join(f"{SIGNS[other.state]} {other.name}" for other in self.children))

    def _schedule(self, child: Child) -> None:
        child.failures += 1
        delay = min(FIRST_DELAY * 5 ** (child.failures - 1), LONGEST_DELAY)
        child.due = time.monotonic() + delay
        self._set(child, "waiting")
        self.console.line("up", f"{child.name} starts again in {delay:g} s")

    # --- watching ---------------------------------------------------------------------------------

    def run_until(self, done: Callable[[], bool]) -> None:
        """Work until `done`; Stop when a signal comes first."""
        while not done():
            if self.signals:
                raise Stop
            self._turn()

    def run(self) -> None:
        """Work until a signal asks us to end."""
        while not self.signals:
            self._turn()

    def wait_up(self, children: Iterable[Child]) -> None:
        """Work until these are up. StartError when one does not start."""
        watched = list(children)
        self.run_until(lambda: all(child.state == "up" for child in watched))

    def run_once(self, program: Program) -> None:
        """Work until `program` has done its job and ended; StartError when it fails."""
        child = Child(program, once=True)
        self.children.append(child)
        self._spawn(child)
        self.run_until(lambda: child.state == "ended")
        self.children.remove(child)

    def _turn(self) -> None:
        """Wait for the next thing to happen and deal with it."""
        for key, _ in self._selector.select(self._patience()):
            if key.data is None:
                self._drain_wakeups()
            else:
                self._read(key.data)
        for child in self.children:
            self._look_at(child)

    def _patience(self) -> float | None:
        now = time.monotonic()
        waits = [max(child.due - now, 0) for child in self.children if child.state == "waiting"]
        waits += [LOOK_EVERY for child in self.children if child.state == "starting" and not child.once]
        waits += [max(child.deadline - now, 0) for child in self.children if child.state == "stopping"]
        return min(waits, default=None)

    def _drain_wakeups(self) -> None:
        try:
            while self._wake.recv(256):
                pass
        except BlockingIOError:
            return

    def _look_at(self, child: Child) -> None:
        now = time.monotonic()
        if child.state == "waiting" and child.due <= now and not self.stopping:
            self._spawn(child)
        elif child.state in ("starting", "up", "stopping") and self._has_ended(child):
            self._ended(child)
        elif child.state == "starting" and not child.once and child.program.is_up():
            child.was_up = True
            self._set(child, "up")
            pid, seconds = child.mark[0], now - child.began
            self.console.line("up", f"{child.name} is up after {seconds:.1f} s (process {pid})")
        elif child.state == "stopping" and child.deadline <= now:
            self._press(child)

    def _has_ended(self, child: Child) -> bool:
        """Reap the process if it ended, after ending what it left of its process group.

        The group is ended before the reaping: until then nobody else can get its number.
        """
        process = cast("subprocess.Popen[bytes]", child.process)
        if process.returncode is None and hasattr(os, "waitid"):
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            with contextlib.suppress(PermissionError):  # some systems say so of a group of zombies
                os.killpg(process.pid, signal.SIGKILL)
        return process.poll() is not None

    def _ended(self, child: Child) -> None:
        process = cast("subprocess.Popen[bytes]", child.process)
        self._read(child)
        pipe = cast(BinaryIO, process.stdout)
        if pipe in self._selector.get_map():
            self._selector.unregister(pipe)
        pipe.close()
        if child.buffer:
            self._show(child, child.buffer)
        if self.stopping or (child.once and process.returncode == 0):
            self._set(child, "ended")
            return
        self._died(child, process.returncode)

    def _died(self, child: Child, code: int) -> None:
        if child.quiet_start and child.state == "starting":
            for line in child.tail:
                self.console.line(child.name, line)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.console.line("up", f"{child.name} ended by itself ({how})")
        if child.was_up and time.monotonic() - child.began > CALM:
            child.failures = 0
        if not child.was_up and (child.quiet_start or child.once or child.failures + 1 >= TRIES):
            self._set(child, "ended")
            verb = "failed" if child.once else "does not start"
            raise StartError(f"{child.name} {verb}: {self._last_words(child)}")
        self._schedule(child)

    def _last_words(self, child: Child) -> str:
        return next((line for line in reversed(child.tail) if line.strip()), "it said nothing")

    # --- output -----------------------------------------------------------------------------------

    def _read(self, child: Child) -> None:
        process = cast("subprocess.Popen[bytes]", child.process)
        pipe = cast(BinaryIO, process.stdout)
        while True:
            try:
                data = os.read(pipe.fileno(), 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                if pipe in self._selector.get_map():
                    self._selector.unregister(pipe)
                return
            *lines, child.buffer = (child.buffer + data).split(b"\n")
            for line in lines:
                self._show(child, line)
            if len(child.buffer) > LONGEST_LINE:
                self._show(child, child.buffer)
                child.buffer = b""

    def _show(self, child: Child, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        child.tail.append(text)
        if text.strip() and (not child.quiet_start or child.state == "up"):
            self.console.line(child.name, text)

    # --- ending -----------------------------------------------------------------------------------

    def stop(self, children: Iterable[Child], *, patient: bool = True) -> None:
        """End these: politely first, with force after their time, or at the next signal unless `patient`."""
        self.stopping = True
        signals = self.signals
        watched = [child for child in children if child.process is not None]
        for child in watched:
            if child.state in ("starting", "up"):
                self._send(child, child.program.stop_with)
                child.deadline = time.monotonic() + child.program.stop_seconds
                self._set(child, "stopping")
        while any(child.state == "stopping" for child in watched):
            if not patient and self.signals > signals:
                signals = self.signals
                for child in watched:
                    child.deadline = 0.0
            self._turn()

    def _press(self, child: Child) -> None:
        """Its time is up: the harder signal, then the hardest."""
        number = child.program.then_with
        self.console.line("up", f"{child.name} did not end in time; it gets {number.name}")
        self._send(child, number)
        child.program.then_with = signal.SIGKILL
        child.deadline = time.monotonic() + 5.0

    def _send(self, child: Child, number: signal.Signals) -> None:
        process = cast("subprocess.Popen[bytes]", child.process)
        if number == signal.SIGKILL and process.poll() is None:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
