"""A worker for a command that waits: another one's where one lives, else one of its own for that time."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path
from types import TracebackType

from django.conf import settings
from django.db.models.expressions import RawSQL

from nyxcore.datadir import DataDir
from nyxcore.dbtime import ago
from nyxcore.embedded import running_up
from nyxcore.models import Worker
from nyxcore.processes import StartError
from nyxcore.up import child_environment
from nyxcore.worker import Hired, worker_for_a_while

PATIENCE = 15.0  # s without a worker that usually lives, as while `up` starts it again
TRIES = 3  # own workers that end by themselves


class Standby:
    """Use as a context; `look` at each turn of the waiting starts a worker as soon as one is needed."""

    def __init__(self) -> None:
        self.hired: Hired | None = None
        self._stack = contextlib.ExitStack()
        self._tries = 0
        self._last_seen = time.monotonic() - (0.0 if up_runs() else PATIENCE)

    def __enter__(self) -> Standby:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def look(self) -> None:
        """Start a worker when nobody else's has lived for a while; StartError when it does not start or stay."""
        if self.hired is not None:
            if self.hired.lives:
                return
            self._stack.close()
            self.hired = None
            if self._tries >= TRIES:
                raise StartError("The worker that this command started ended by itself again and again.")
        now = time.monotonic()
        if self.others():
            self._last_seen = now
        elif now - self._last_seen >= PATIENCE:
            self._hire()

    def others(self) -> bool:
        """True while a worker lives that is not ours.

        One that was last seen before PostgreSQL started may have gone with the servers of its time.
        """
        started = RawSQL("SELECT pg_postmaster_start_time()", [])
        alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
        if self.hired is not None:
            alive = alive.exclude(name__startswith=f"{socket.gethostname()}:{self.hired.process.pid}:")
        return alive.filter(seen_at__gt=started).exists()

    def _hire(self) -> None:
        self._tries += 1
        if settings.DATA_DIR.is_dir():
            folder = settings.DATA_DIR / "log"
        else:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="nyxcore-")))
        env = child_environment(DataDir(settings.DATA_DIR), os.environ)
        self.hired = self._stack.enter_context(worker_for_a_while(folder, env))


def up_runs() -> bool:
    """Whether the `up` of our data folder serves the database that we use; it looks after its workers."""
    state = running_up(settings.DATA_DIR)
    return state is not None and state.database_url == settings.DATABASE_URL


def address() -> str:
    """Where the pages are, as far as this machine knows; "" without a running `up`."""
    state = running_up(settings.DATA_DIR)
    return state.address if state is not None and state.database_url == settings.DATABASE_URL else ""
