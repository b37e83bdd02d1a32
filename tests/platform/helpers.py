"""What the tests of the platform share. No Django here: most of these tests look at plain processes."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return when `condition` holds; fail the test when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(0.02)


def processes_of(folder: Path) -> list[int]:
    """Pids whose command line, working folder or environment names `folder`, ourselves left out."""
    found = []
    needle = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            text += os.readlink(entry / "cwd").encode()
        except OSError:
            continue  # gone meanwhile, or a kernel thread
        if needle in text:
            found.append(int(entry.name))
    return found


def python(code: str, *args: str, **env: str) -> subprocess.Popen[str]:
    """A Python process that can import nyxcore, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=ROOT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate(timeout=30)


class Command:
    """A `manage.py` command as a person runs it; its output goes to a file."""

    _all: ClassVar[list["Command"]] = []

    def __init__(self, folder: Path, *args: str, **env: str) -> None:
        self._all.append(self)
        self.out = folder / f"out-{time.monotonic_ns()}.txt"
        with self.out.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), *args],
                env=plain_environment() | env,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def keep(self) -> None:
        """A fixture ends this one."""
        self._all.remove(self)

    @classmethod
    def running(cls) -> list["Command"]:
        return [command for command in cls._all if command.process.poll() is None]

    def text(self) -> str:
        return self.out.read_text(errors="replace")

    def says(self, words: str, seconds: float = 60.0) -> None:
        """Wait for these words; fail with the whole output when the command ends without them."""
        until(lambda: words in self.text() or self.process.poll() is not None, seconds)
        assert words in self.text(), self.text()

    def ends(self, seconds: float = 60.0) -> int:
        return self.process.wait(seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ends()


# What the tests' own environment must not tell a command that is tried as a person would (and every NYXCORE_*).
FOREIGN = {"DATABASE_URL", "REDIS_URL", "SECRET_KEY", "ALLOWED_HOSTS", "DEBUG", "DJANGO_SETTINGS_MODULE"}
FOREIGN |= {"ANTHROPIC_API_KEY", "OPENAI_API_KEY", "COLUMNS", "LOG_LEVEL"}


def plain_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name not in FOREIGN and not name.startswith("NYXCORE_")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> int:
    """HTTP status of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
