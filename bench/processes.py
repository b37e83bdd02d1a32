"""Workers and servers as processes, as long as a measurement needs them, and the memory they take."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator

CELERY = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]
OURS = ["-A", "nyxcore", "worker", "--pool", "threads", "--concurrency", "16"]
BARE = ["-A", "bench.bare", "worker", "--pool", "prefork", "--concurrency", "2", "-Q", "bare"]
WEB = [sys.executable, "-m", "uvicorn", "nyxcore.asgi:application", "--port", "0", "--log-level", "error"]
STARTED = 8.0  # s until a process that has been started is idle


@contextlib.contextmanager
def worker(*options: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker process for the time of the block."""
    process = subprocess.Popen([*CELERY, *options, *QUIET], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def workers(number: int, env: dict[str, str]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """That many of our worker processes."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(worker(*OURS, "-n", f"n{index}@%h", env=env)) for index in range(number)]


def pss(pid: int) -> float:
    """MiB of a process, shared pages counted by share."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise LookupError(f"no Pss of {pid}")


def idle_memory(env: dict[str, str]) -> str:
    """Idle PSS of one worker and one web process: after the start, before any work."""
    with workers(1, env) as (ours,):
        web = subprocess.Popen(WEB, env=env)
        try:
            time.sleep(STARTED)
            sizes = {"worker": pss(ours.pid), "web": pss(web.pid)}
        finally:
            web.terminate()
            web.wait(20)
    parts = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    return f"idle memory, PSS MiB: {parts}; sum {sum(sizes.values()):.0f} (goal <= 160)"
