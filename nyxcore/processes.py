"""Child processes that never outlive us unnoticed. Standard library only: it keeps the supervisor small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

LAUNCH = str(Path(__file__).with_name("launch.py"))
Mark = tuple[int, str]  # a pid and when it started: a pid alone may be somebody else's by now


class StartError(Exception):
    """Something cannot start. The message is one sentence for the person at the shell."""


def started(pid: int) -> str | None:
    """An opaque mark of when the living process `pid` started; None when there is none, or a zombie."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True)
        state, _, since = shown.stdout.strip().partition(" ")
        return None if not state or state.startswith("Z") else since.strip()
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    if fields[0] in "ZX":
        return None
    # Ticks since boot: the boot id tells them from the ticks of an earlier boot.
    return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{fields[19]}"


def mark(pid: int) -> Mark:
    return pid, started(pid) or ""


def alive(who: Mark) -> bool:
    """True while the very process that was marked lives, not another one that got its number."""
    pid, since = who
    return bool(since) and started(pid) == since


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    identity: str = "same",
    dies_by: signal.Signals = signal.SIGKILL,
    output: int | IO[bytes] | None = None,
    keep_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own; it gets the signal `dies_by` when we die, however we die.

    The kernel watches the thread that forks, so only a child of the main thread is tied to us.
    """
    in_main = threading.current_thread() is threading.main_thread()
    launch = [
        sys.executable,
        "-I",
        "-S",
        LAUNCH,
        str(int(dies_by)),
        str(os.getpid() if in_main else 0),
        identity,
    ]
    return subprocess.Popen(
        [*launch, *argv],
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        start_new_session=True,
        pass_fds=tuple(keep_fds),
    )


@dataclass
class Program:
    """What to run, how to know that it is up, how to end it."""

    name: str
    argv: Callable[[], list[str]]
    env: dict[str, str] | None = None
    identity: str = "same"
    prepare: Callable[[], None] = lambda: None
    is_up: Callable[[], bool] = lambda: True
    stop_with: signal.Signals = signal.SIGTERM
    then_with: signal.Signals = signal.SIGKILL
    stop_seconds: float = 10.0
    dies_by: signal.Signals = signal.SIGKILL
    keep_fds: list[int] = field(default_factory=list)

    def spawn(self, output: int | IO[bytes] | None) -> subprocess.Popen[bytes]:
        self.prepare()
        return spawn(
            self.argv(),
            env=self.env,
            identity=self.identity,
            dies_by=self.dies_by,
            output=output,
            keep_fds=self.keep_fds,
        )


def send(who: Mark, number: signal.Signals, *, group: bool = False) -> bool:
    """Signal the marked process (with `group` its whole process group); False when it is gone."""
    if not alive(who):
        return False
    try:
        if group:
            os.killpg(who[0], number)
        else:
            os.kill(who[0], number)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float, every: float = 0.01) -> bool:
    """True as soon as `condition` holds, False when it does not within `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(every)
    return True


def end(who: Mark, ladder: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal of `ladder` in turn, giving the process its seconds after each."""
    for number, seconds in ladder:
        if not send(who, number, group=number == signal.SIGKILL):
            return
        if wait_for(lambda: not alive(who), seconds):
            return


def end_child(child: subprocess.Popen[bytes], program: Program) -> None:
    """End our own child as its program wants it, with force after its time is up."""
    for number, seconds in (
        (program.stop_with, program.stop_seconds),
        (program.then_with, 5.0),
        (signal.SIGKILL, 5.0),
    ):
        if child.poll() is not None:
            return
        child.send_signal(number)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
