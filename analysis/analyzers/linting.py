"""ruff as a program beside us: on copies in a temporary folder, without any configuration of the repository."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SELECT = "E9,F,B,BLE,S,ASYNC,PLE"
# Unused imports and asserts are no faults; secrets (S105 to S107) are looked for elsewhere and must not be quoted; the
# others need settings of the project to be judged.
IGNORE = "F401,S101,S105,S106,S107,S404,S603,S607,S311,B008,B011,B010,B009"
SYNTAX = "invalid-syntax"
TIMEOUT = 120  # seconds
PART = 250_000  # characters of source for one call
MOST_OF_FILE = 100  # hits
OPTIONS = (
    "check",
    "--isolated",
    "--no-cache",
    "--no-fix",
    "--no-respect-gitignore",
    "--exit-zero",
    "--quiet",
    "--output-format=json-lines",
    f"--select={SELECT}",
    f"--ignore={IGNORE}",
)


@dataclass(frozen=True)
class LintHit:
    path: str
    code: str
    message: str
    line: int
    end_line: int


@dataclass(frozen=True)
class LintResult:
    hits: tuple[LintHit, ...] = ()
    notes: tuple[str, ...] = ()


def find_ruff() -> str:
    """The program beside our interpreter, else on the PATH; "" where there is none."""
    beside = Path(sys.executable).with_name("ruff")
    return str(beside) if beside.exists() else shutil.which("ruff") or ""


def run_ruff(texts: Mapping[str, str], program: str | None = None) -> LintResult:
    """What ruff says of Python files, by path. Names in the folder are ours, so theirs can do nothing.

    A few files at a time, and so many hits of each: two characters are enough to make it say a kilobyte.
    """
    program = find_ruff() if program is None else program
    if not program:
        return LintResult(notes=("ruff is not installed, so Python files were not linted.",))
    kept = _Kept()
    ends = time.monotonic() + TIMEOUT
    for part in _parts(texts):
        try:
            code = _run(program, part, ends - time.monotonic(), kept)
        except (subprocess.TimeoutExpired, OSError) as error:
            log.warning("ruff failed: %s", type(error).__name__)
            why = f"gave no answer ({type(error).__name__})"
            return kept.result(_unlinted(why, len(texts) - kept.files))
        if code:
            return kept.result(_unlinted(f"ended with code {code}", len(texts) - kept.files))
        kept.files += len(part)
    return kept.result()


def _unlinted(why: str, files: int) -> str:
    return f"ruff {why}, so {files:,} Python file{'s were' if files != 1 else ' was'} not linted."


def _parts(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The files, as many together as ruff can speak of within a bearable memory."""
    part: dict[str, str] = {}
    size = 0
    for path, text in texts.items():
        if part and size + len(text) > PART:
            yield part
            part, size = {}, 0
        part[path] = text
        size += len(text)
    if part:
        yield part


class _Kept:
    """The hits that stay, and how many do not."""

    def __init__(self) -> None:
        self.hits: list[LintHit] = []
        self.files = 0
        self.counts: Counter[str] = Counter()
        self.broken: set[str] = set()

    def add(self, hit: LintHit) -> None:
        """Keep it; of a file that cannot be parsed only the first error, as the others follow from it."""
        if hit.code == SYNTAX:
            if hit.path in self.broken:
                return
            self.broken.add(hit.path)
        self.counts[hit.path] += 1
        if self.counts[hit.path] <= MOST_OF_FILE:
            self.hits.append(hit)

    def result(self, *notes: str) -> LintResult:
        left = sum(max(count - MOST_OF_FILE, 0) for count in self.counts.values())
        if left:
            told = f"ruff had {left:,} more to say of files of which it says more than {MOST_OF_FILE} things."
            notes = (*notes, f"{told} They are left out.")
        return LintResult(tuple(self.hits), notes)


def _run(program: str, texts: Mapping[str, str], seconds: float, kept: _Kept) -> int:
    """Hand files to ruff and keep what it says of them; its exit code."""
    with tempfile.TemporaryDirectory(prefix="nyxcore-lint-") as folder, tempfile.TemporaryFile() as said:
        names = {}
        for number, (path, text) in enumerate(texts.items()):
            names[f"f{number}.py"] = path
            # newline="": line ends stay as they are, or the line numbers would move
            with open(
                Path(folder, f"f{number}.py"), "w", encoding="utf-8", errors="replace", newline=""
            ) as file:
                file.write(text)
        done = subprocess.run(
            [program, *OPTIONS, "--", "."],
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.DEVNULL,
            timeout=max(seconds, 0.1),
            check=False,
        )
        said.seek(0)
        if not done.returncode:
            for line in said:
                kept.add(_hit(json.loads(line), names))
        return done.returncode


def _hit(one: Mapping[str, object], names: Mapping[str, str]) -> LintHit:
    start, end = one["location"], one["end_location"]
    assert isinstance(start, dict)
    assert isinstance(end, dict)
    return LintHit(
        path=names[Path(str(one["filename"])).name],
        code=str(one["code"] or SYNTAX),
        message=str(one["message"]),
        line=int(start["row"]),
        end_line=max(int(end["row"]), int(start["row"])),
    )
