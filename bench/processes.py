"""Celery workers as processes, as long as a measurement needs them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

CELERY = [sys.executable, "-W", "ignore", "-m", "celery", "--quiet"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]


@contextlib.contextmanager
def worker(*options: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker process for the time of the block."""
    process = subprocess.Popen([*CELERY, *options, *QUIET], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)
