"""`.gitattributes`, read by ourselves: Debian's git cannot read them from a tree. Three meanings count here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.languages import decode
from analysis.patterns import Glob

if TYPE_CHECKING:
    from analysis.source import Source

FILE = ".gitattributes"
FILES_READ = 200
LINES_KEPT = 500  # of all files
LINE_LIMIT = 500  # characters; a longer line does not count
MEANINGS = {"linguist-generated": "generated", "linguist-vendored": "vendored", "binary": "binary"}


@dataclass(frozen=True)
class Line:
    """One line of one file: what it matches below its folder, and what it says yes or no to."""

    folder: str
    glob: Glob
    says: dict[str, bool]


class Attributes:
    """What all files of attributes in a tree say, the deeper ones and the later lines winning."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def reason(self, path: str) -> tuple[str, str] | None:
        """Return why `path` is skipped and which line says so."""
        verdict: dict[str, Line | None] = {}
        for line in self.lines:
            if path.startswith(line.folder) and line.glob.matches(path[len(line.folder) :].split("/")):
                verdict.update({reason: line if yes else None for reason, yes in line.says.items()})
        for reason in MEANINGS.values():
            if (said := verdict.get(reason)) is not None:
                return reason, f"{said.folder}{FILE}: {said.glob.text}"
        return None


def read(source: Source) -> Attributes:
    """Return the attributes of a source, those above its sub-path included."""
    files = [
        entry
        for entry in source.all_entries()
        if entry.path.rpartition("/")[2] == FILE and entry.mode.startswith("100")
    ]
    chosen = sorted(files, key=lambda entry: (entry.path.count("/"), entry.path))[:FILES_READ]
    texts = dict(source.read(dict.fromkeys(entry.blob for entry in chosen)))
    lines: list[Line] = []
    for entry in chosen:
        text, _ = decode(texts.get(entry.blob, b""))
        rows = (parse_line(entry.path.removesuffix(FILE), row.strip()) for row in text.split("\n"))
        lines += [line for line in rows if line is not None]
    return Attributes(lines[:LINES_KEPT])


def parse_line(folder: str, row: str) -> Line | None:
    """Return what one line says, or None where it says nothing that counts here."""
    if not row or len(row) > LINE_LIMIT or row.startswith(("#", "[attr]", "!")):
        return None
    try:
        pattern, *words = shlex.split(row) if row.startswith('"') else row.split()
    except ValueError:
        return None
    says = dict(filter(None, map(_meaning, words)))
    return Line(folder, Glob(pattern, inside=False), says) if says else None


def _meaning(word: str) -> tuple[str, bool] | None:
    """`name` and `name=true` say yes; `-name`, `!name` and `name=false` say no. `-diff` is half of `binary`."""
    if word == "-diff":
        return "binary", True
    found = re.fullmatch(r"([-!]?)([\w.-]+)(?:=(.*))?", word)
    if found is None or found[2] not in MEANINGS:
        return None
    return MEANINGS[found[2]], not found[1] and (found[3] or "true").lower() not in ("false", "0")
