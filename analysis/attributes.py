"""`.gitattributes`, read by ourselves: Debian's git cannot read them from a tree. Three meanings count here."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from analysis.errors import heed
from analysis.languages import decode
from analysis.patterns import Glob
from analysis.plain import Entry
from nyxcore.llm.base import StopSignal

if TYPE_CHECKING:
    from analysis.source import Source

FILE = ".gitattributes"
FILES_READ = 200
FILE_LIMIT = 100_000  # bytes
ROWS_READ = 20_000  # of all files
LINES_KEPT = 500  # of all files: those that say something that counts
LINE_LIMIT = 500  # characters; a longer line does not count
MOST_WORK = 20_000_000  # parts of paths compared with parts of patterns: seconds at the worst
MEANINGS = {"linguist-generated": "generated", "linguist-vendored": "vendored", "binary": "binary"}


@dataclass(frozen=True)
class Line:
    """One line of one file: what it matches below its folder, and what it says yes or no to."""

    folder: str
    glob: Glob
    says: dict[str, bool]


class Attributes:
    """What all files of attributes in a tree say, the deeper ones and the later lines winning."""

    def __init__(self, lines: Iterable[Line], notes: Sequence[str] = ()) -> None:
        self.notes = tuple(notes)  # sentences on what is left out
        self.lines: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            self.lines[line.folder].append(line)
        self._deepest = max((folder.count("/") for folder in self.lines), default=-1)

    def reason(self, path: str) -> tuple[str, str] | None:
        """Return why `path` is skipped and which line says so."""
        verdict: dict[str, Line | None] = {}
        parts = path.split("/")
        for depth, folder in enumerate(_above(parts, self._deepest)):
            for line in self.lines.get(folder, ()):
                if line.glob.matches(parts[depth:]):
                    verdict.update({reason: line if yes else None for reason, yes in line.says.items()})
        for reason in MEANINGS.values():
            if (said := verdict.get(reason)) is not None:
                return reason, f"{said.folder}{FILE}: {said.glob.text}"
        return None


def _above(parts: Sequence[str], deepest: int) -> Iterator[str]:
    """The folders above a path, from the top, as they stand in front of it."""
    folder = ""
    for part in parts[: deepest + 1]:
        yield folder
        folder = f"{folder}{part}/"


def read(source: Source, stop: StopSignal | None = None) -> Attributes:
    """Return the attributes of a source, those above its sub-path included."""
    files = [
        entry
        for entry in source.all_entries()
        if entry.path.rpartition("/")[2] == FILE and entry.mode.startswith("100")
    ]
    small = [entry for entry in files if entry.size <= FILE_LIMIT]
    chosen = sorted(small, key=lambda entry: (entry.path.count("/"), entry.path))[:FILES_READ]
    notes = [_left_out(len(files) - len(chosen), "file", "is too large or one of too many")]
    lines, unread = _lines(source, chosen, stop)
    kept = _bearable(lines[:LINES_KEPT], source.entries())
    notes.append(_left_out(unread + len(lines) - len(kept), "line", "is one of too many"))
    return Attributes(kept, [note for note in notes if note])


def _left_out(number: int, noun: str, why: str) -> str:
    if not number:
        return ""
    return (
        f"Not all {FILE} files are heeded: {number:,} {noun}{'s' * (number > 1)} left out, since each {why}."
    )


def _lines(source: Source, chosen: Sequence[Entry], stop: StopSignal | None) -> tuple[list[Line], int]:
    """(the lines that count, how many rows are not looked at)."""
    texts = dict(source.read(dict.fromkeys(entry.blob for entry in chosen)))
    lines: list[Line] = []
    rows, unread = 0, 0
    for entry in chosen:
        heed(stop)
        text, _ = decode(texts.get(entry.blob, b""))
        found = text.split("\n")
        wanted = found[: ROWS_READ - rows]
        rows, unread = rows + len(wanted), unread + len(found) - len(wanted)
        folder = entry.path.removesuffix(FILE)
        lines += filter(None, (parse_line(folder, row.strip()) for row in wanted))
    return lines, unread


def _bearable(lines: Sequence[Line], entries: Sequence[Entry]) -> list[Line]:
    """The first lines, as long as matching them all stays below MOST_WORK."""
    below: dict[str, list[int]] = {line.folder: [0, 0] for line in lines}
    deepest = max((folder.count("/") for folder in below), default=-1)
    for entry in entries:
        parts = entry.path.split("/")
        for depth, folder in enumerate(_above(parts, deepest)):
            if folder in below:
                below[folder][0] += 1
                below[folder][1] += len(parts) - depth
    work = accumulate(line.glob.work(*below[line.folder]) for line in lines)
    return [line for line, so_far in zip(lines, work, strict=True) if so_far <= MOST_WORK]


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
