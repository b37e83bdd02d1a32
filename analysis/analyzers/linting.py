"""ruff as a program beside us: on copies in a temporary folder, without any configuration of the repository."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

SELECT = "E9,F,B,BLE,S,ASYNC,PLE"
# Unused imports and asserts are no faults; secrets (S105 to S107) are looked for elsewhere and must not be quoted; the
# others need settings of the project to be judged.
IGNORE = "F401,S101,S105,S106,S107,S404,S603,S607,S311,B008,B011,B010,B009"
SYNTAX = "invalid-syntax"
TIMEOUT = 120  # seconds


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
    """What ruff says of Python files, by path. Names in the folder are ours, so theirs can do nothing."""
    program = find_ruff() if program is None else program
    if not program:
        return LintResult(notes=("ruff is not installed, so Python files were not linted.",))
    with tempfile.TemporaryDirectory(prefix="nyxcore-lint-") as folder:
        names = {}
        for number, (path, text) in enumerate(texts.items()):
            names[f"f{number}.py"] = path
            # newline="": line ends stay as they are, or the line numbers would move
            with open(
                Path(folder, f"f{number}.py"), "w", encoding="utf-8", errors="replace", newline=""
            ) as file:
                file.write(text)
        try:
            done = subprocess.run(
                [
                    program,
                    "check",
                    "--isolated",
                    "--no-cache",
                    "--no-fix",
                    "--no-respect-gitignore",
                    "--exit-zero",
                    "--quiet",
                    "--output-format=json",
                    f"--select={SELECT}",
                    f"--ignore={IGNORE}",
                    "--",
                    ".",
                ],
                cwd=folder,
                env={"PATH": os.defpath, "HOME": folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            log.warning("ruff failed: %s", type(error).__name__)
            return LintResult(
                notes=(f"ruff gave no answer ({type(error).__name__}), so nothing was linted.",)
            )
    if done.returncode:
        return LintResult(notes=(f"ruff ended with code {done.returncode}, so nothing was linted.",))
    hits = [_hit(one, names) for one in json.loads(done.stdout or b"[]")]
    return LintResult(tuple(_first_syntax_errors(hits)))


def _first_syntax_errors(hits: Iterable[LintHit]) -> Iterator[LintHit]:
    """All hits, but of a file that cannot be parsed only the first error: the others follow from it."""
    broken = set[str]()
    for hit in hits:
        if hit.code == SYNTAX:
            if hit.path in broken:
                continue
            broken.add(hit.path)
        yield hit


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
