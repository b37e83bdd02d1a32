"""Gives a command its servers: the outside ones, those of the running `up`, or its own for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from nyxcore import stamp
from nyxcore.datadir import DataDir, State
from nyxcore.embedded import Services, clean_up, running
from nyxcore.postgres import postgres_home
from nyxcore.processes import StartError, mark, wait_for

ROOT = Path(__file__).resolve().parent.parent
# Commands that touch no server; they get addresses at which nothing answers.
WITHOUT_SERVERS = {"", "help", "version", "collectstatic", "findstatic", "compilemessages", "makemessages"}
WITHOUT_SERVERS |= {"startapp", "startproject", "diffsettings"}
# Commands that look after the schema themselves; for all others it is brought up to date first.
SCHEMA_COMMANDS = {
    "bootstrap",
    "migrate",
    "makemigrations",
    "showmigrations",
    "sqlmigrate",
    "squashmigrations",
}
SCHEMA_COMMANDS |= {"check", "dbshell", "flush", "optimizemigration", "restore"}
PATIENCE = 60.0  # s to wait for an `up` that is just starting


def take_data_dir(argv: Sequence[str]) -> list[str]:
    """Move `--data-dir DIR` from the arguments of any command to the environment; default: `var` beside manage.py."""
    rest: list[str] = []
    words = iter(argv)
    folder = os.environ.get("NYXCORE_DATA_DIR") or str(ROOT / "var")
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--data-dir":
            folder = next(words, "")
            if not folder:
                raise StartError("--data-dir needs a folder.")
        elif word.startswith("--data-dir="):
            folder = word.partition("=")[2]
        else:
            rest.append(word)
    os.environ["NYXCORE_DATA_DIR"] = os.path.abspath(folder)
    return rest


def needs_servers(argv: Sequence[str]) -> bool:
    words = list(argv[1:])
    command = words[0] if words else ""
    return not (command in WITHOUT_SERVERS or command.startswith("-") or "--help" in words or "-h" in words)


@contextlib.contextmanager
def servers_for(argv: Sequence[str]) -> Iterator[None]:
    """Set the environment that Django's settings read for the time of this command."""
    if not needs_servers(argv):
        _complete(
            "postgresql://127.0.0.1:1/none", "redis://127.0.0.1:1/0", "only for commands without servers"
        )
        yield
        return
    data = DataDir(os.environ["NYXCORE_DATA_DIR"])
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        # A server's address without a key is a deployment that forgot it, unless `up` made one here.
        if (data.path / "secret_key").exists():
            _complete("", "", data.secret("secret_key"))
        yield
        return
    with _shared_or_own(data, argv[1]):
        yield


def _complete(database_url: str, redis_url: str, secret_key: str) -> None:
    """Fill in what the person did not set."""
    wanted = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SECRET_KEY": secret_key}
    for name, value in {**wanted, "ALLOWED_HOSTS": "127.0.0.1,localhost"}.items():
        os.environ[name] = os.environ.get(name) or value


@contextlib.contextmanager
def _shared_or_own(data: DataDir, command: str) -> Iterator[None]:
    """The servers of the living owner, else our own."""
    until = time.monotonic() + PATIENCE
    while True:
        if state := _share(data):
            break
        data.create()
        try:
            data.hold()
        except StartError:
            # Its owner is starting, stopping, or was faster by a moment.
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
            continue
        break
    try:
        if state is not None:
            _complete(state.database_url, state.redis_url, data.secret("secret_key"))
            _use_its_programs(data)
            yield
        else:
            with _own(data, command):
                yield
    finally:
        data.release()


def _share(data: DataDir) -> State | None:
    """The owner's state once it is ready; None when there is no owner."""

    def settled() -> bool:
        state = data.read_state()
        return state is None or state.ready

    wait_for(settled, PATIENCE, every=0.1)
    return data.share()


@contextlib.contextmanager
def _own(data: DataDir, command: str) -> Iterator[None]:
    """Servers for the time of this command; other commands may share them and are waited for at the end."""
    clean_up(data)
    signal.signal(signal.SIGTERM, _end_in_order)
    outside_database, outside_bus = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
    with running(data, postgres=not outside_database, valkey=not outside_bus) as found:
        _complete(found.database_url, found.redis_url, data.secret("secret_key"))
        state = State("command", mark(os.getpid()), os.environ["DATABASE_URL"], os.environ["REDIS_URL"])
        state.run_dir, state.processes = found.run_dir, found.processes
        data.write_state(state)
        _use_its_programs(data)
        try:
            _bring_up_to_date(data, found, command)
            state.ready = True
            data.write_state(state)
            yield
        finally:
            data.wait_for_users()
            data.clear_state()


def _end_in_order(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _use_its_programs(data: DataDir) -> None:
    """psql and pg_dump of the embedded server's version come first, for `dbshell` and for back-ups."""
    if data.pgdata.exists():
        os.environ["PATH"] = f"{postgres_home() / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"


def _bring_up_to_date(data: DataDir, found: Services, command: str) -> None:
    if command in SCHEMA_COMMANDS:
        return
    if found.postgres is not None and stamp.is_current(data, found.postgres.query):
        return
    bootstrap = [sys.executable, str(ROOT / "manage.py"), "bootstrap"]
    if subprocess.run(bootstrap, stdout=sys.stderr, env=os.environ).returncode != 0:
        raise StartError("The database could not be brought up to date; the lines above say why.")
