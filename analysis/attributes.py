"""`.gitattributes`, read by ourselves: Debian's git cannot read them from a tree. Only three attributes count."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pathspec import GitIgnoreSpec

from analysis.languages import decode

if TYPE_CHECKING:
    from analysis.source import Source

FILE = ".gitattributes"
FILES_READ = 500
LINES_READ = 1_000  # of one file
# Attribute: (the reason, what says yes, what says no).
MEANINGS = {
    "linguist-generated": "generated",
    "linguist-vendored": "vendored",
    "binary": "binary",
    "diff": "binary",
}


@dataclass(frozen=True)
class Line:
    """One line of one file: what it matches below its folder, and what it says of the reasons."""

    folder: str
    pattern: str
    spec: GitIgnoreSpec
    says: dict[str, bool]


class Attributes:
    """What all files of attributes in a tree say, the deeper ones and the later lines winning."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines

    def reason(self, path: str) -> tuple[str, str] | None:
        """Return why `path` is skipped and which line says so."""
        verdict: dict[str, Line | None] = {}
        for line in self.lines:
            if path.startswith(line.folder) and line.spec.match_file(path[len(line.folder) :]):
                verdict.update({reason: line if yes else None for reason, yes in line.says.items()})
        for reason in ("generated", "vendored", "binary"):
            if (said := verdict.get(reason)) is not None:
                return reason, f"{said.folder}{FILE}: {said.pattern}"
        return None


def read(source: Source) -> Attributes:
    """Return the attributes of a source, those above its sub-path included."""
    entries = source.all_entries()
    files = [
        entry
        for entry in entries
        if entry.path.rpartition("/")[2] == FILE and entry.mode.startswith("100") and entry.path.isprintable()
    ]
    chosen = sorted(files, key=lambda entry: (entry.path.count("/"), entry.path))[:FILES_READ]
    texts = dict(source.read(dict.fromkeys(entry.blob for entry in chosen)))
    lines = []
    for entry in chosen:
        folder = entry.path.removesuffix(FILE)
        text, _ = decode(texts.get(entry.blob, b""))
        lines += [line for row in text.split("\n")[:LINES_READ] if (line := parse_line(folder, row))]
    return Attributes(lines)


def parse_line(folder: str, row: str) -> Line | None:
    """Return what one line says, or None where it says nothing that counts here."""
    row = row.strip()
    if not row or row.startswith(("#", "[attr]", "!")):
        return None
    try:
        pattern, *words = shlex.split(row, comments=False) if row.startswith('"') else row.split()
    except ValueError:
        return None
    says = {}
    for word in words:
        name, yes = _meaning(word)
        if name in MEANINGS:
            says[MEANINGS[name]] = yes if name != "diff" else not yes
    if "-diff" not in words and "diff" in {_meaning(word)[0] for word in words}:
        says.pop("binary", None)  # `diff=python` names a driver and says nothing of binary
    if not says:
        return None
    return Line(
        folder, pattern, GitIgnoreSpec.from_lines([pattern.rstrip("/") if pattern != "/" else pattern]), says
    )


def _meaning(word: str) -> tuple[str, bool]:
    """`name`, `name=true` say yes; `-name`, `!name`, `name=false` say no."""
    found = re.fullmatch(r"([-!]?)([\w.-]+)(?:=(.*))?", word)
    if found is None:
        return "", False
    return found[2], not found[1] and (found[3] or "true").lower() not in ("false", "0", "unset")
