"""`manage.py up`: the whole system under one supervisor, from an empty folder to a ready address."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from nyxcore import stamp
from nyxcore.console import Console
from nyxcore.datadir import DataDir, State, sentence
from nyxcore.embedded import clean_up, forget_run_dir
from nyxcore.postgres import Postgres
from nyxcore.processes import Program, StartError, mark
from nyxcore.supervisor import Child, Stop, Supervisor
from nyxcore.valkey import Valkey
from nyxcore.worker import worker_program

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
DESCRIPTION = "Start everything: database, event bus, web server and workers. Ctrl-C stops all of it."
STREAMS_END = 3  # s that open event streams get at a stop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=8000, help="port on 127.0.0.1 (default: 8000)")
    parser.add_argument("--workers", type=_count, default=1, help="worker processes (default: 1)")


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 64:
        raise argparse.ArgumentTypeError(f"a number from 1 to 64, not {text!r}")
    return int(text)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="manage.py up", description=DESCRIPTION)
    add_arguments(parser)
    # manage.py has taken --data-dir already; it stands here for the help text
    parser.add_argument("--data-dir", default="var", help="where all data live (default: var)")
    options = parser.parse_args(argv)
    return run(port=options.port, workers=options.workers)


def run(*, port: int, workers: int) -> int:
    """Run until a signal. 0 after an orderly end, 1 with one sentence when something cannot start."""
    data = DataDir(os.environ.get("NYXCORE_DATA_DIR") or ROOT / "var")
    system = System(data, port, workers)
    try:
        system.bring_up()
        system.supervisor.run()
    except Stop:
        pass
    except StartError as error:
        system.failure = str(error)
    except OSError as error:
        system.failure = sentence(error, data.path)
    finally:
        system.take_down()
    if system.failure:
        system.console.status("")
        sys.stderr.write(f"nyxcore: {system.failure}\n")
        return 1
    return 0


def listen(port: int) -> socket.socket:
    """The web server's socket.

    Held here, it says at once that a port is taken, and browsers that come while the web server starts again
    wait instead of being turned away.
    """
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((HOST, port))
        server.listen(512)
    except OSError as error:
        server.close()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"Port {port} is taken by another program. Choose another one with --port."
            ) from None
        if error.errno == errno.EACCES:
            raise StartError(
                f"This user may not use port {port}. Choose one above 1023 with --port."
            ) from None
        raise StartError(f"Port {port} cannot be used: {error.strerror}.") from None
    return server


def child_environment(data: DataDir, given: Mapping[str, str]) -> dict[str, str]:
    """What web, worker and setup get: the person's own environment, completed."""
    env = dict(given)
    env["NYXCORE_DATA_DIR"] = str(data.path)
    env["DJANGO_SETTINGS_MODULE"] = env.get("DJANGO_SETTINGS_MODULE") or "nyxcore.settings"
    env["SECRET_KEY"] = env.get("SECRET_KEY") or data.secret("secret_key")
    env["ALLOWED_HOSTS"] = env.get("ALLOWED_HOSTS") or "127.0.0.1,localhost"
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH", "")]))
    env["PYTHONUNBUFFERED"] = "1"
    return env


class HealthProbe:
    """Asks /healthz over one connection that waits in the socket's queue until the web server answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.link: socket.socket | None = None

    def __call__(self) -> bool:
        """True once it is answered. Never blocks.

        400 and 3xx count too: where ALLOWED_HOSTS or HTTPS is set for a proxy, we are not the caller they expect.
        """
        try:
            if self.link is None:
                self.link = socket.create_connection((HOST, self.port), 1)
                self.link.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
                self.link.setblocking(False)
            answer = self.link.recv(64)
        except BlockingIOError:
            return False
        except OSError:
            answer = b""
        if self.link is not None:
            self.link.close()
            self.link = None
        return answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 3", b"HTTP/1.1 400"))


class System:
    """All processes of one `up`."""

    def __init__(self, data: DataDir, port: int, workers: int) -> None:
        self.data, self.port, self.workers = data, port, workers
        self.address = f"http://{HOST}:{port}"
        self.console = Console(width=8 if workers > 1 else 6)
        self.supervisor = Supervisor(self.console, self._save)
        self.state: State | None = None  # set once the data directory is ours
        self.services: list[Child] = []
        self.failure = ""

    def bring_up(self) -> None:
        self.data.create()
        self.data.hold()
        clean_up(self.data)
        with listen(self.port) as server:
            self.state = State("up", mark(os.getpid()), address=self.address)
            env = child_environment(self.data, os.environ)
            postgres = self._start_services(env)
            self.state.database_url, self.state.redis_url = env["DATABASE_URL"], env["REDIS_URL"]
            new_user = False
            if postgres is None or not stamp.is_current(self.data, postgres.query):
                new_user = self._set_up(env)
            self.state.ready = True
            self._start_application(env, server)
        self._overview(env, new_user)

    def _start_services(self, env: dict[str, str]) -> Postgres | None:
        """Start what the environment does not name; its addresses are added to `env`."""
        postgres = None if env.get("DATABASE_URL") else Postgres(self.data)
        run_dir = postgres.run_dir if postgres else self.data.run_dir()
        if self.state is not None:
            self.state.run_dir = str(run_dir)
        if postgres is not None:
            env["DATABASE_URL"] = postgres.url
            self.services.append(self.supervisor.start(postgres.program(), quiet_start=True))
        if not env.get("REDIS_URL"):
            valkey = Valkey(run_dir)
            env["REDIS_URL"] = valkey.url
            self.services.append(self.supervisor.start(valkey.program(), quiet_start=True))
        self.supervisor.wait_up(self.services)
        return postgres

    def _set_up(self, env: dict[str, str]) -> bool:
        """Migrate and make the first user; True when a user with a random password was made."""
        kept = self.data.path / "admin_password"
        before = kept.stat().st_mtime_ns if kept.exists() else 0
        program = Program("setup", lambda: [sys.executable, str(ROOT / "manage.py"), "bootstrap"], env=env)
        self.supervisor.run_once(program)
        return kept.exists() and kept.stat().st_mtime_ns != before

    def _start_application(self, env: dict[str, str], server: socket.socket) -> None:
        """Web and workers side by side, until all of them are up."""
        children = [self.supervisor.start(self._web(env, server))]
        for number in range(1, self.workers + 1):
            name = "worker" if self.workers == 1 else f"worker-{number}"
            ready = Path(str(self.state and self.state.run_dir)) / f"{name}.ready"
            children.append(self.supervisor.start(worker_program(name, ready, env)))
        self.supervisor.wait_up(children)

    def _web(self, env: dict[str, str], server: socket.socket) -> Program:
        fd = os.dup(server.fileno())  # stays open as long as we live
        level = "info" if env.get("LOG_LEVEL", "").upper() == "DEBUG" else "warning"
        options = [
            "--app-dir",  # else it looks for modules in the current folder
            str(ROOT),
            "--fd",
            str(fd),
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--ws",
            "none",
            "--log-level",
            level,
        ]
        options += ["--timeout-graceful-shutdown", str(STREAMS_END)]
        return Program(
            name="web",
            argv=lambda: [sys.executable, "-P", "-m", "uvicorn", "nyxcore.asgi:application", *options],
            env=env,
            is_up=HealthProbe(self.port),
            stop_seconds=STREAMS_END + 5.0,
            keep_fds=[fd],
        )

    def _overview(self, env: Mapping[str, str], new_user: bool) -> None:
        say = self.console.say
        say()
        say(f"  address   {self.address}")
        say(f"  sign in   {sign_in(self.data, env, new_user)}")
        say(f"  model     {model(env)}")
        say(f"  data      {self.data.path}")
        say("  stop      Ctrl-C")
        say()
        say(f"nyxcore is ready at {self.address}")

    def _save(self) -> None:
        """Tell the state file which processes run; a full disk must not stop a system that works."""
        if self.state is None:
            return
        self.state.processes = {
            child.name: child.mark
            for child in self.supervisor.children
            if child.state in ("starting", "up", "stopping")
        }
        try:
            self.data.write_state(self.state)
        except OSError as error:
            self.console.line("up", sentence(error, self.data.path))

    def take_down(self) -> None:
        """Application first, then the servers that it needs; afterwards nothing is left but the data."""
        began = time.monotonic()
        everyone = self.supervisor.children
        application = [child for child in everyone if child not in self.services]
        if everyone and not self.failure:
            self.console.say("stopping; steps that run are handed over (again Ctrl-C: at once)")
        self.supervisor.stop(application, patient=False)
        self.supervisor.stop(self.services)
        if self.state is not None:
            forget_run_dir(self.data, self.state.run_dir)
            self.data.clear_state()
            self.console.status("")
            if not self.failure:
                self.console.say(f"nyxcore stopped after {time.monotonic() - began:.1f} s")
        self.data.release()
        self.supervisor.close()


def sign_in(data: DataDir, env: Mapping[str, str], new_user: bool) -> str:
    """User and password: the random one is shown once and then only where it is kept."""
    kept = data.path / "admin_password"
    if new_user:
        return f"admin, password {kept.read_text().strip()} (shown this once; kept in {kept})"
    if kept.exists():
        return f"admin, first password in {kept}"
    return "admin, password from NYXCORE_ADMIN_PASSWORD" if env.get("NYXCORE_ADMIN_PASSWORD") else "as before"


def model(env: Mapping[str, str]) -> str:
    """Which model answers, in words."""
    provider = env.get("NYXCORE_LLM") or ("anthropic" if env.get("ANTHROPIC_API_KEY") else "practice")
    if provider == "practice":
        return "practice: offline answers, no language model. Set ANTHROPIC_API_KEY for real ones"
    return f"{env.get('NYXCORE_DEFAULT_MODEL') or 'its default model'} by {provider}"
