"""The embedded servers, started and stopped together: `services()` for tests, `running()` for commands.

Nothing here imports Django, so that the supervisor stays small.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nyxcore.datadir import DataDir, State
from nyxcore.postgres import Postgres
from nyxcore.processes import Mark, Program, StartError, end, end_child, mark, wait_for
from nyxcore.servers import why
from nyxcore.valkey import Valkey

START_SECONDS = 120.0  # after a crash PostgreSQL first replays its journal

# --- for tests and for commands ------------------------------------------------------------------


@dataclass
class Services:
    """Servers that run for the time of a `with` block."""

    data: DataDir
    database_url: str = ""
    redis_url: str = ""
    run_dir: str = ""
    postgres: Postgres | None = None
    processes: dict[str, Mark] = field(default_factory=dict)


@contextlib.contextmanager
def services(
    data_dir: str | os.PathLike[str], postgres: bool = True, valkey: bool = True, *, durable: bool = True
) -> Iterator[Services]:
    """Run the servers on `data_dir` for the time of the block; `durable=False` is for tests.

    The directory is held meanwhile: a second user of it is refused with StartError.
    """
    data = DataDir(data_dir)
    data.create()
    data.hold()
    try:
        clean_up(data)
        with running(data, postgres=postgres, valkey=valkey, durable=durable) as found:
            yield found
    finally:
        data.release()


@contextlib.contextmanager
def running(data: DataDir, *, postgres: bool, valkey: bool, durable: bool = True) -> Iterator[Services]:
    """The servers of a data directory that this process already holds."""
    found = Services(data)
    programs: list[Program] = []
    if postgres:
        found.postgres = Postgres(data, durable=durable)
        found.database_url, found.run_dir = found.postgres.url, str(found.postgres.run_dir)
        programs.append(found.postgres.program())
    if valkey:
        server = Valkey(Path(found.run_dir) if found.run_dir else data.run_dir())
        found.redis_url, found.run_dir = server.url, found.run_dir or str(server.run_dir)
        programs.append(server.program())
    children: list[tuple[subprocess.Popen[bytes], Program]] = []
    try:
        for program in programs:
            with _log(data, program.name).open("wb") as log:
                children.append((program.spawn(log), program))
        for child, program in children:
            _await(child, program, data)
            found.processes[program.name] = mark(child.pid)
        yield found
    finally:
        for child, program in reversed(children):
            end_child(child, program)
        forget_run_dir(data, found.run_dir)


def _log(data: DataDir, name: str) -> Path:
    folder = data.path / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{name}.log"


def _await(child: subprocess.Popen[bytes], program: Program, data: DataDir) -> None:
    """Return when the server answers; StartError when it ended or takes too long."""
    wait_for(lambda: child.poll() is not None or program.is_up(), START_SECONDS)
    if child.poll() is not None:
        lines = _log(data, program.name).read_text(errors="replace").splitlines()
        raise StartError(why({"db": "PostgreSQL", "bus": "Valkey"}[program.name], data, lines))
    if not program.is_up():
        raise StartError(
            f"{program.name} did not answer within {START_SECONDS:.0f} s; see {_log(data, program.name)}."
        )


def forget_run_dir(data: DataDir, run_dir: str) -> None:
    """Remove the sockets' folder where it is a temporary one outside the data."""
    if run_dir and data.path not in Path(run_dir).parents and Path(run_dir).name.startswith("nyxcore-"):
        shutil.rmtree(run_dir, ignore_errors=True)


def clean_up(data: DataDir) -> None:
    """End what a killed owner left running: marked processes, never another that has the number now."""
    state = data.last_state()
    if state is None:
        return
    for name, who in state.processes.items():
        if name == "db":
            end(who, [(signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)])
        else:
            end(who, [(signal.SIGKILL, 5.0)])
    forget_run_dir(data, state.run_dir)
    data.clear_state()


def running_up(data_dir: str | os.PathLike[str]) -> State | None:
    """What the living `up` of this data directory says of itself; None when none runs."""
    state = DataDir(data_dir).read_state()
    return state if state is not None and state.kind == "up" else None
