"""A whole nyxcore that may be broken: servers, web and workers as processes, with a proxy on every connection."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import psutil
import psycopg

from nyxcore.datadir import DataDir
from nyxcore.postgres import NAME, Postgres
from nyxcore.processes import Program
from tests.faults.model import LabModel
from tests.faults.proxy import Proxy, Wires
from tests.processes.servers import Bus, Child, WorkerProcess, eventually

ROOT = Path(__file__).resolve().parents[2]
LEASE, SWEEP_EVERY, GRACE = 2.0, 0.4, 2.0  # s
WEB = "nyxcore.asgi:application"
PATIENCE = 60.0  # s for what takes a fraction of one on a machine that is not busy
WORKERS = ("worker-1", "worker-2")
KEY = "sk-ant-laboratory-0123456789abcdef"
SIZE = 900  # MB of the small disk
TIMES = {
    "NYXCORE_LEASE": f"{LEASE:g}",
    "NYXCORE_SWEEP_EVERY": f"{SWEEP_EVERY:g}",
    "NYXCORE_GRACE": f"{GRACE:g}",
    "NYXCORE_STUCK_AFTER": "600",
    "NYXCORE_WORKER_NICE": "0",  # such short leases need their share
    "NYXCORE_PROVIDER_PARALLEL": "64",
    "NYXCORE_WORKER_THREADS": "64",
    "NYXCORE_DB_POOL": "10",
    "NYXCORE_DEFAULT_MODEL": "claude-sonnet-4-5",
    "NYXCORE_ANALYSIS_CHUNK": "700",
}


def mount_small_disk(folder: Path) -> str:
    """Put a file system of SIZE MB on `folder`, seen by this process alone; "" or why that cannot be."""
    if os.environ.get("NYXCORE_LAB_NAMESPACE") != "1":
        return "no file system can be mounted here: that needs root and a mount namespace of one's own"
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=0700", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"no file system can be mounted here: {done.stderr.strip()}"


class Database(Child):
    """A PostgreSQL of the laboratory's own, as the product runs it: it keeps what was committed."""

    def __init__(self, folder: Path) -> None:
        self.data = DataDir(folder / "data")
        self.data.create()
        self.data.hold()
        self.server = Postgres(self.data)
        self.url = self.server.url
        self.socket = self.server.run_dir / ".s.PGSQL.5432"
        self.admin_url = f"postgresql://postgres@{quote(str(self.server.run_dir), safe='')}/{NAME}"
        # The journal must not fill the small disk by itself.
        argv = self.server.program().argv
        program = replace(self.server.program(), argv=lambda: [*argv(), "-c", "max_wal_size=128MB"])
        super().__init__(program, folder / "postgres.log")

    def start(self) -> None:
        super().start()
        self.await_up(60)

    def stop(self, how: signal.Signals) -> None:
        """SIGINT: fast, SIGQUIT: at once."""
        self.end_with(how)

    def end_with(self, how: signal.Signals) -> None:
        self.send(how)
        self.child.wait(30)

    def kill(self) -> None:
        """The server and all its sessions, in the same moment."""
        every = psutil.Process(self.pid).children(recursive=True)
        super().kill()
        for process in every:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every, 10)

    def admin(self, query: str, *values: Any) -> list[Any]:
        with psycopg.connect(self.admin_url, autocommit=True, application_name="laboratory") as conn:
            cursor = conn.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def cut(self, program: str = "") -> int:
        """End the sessions of one program, or of all but the laboratory's; how many there were."""
        mine = "application_name <> 'laboratory'" if not program else "application_name = %s"
        (row,) = self.admin(
            f"""SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND {mine}""",
            *([program] if program else []),
        )
        return int(row[0])

    def end_session(self, pid: int) -> None:
        self.admin("SELECT pg_terminate_backend(%s)", pid)

    def allow_connections(self, allowed: bool) -> None:
        """False: it has no connection to spare for nyxcore, and those there were end."""
        self.admin(f"ALTER ROLE {NAME} CONNECTION LIMIT {-1 if allowed else 0}")
        if not allowed:
            self.cut()


class System:
    """Everything that `up` starts, and the model server; each process reaches the servers by proxies of its own."""

    current: ClassVar[System]

    def __init__(self, folder: Path, no_disk: str) -> None:
        System.current = self
        self.folder, self.no_disk = folder, no_disk
        self.sources = folder / "sources"
        for made in (folder / "l", self.sources):
            made.mkdir()
        self.wires = Wires()
        self.database = Database(folder)
        self.bus = Bus(folder)
        self.model = LabModel()
        serve = {"target": self.model.serve_forever, "kwargs": {"poll_interval": 0.05}, "daemon": True}
        threading.Thread(**serve).start()
        self.to_model = Proxy(self.wires, ("127.0.0.1", self.model.server_port))
        self.to_database: dict[str, Proxy] = {}
        self.to_bus: dict[str, Proxy] = {}
        self.workers: dict[str, WorkerProcess] = {}
        self.special: set[str] = set()  # processes that are not as `up` starts them
        self.web: Child | None = None
        self.command: Child | None = None  # a `manage.py` command under way
        self.ports = (self._free_port(),)
        self._filler = folder / "data" / "filler"

    # --- processes --------------------------------------------------------------------------------

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What `up` gives its children, with short times and a name by which the database knows them."""
        if name not in self.to_database:
            link = self.folder / "l" / name
            link.mkdir()
            self.to_database[name] = Proxy(self.wires, self.database.socket, link / ".s.PGSQL.5432")
            self.to_bus[name] = Proxy(self.wires, ("127.0.0.1", self.bus.server.port))
        link, bus = self.folder / "l" / name, self.to_bus[name]
        own = {
            "DJANGO_SETTINGS_MODULE": "nyxcore.settings",
            "DATABASE_URL": f"postgresql://{NAME}@{quote(str(link), safe='')}/{NAME}",
            "REDIS_URL": f"redis://:{self.bus.server.password}@127.0.0.1:{bus.port}/0",
            "SECRET_KEY": "for-the-laboratory-only",
            "ALLOWED_HOSTS": "127.0.0.1",
            "PGAPPNAME": name,
            "NYXCORE_LLM": "anthropic",
            "ANTHROPIC_API_KEY": KEY,
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.to_model.port}",
            "PYTHONPATH": str(ROOT),
            "NYXCORE_ANALYSIS_ROOT": str(self.sources),
        }
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return inherited | TIMES | own | more

    def start_worker(self, name: str, module: str = "nyxcore.worker", **more: str) -> WorkerProcess:
        self.workers[name] = WorkerProcess(self.folder, name, self.environment(name, **more), module)
        special = module != "nyxcore.worker" or bool(more)
        (self.special.add if special else self.special.discard)(name)
        return self.workers[name]

    def start_web(self, application: str = WEB, **more: str) -> Child:
        options = ["--port", str(self.ports[0]), "--loop", "uvloop", "--http", "httptools", "--ws", "none"]
        options += ["--log-level", "warning", "--timeout-graceful-shutdown", "1"]
        argv = [sys.executable, "-m", "uvicorn", application, *options]
        special = application != WEB or bool(more)
        (self.special.add if special else self.special.discard)("web")
        environment = self.environment("web", **more)
        program = Program("web", lambda: argv, environment, is_up=self._web_answers, stop_seconds=6)
        self.web = Child(program, self.folder / "web.log")
        return self.web

    def process(self, name: str) -> Child:
        """web, command, worker-1, ..."""
        found = {"web": self.web, "command": self.command}.get(name) or self.workers.get(name)
        assert found is not None, f"there is no {name}"
        return found

    def processes(self) -> Iterator[Child]:
        yield from ([self.web] if self.web else [])
        yield from self.workers.values()

    def holder(self, worker: str) -> Child:
        """The process that holds an attempt whose worker has this name."""
        pid = int(worker.split(":")[1])
        (found,) = [child for child in self.workers.values() if child.pid == pid]
        return found

    # --- as it should be --------------------------------------------------------------------------

    def restore(self) -> None:
        """All servers, web and two workers are up and reach each other; nothing is held."""
        self.empty_disk()
        if not self.database.alive:
            self.database.start()
        if not self.bus.alive:
            self.bus.start()
        self.bus.thaw()
        self.database.allow_connections(True)
        for proxy in (self.to_model, *self.to_database.values(), *self.to_bus.values()):
            proxy.heal()
        self.model.let_go()
        if self.command is not None and self.command.alive:
            self.command.kill()
        for name in [name for name in self.workers if name not in WORKERS or name in self.special]:
            self.dismiss(name)
        if self.web is not None and "web" in self.special and self.web.alive:
            self.web.kill()
        if self.web is None or not self.web.alive:
            self.start_web()
        for name in WORKERS:
            if name not in self.workers or not self.workers[name].alive:
                self.start_worker(name)
        for child in self.processes():
            child.thaw()
        for child in self.processes():
            child.await_up()

    def dismiss(self, name: str) -> None:
        child = self.workers.pop(name)
        if child.alive:
            child.kill()

    def power_off(self) -> None:
        """Every process at once."""
        for child in (*self.processes(), self.bus):
            if child.alive:
                child.send(signal.SIGKILL)
        self.database.kill()
        for child in (*self.processes(), self.bus):
            child.child.wait(10)

    def power_on(self) -> None:
        self.database.start()
        self.bus.start()
        self.start_web()
        for name in WORKERS:
            self.start_worker(name)

    def fill_disk(self) -> None:
        """Leave no byte on the disk of the database."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):  # somebody writes meanwhile: the rest goes page by page
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(self._filler.parent).free - 1_000_000)
            file.seek(0, os.SEEK_END)
            while True:
                file.write(bytes(4096))

    def empty_disk(self) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        self.empty_disk()
        for child in self.processes():
            if child.alive:
                child.kill()
        if self.bus.alive:
            self.bus.kill()
        if self.database.alive:
            self.database.end_with(signal.SIGQUIT)
        self.model.let_go()
        self.model.shutdown()
        self.model.server_close()
        self.wires.close()
        self.database.data.release()

    def _web_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[0]}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @staticmethod
    def _free_port() -> int:
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])


def booted(folder: Path) -> System:
    """A system whose servers run; the application is started by `restore`, after the database was set up."""
    (folder / "data").mkdir(mode=0o700)
    system = System(folder, mount_small_disk(folder / "data"))
    eventually(lambda: system.database.alive, 10)
    return system
