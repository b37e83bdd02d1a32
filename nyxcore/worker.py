"""A worker process: Celery's worker with our options, which says by a file when it takes work."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nyxcore.processes import Program, StartError, end_child, wait_for

START_SECONDS = 60.0
ROOT = str(Path(__file__).resolve().parent.parent)


def worker_program(name: str, ready_file: Path, env: Mapping[str, str]) -> Program:
    """A worker; at its end it gets the grace time and then some to hand over."""
    return Program(
        name=name,
        # -P: it is also started in folders of others, whose modules must not be run
        argv=lambda: [sys.executable, "-P", "-m", "nyxcore.worker", name],
        env={
            **env,
            "NYXCORE_READY_FILE": str(ready_file),
            "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, env.get("PYTHONPATH", "")])),
            "PYTHONUNBUFFERED": "1",
        },
        prepare=lambda: ready_file.unlink(missing_ok=True),
        is_up=ready_file.exists,
        stop_seconds=_grace(env) + 10.0,
    )


def _grace(env: Mapping[str, str]) -> float:
    try:
        return float(env.get("NYXCORE_GRACE") or 20)
    except ValueError:
        return 20.0  # the settings refuse it with a sentence as soon as a process starts


@dataclass(frozen=True)
class Hired:
    """A worker process that somebody started for a while."""

    log: Path
    process: subprocess.Popen[bytes]

    @property
    def lives(self) -> bool:
        return self.process.poll() is None


@contextlib.contextmanager
def worker_for_a_while(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Hired]:
    """A worker process for the time of the block. It needs DATABASE_URL and REDIS_URL set."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"command-{os.getpid()}"
    log, ready = folder / f"{name}.log", folder / f"{name}.ready"
    program = worker_program(name, ready, os.environ if env is None else env)
    with log.open("wb") as output:
        child = program.spawn(output)
    try:
        wait_for(lambda: child.poll() is not None or program.is_up(), START_SECONDS, every=0.05)
        if child.poll() is not None or not program.is_up():
            words = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise StartError(f"The worker does not start: {words[-1] if words else 'it said nothing'}")
        yield Hired(log, child)
        log.unlink(missing_ok=True)
    finally:
        end_child(child, program)
        ready.unlink(missing_ok=True)


def step_aside(nice: int) -> None:
    """Let pages go before the work of this process while both want the processor; alone it gets all of it.

    Linux may share the processor out among sessions first, and there a value counts only among the processes of
    one session: a session of our own, as `up` gives each worker, takes the value too.
    """
    now = os.nice(nice)  # at most 19, whatever is asked for
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # nothing is shared out among sessions here
            Path("/proc/self/autogroup").write_text(str(now))


def main() -> None:
    """Run a worker; `python -m nyxcore.worker NAME`, NAME being unique on its broker.

    The same as `celery -A nyxcore worker` with our options, without what that command line costs in time and
    memory (an interactive shell, all other commands, Django's checks and with them every view).
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
    os.environ["CELERY_SKIP_CHECKS"] = "1"
    from celery.exceptions import SecurityWarning
    from celery.signals import worker_ready
    from django.conf import settings

    from nyxcore.celery import app

    step_aside(settings.NYXCORE_WORKER_NICE)

    def say_so(**_kwargs: object) -> None:
        Path(os.environ["NYXCORE_READY_FILE"]).touch()

    if os.environ.get("NYXCORE_READY_FILE"):
        worker_ready.connect(say_so, weak=False)
    # The warning to root is for pickled messages, which run code; ours are JSON.
    warnings.simplefilter("ignore", SecurityWarning)
    name = sys.argv[1] if len(sys.argv) > 1 else "worker"
    worker = app.Worker(
        hostname=f"{name}@{socket.gethostname()}",
        pool_cls="threads",
        concurrency=settings.NYXCORE_WORKER_THREADS,
        loglevel=settings.LOG_LEVEL,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    sys.exit(worker.exitcode)


if __name__ == "__main__":
    main()
