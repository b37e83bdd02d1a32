"""Parses files in a process of its own, since what a grammar does with hostile text is not in our hands.

A file that takes too long, too much memory, or ends the process costs only its own symbols: the kernel ends the
process, the file counts as one without a grammar, and a new process goes on with the next.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import IO, Any

from analysis.errors import heed
from analysis.plain import Symbol
from analysis.symbols import NOTHING, Parsed, parse
from nyxcore.llm.base import StopSignal

log = logging.getLogger(__name__)

CPU_SECONDS = 4.0  # for one file; usual ones take milliseconds
MEMORY = 1 << 30  # address space of the process
LOSSES = 10  # processes that may be lost before the rest of a source does without
AHEAD = 4 << 20  # bytes that may wait for the process
ROOT = str(Path(__file__).parents[1])


class Parsers:
    """Files go in with `add`, what they hold comes out of `done`, in the same order. Use it as a context."""

    def __init__(self, stop: StopSignal | None = None) -> None:
        self.stop = stop
        self._waiting: deque[tuple[str, bytes, str]] = deque()
        self._lost = 0
        self._size = 0
        self._child: Child | None = None

    def __enter__(self) -> Parsers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def add(self, path: str, text: str, language: str) -> Iterator[tuple[str, Parsed]]:
        """Hand over a file; yield those that are parsed, so that only so much waits."""
        item = (path, text.encode("utf-8", "replace"), language)
        self._waiting.append(item)
        self._size += len(item[1])
        self._send([item])
        while self._size > AHEAD:
            yield self._next()

    def done(self) -> Iterator[tuple[str, Parsed]]:
        """Yield what was handed over and has not come back yet."""
        while self._waiting:
            yield self._next()

    def _next(self) -> tuple[str, Parsed]:
        parsed = self._child.answer(self.stop) if self._child is not None else None
        heed(self.stop)
        path, data, language = self._waiting.popleft()
        self._size -= len(data)
        if parsed is None and self._child is not None:
            self._replace(language, len(data))
        return path, parsed or NOTHING

    def _replace(self, language: str, size: int) -> None:
        """Go on in a new process after one ended; not for ever, since each may have cost seconds."""
        assert self._child is not None
        self._lost += 1
        log.info("A file in %s of %d bytes could not be parsed", language, size)
        self._child.close()
        self._child = None
        self._send(list(self._waiting))
        if self._lost == LOSSES:
            log.warning("The parser ended %d times. Files from here on are cut by lines.", self._lost)

    def _send(self, items: list[tuple[str, bytes, str]]) -> None:
        if self._lost >= LOSSES:
            return
        if self._child is None:
            self._child = Child()
        for _, data, language in items:
            self._child.ask(data, language)


class Child:
    """One process that parses; a thread of ours writes to it, so that neither side can lock the other up."""

    def __init__(self) -> None:
        environment = {"PYTHONPATH": ROOT, "PATH": os.environ.get("PATH", os.defpath)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "analysis.parsing"],  # -P: no module of the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: IO[bytes] = self._process.stdin
        self._out: IO[bytes] = self._process.stdout
        self._asked: deque[bytes] = deque()
        self._more = threading.Semaphore(0)
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def ask(self, data: bytes, language: str) -> None:
        self._asked.append(json.dumps([language, len(data)]).encode() + b"\n" + data)
        self._more.release()

    def answer(self, stop: StopSignal | None) -> Parsed | None:
        """Return the next answer; None where the process has ended instead."""
        with stop.on_set(self._process.kill) if stop else contextlib.nullcontext():
            line = self._out.readline()
        return _parsed(json.loads(line)) if line.endswith(b"\n") else None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._asked.append(b"")
        self._more.release()
        self._writer.join(10)
        for pipe in (self._in, self._out):
            with contextlib.suppress(OSError):
                pipe.close()

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # it ended; `answer` sees that
            while True:
                self._more.acquire()
                if not (message := self._asked.popleft()):
                    return
                self._in.write(message)
                self._in.flush()


def _parsed(said: list[Any]) -> Parsed:
    symbols, imports, references, grammar = said
    return Parsed(
        tuple(Symbol(sys.intern(name), sys.intern(kind), *rest) for name, kind, *rest in symbols),
        tuple(imports),
        {sys.intern(name): count for name, count in references.items()},
        grammar,
    )


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer each file that comes in, until the other side closes."""
    with contextlib.suppress(ValueError, OSError):  # not every system takes it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while line := source.readline():
        language, size = json.loads(line)
        data = source.read(size)
        # Counts the time of the processor, not the clock's; at its end the kernel ends us, whatever we do.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        found = parse(data.decode("utf-8", "replace"), language)
        signal.setitimer(signal.ITIMER_PROF, 0)
        symbols = [astuple(symbol) for symbol in found.symbols]
        answer = [symbols, found.imports, dict(found.references), found.grammar]
        sink.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        sink.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
