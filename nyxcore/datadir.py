"""The data directory: who may use it now, which secrets live in it, and where its services answer."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nyxcore.processes import Mark, StartError, alive

NEEDED_BYTES = 128 * 1024 * 1024  # a new database takes 50 MB, its journal as much again
SPARE_BYTES = 16 * 1024 * 1024
SOCKET_LIMIT = 103  # bytes of a socket's path that fit on every system (Linux 107, macOS 103)


@dataclass
class State:
    """What the process that holds the data directory tells others; kept in `services.json`, mode 0600."""

    kind: str  # "up" or "command"
    owner: Mark
    database_url: str = ""
    redis_url: str = ""
    address: str = ""
    run_dir: str = ""
    ready: bool = False  # the database is migrated: commands may use it
    processes: dict[str, Mark] = field(default_factory=dict)


def sentence(error: OSError, path: Path) -> str:
    """One sentence for a failed access to the data directory."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk that holds {path} is full. Free some space and start again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"The data folder {path} cannot be written by this user. Choose another one with --data-dir."
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"The data folder {path} cannot be made: it, or a part of its path, is a file."
    return f"The data folder {path} cannot be used: {error.strerror or error}."


class DataDir:
    """A folder that belongs to one nyxcore. Everything that it creates is for its owner only."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        self.pgdata = self.path / "postgres"
        self._lock: int | None = None
        self._sharing: int | None = None

    def create(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
            free = shutil.disk_usage(self.path).free
        except OSError as error:
            raise StartError(sentence(error, self.path)) from None
        needed = SPARE_BYTES if (self.pgdata / "PG_VERSION").exists() else NEEDED_BYTES
        if free < needed:
            raise StartError(
                f"The disk that holds {self.path} is full: {free >> 20} MB are free, "
                f"{needed >> 20} MB are needed."
            )

    # --- who uses it -----------------------------------------------------------------------------

    def hold(self) -> None:
        """Become the one owner until `release` or our death; refuse while another process is."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StartError(self._busy()) from None
        self._lock = fd

    def _busy(self) -> str:
        state = self.read_state()
        if state is None:
            return (
                f"Another nyxcore is just starting or stopping with the data in {self.path}. "
                "Try again in a moment."
            )
        if state.kind == "up":
            return (
                f"nyxcore already runs with the data in {self.path}, at {state.address} "
                f"(process {state.owner[0]}). Stop it first, or choose another --data-dir."
            )
        return (
            f"A command (process {state.owner[0]}) uses the data in {self.path} at the moment. "
            "Wait for its end, or choose another --data-dir."
        )

    def release(self) -> None:
        for fd in (self._lock, self._sharing):
            if fd is not None:
                os.close(fd)
        self._lock = self._sharing = None

    def share(self) -> State | None:
        """Use the services of the living owner; None when there is none.

        A command that brought services for its own time waits for our end before it stops them; `up` goes
        when it is told to.
        """
        if self.read_state() is None:
            return None
        fd = os.open(self.path / "users", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        state = self.read_state()  # the owner may have gone while we waited for the lock
        if state is None or not state.ready:
            os.close(fd)
            return None
        self._sharing = fd
        return state

    def wait_for_users(self) -> None:
        """Return when no command shares our services; keep new ones out from then on."""
        self._sharing = os.open(self.path / "users", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._sharing, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("nyxcore: another command uses the same servers; waiting for its end\n")
            fcntl.flock(self._sharing, fcntl.LOCK_EX)

    # --- what it says ----------------------------------------------------------------------------

    def read_state(self) -> State | None:
        """The state of the living owner; None when there is none."""
        state = self.last_state()
        return state if state is not None and alive(state.owner) else None

    def last_state(self) -> State | None:
        """The state that was written last, whether its owner lives or not."""
        try:
            raw = json.loads((self.path / "services.json").read_text())
            state = State(**raw)
            state.owner = (int(state.owner[0]), str(state.owner[1]))
            state.processes = {name: (int(pid), str(since)) for name, (pid, since) in state.processes.items()}
        except (OSError, ValueError, TypeError, KeyError):
            return None  # absent, or cut by a crash: then the locks and postmaster.pid still tell the truth
        return state

    def write_state(self, state: State) -> None:
        self.write_private("services.json", json.dumps(asdict(state), indent=1))

    def clear_state(self) -> None:
        (self.path / "services.json").unlink(missing_ok=True)

    def write_private(self, name: str, text: str) -> None:
        """Replace a file of mode 0600 in one step: a reader sees the old or the new one, never a part."""
        draft = self.path / f".{name}.{os.getpid()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        draft.replace(self.path / name)

    def secret(self, name: str) -> str:
        """The secret kept under `name`, made at first use."""
        path = self.path / name
        if not path.exists() or not path.read_text().strip():
            self.write_private(name, secrets.token_urlsafe(48) + "\n")
        return path.read_text().strip()

    # --- where sockets live ----------------------------------------------------------------------

    def run_dir(self, owner: tuple[int, int] | None = None) -> Path:
        """A folder of mode 0700 for sockets: below the data, or a temporary one if that path does not fit."""
        path = self.path / "run"
        too_long = len(os.fsencode(path / ".s.PGSQL.5432")) > SOCKET_LIMIT
        if too_long or "," in str(path):  # a comma separates hosts in a database address
            path = Path(tempfile.mkdtemp(prefix="nyxcore-", dir=_short_tmp()))
        else:
            path.mkdir(mode=0o700, exist_ok=True)
            path.chmod(0o700)
        if owner is not None:
            os.chown(path, *owner)
        return path


def _short_tmp() -> str | None:
    """The usual folder for temporary files unless it is too long itself."""
    usual = tempfile.gettempdir()
    return "/tmp" if len(os.fsencode(usual)) > SOCKET_LIMIT - 40 else None
