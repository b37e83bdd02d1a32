"""Runs git where nothing may be trusted: neither the address, nor the server, nor what a repository holds.

No configuration of the machine, the user or the repository counts, no hook, filter or prompt runs, and only the
protocols that are named. Each call has its own process group, a time-out, a limit on output and on the disk, and
ends with the stop signal.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from analysis.errors import SourceError, heed
from nyxcore.llm.base import StopSignal

TICK = 0.1  # seconds between two looks at the clock, the disk and the stop signal
STDERR_KEPT = 8_000
OPTIONS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.symlinks": "true",
    "core.autocrlf": "false",
    "core.safecrlf": "false",
    "core.precomposeUnicode": "false",
    "core.quotePath": "false",
    "core.bigFileThreshold": "1m",  # larger blobs are streamed, not held in memory
    "core.compression": "1",
    "core.looseCompression": "0",
    "core.fsync": "none",
    "credential.helper": "",
    "fetch.fsckObjects": "false",  # old repositories fail it; names and sizes are checked where they are read
    "gc.auto": "0",
    "maintenance.auto": "false",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "200",
    "http.lowSpeedTime": "30",
    "init.defaultBranch": "main",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "protocol.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",
    "transfer.credentialsInUrl": "die",
}


@dataclass(frozen=True)
class Budget:
    """What one call of git may take."""

    seconds: float = 60.0
    output: int = 64 << 20  # bytes of standard output
    disk: int = 0  # bytes below the folder; 0: not watched


@dataclass
class Git:
    """git on one object store. `folder` is the temporary folder that everything lives in."""

    folder: Path
    stop: StopSignal | None = None
    env: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    protocols: Sequence[str] = ()

    @property
    def store(self) -> Path:
        return self.folder / "repo.git"

    def run(self, *arguments: str, budget: Budget = Budget(), stdin: bytes | IO[bytes] = b"") -> bytes:
        """Return what `git arguments` writes; raise GitFailed where it ends with an error."""
        with self.started(*arguments, stdin=stdin) as process:
            return _collect(process, budget, self._watch(budget))

    def _popen(self, argv: list[str], given: int | IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                argv,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment(),
                cwd=self.folder,  # also how the processes of a dead owner are found
                start_new_session=True,
            )
        except FileNotFoundError:
            raise SourceError(
                "git was not found on the machine of the worker. Install it there (the package git), then resume.",
                "no_git",
            ) from None

    @contextlib.contextmanager
    def started(self, *arguments: str, stdin: bytes | IO[bytes] | int = b"") -> Iterator[Running]:
        """A running git; its whole process group ends with the block."""
        self.check_stop()
        given = stdin if isinstance(stdin, int) else subprocess.PIPE
        popen = self._popen(self._argv(arguments), given)
        running = Running(popen, arguments[0] if arguments else "")
        feeder = None
        if not isinstance(stdin, int):
            feeder = threading.Thread(target=_feed, args=(popen, stdin), daemon=True)
            feeder.start()
        try:
            with self.stop.on_set(running.kill) if self.stop else contextlib.nullcontext():
                yield running
        except (OSError, ValueError):
            self.check_stop()  # a pipe that broke because we ended the process
            raise
        finally:
            running.kill()
            running.close()
            if feeder is not None:
                feeder.join(10)
        self.check_stop()

    def _argv(self, arguments: Sequence[str]) -> list[str]:
        chosen = OPTIONS | {f"protocol.{name}.allow": "always" for name in self.protocols} | self.options
        settings = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        return ["git", "--no-replace-objects", *settings, *arguments]

    def _environment(self) -> dict[str, str]:
        """Only what is named here: no proxy, no SSH agent, no GIT_ variable of ours reaches git."""
        fixed = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
            "LC_ALL": "C",
            "LANGUAGE": "C",
            "GIT_DIR": str(self.store),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOC_LIMIT": "512m",  # a small delta can claim to grow to any size
            "GIT_PROTOCOL_FROM_USER": "0",
        }
        return fixed | self.env

    def check_stop(self) -> None:
        """Raise Stopped where the signal is set."""
        heed(self.stop)

    def _watch(self, budget: Budget) -> Look:
        """Return what looks at stop signal, clock and disk, and raises when one of them says enough."""
        ends = time.monotonic() + budget.seconds
        seen = time.monotonic()

        def look(last: bool = False) -> None:
            nonlocal seen
            self.check_stop()
            if time.monotonic() > ends:
                raise SourceError(
                    f"Reading the source took longer than {budget.seconds:.0f} seconds and was ended. "
                    "Try again later, or choose a smaller repository.",
                    "timeout",
                    retryable=True,
                )
            if budget.disk and (last or time.monotonic() - seen > TICK):
                if disk_use(self.folder) > budget.disk:
                    raise too_large(budget.disk)
                seen = time.monotonic()

        return look


class Look(Protocol):
    """Looks whether a call of git must end; `last` is the look after its end."""

    def __call__(self, last: bool = False) -> None: ...


class GitFailed(Exception):
    """git ended with an error; `stderr` is its text, for us and not for people."""

    def __init__(self, command: str, code: int, stderr: str) -> None:
        super().__init__(f"git {command} ended with {code}: {stderr[-500:]}")
        self.code = code
        self.stderr = stderr


class Running:
    """One process of git and the group it leads."""

    def __init__(self, popen: subprocess.Popen[bytes], command: str) -> None:
        self.popen = popen
        self.command = command
        self.errors = bytearray()
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.stdout: IO[bytes] = popen.stdout
        self._drain = threading.Thread(target=self._read_errors, args=(popen.stderr,), daemon=True)
        self._drain.start()

    def _read_errors(self, stderr: IO[bytes]) -> None:
        while chunk := stderr.read(4096):
            self.errors += chunk
            del self.errors[:-STDERR_KEPT]

    def kill(self) -> None:
        """End the whole group, at once; nothing happens where it has ended and was waited for."""
        if self.popen.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait for the end that is near, since its output is over; raise GitFailed for an error."""
        code = self.popen.wait(30)
        self._drain.join(10)
        if code:
            raise GitFailed(self.command, code, self.errors.decode("utf-8", "replace"))

    def close(self) -> None:
        self.popen.wait(30)
        self._drain.join(10)
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError, ValueError):
                    pipe.close()


def too_large(limit: int) -> SourceError:
    return SourceError(
        f"The source is larger than {limit >> 20} MB, which is the limit. "
        "Choose a smaller repository, or upload the part that matters.",
        "too_large",
    )


def disk_use(folder: Path) -> int:
    """Bytes of all files below a folder that changes while we look."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_size
    return total


def _feed(popen: subprocess.Popen[bytes], data: bytes | IO[bytes]) -> None:
    """Write standard input from a thread, so that a full pipe on the other side cannot lock us up."""
    assert popen.stdin is not None
    with contextlib.suppress(OSError, ValueError), popen.stdin as pipe:
        if isinstance(data, bytes):
            pipe.write(data)
            return
        while chunk := data.read(1 << 16):
            pipe.write(chunk)


def _collect(running: Running, budget: Budget, look: Look) -> bytes:
    """Read standard output to its end, looking at the limits every tick."""
    output = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(running.stdout, selectors.EVENT_READ)
        while True:
            look()
            if not selector.select(TICK):
                continue
            chunk = os.read(running.stdout.fileno(), 1 << 16)
            if not chunk:
                break
            output += chunk
            if len(output) > budget.output:
                raise SourceError(
                    f"git answered with more than {budget.output >> 20} MB where a list was expected. "
                    "Choose a smaller repository or a folder of it.",
                    "too_large",
                )
    look(last=True)  # what came between two ticks counts too
    running.wait()
    return bytes(output)


def mapping(lines: bytes) -> Mapping[str, int]:
    """Count how often each name stands in a list separated by NUL."""
    counts: dict[str, int] = {}
    for name in lines.split(b"\0"):
        if name := name.strip(b"\n"):
            path = name.decode("utf-8", "surrogateescape")
            counts[path] = counts.get(path, 0) + 1
    return counts
