"""The plain data that pass between the parts of an analysis: what was read, what is asked, what was found.

Nothing here knows rows, requests or a browser. Paths are as git has them, with `/`, decoded as UTF-8 with
surrogateescape; lines count from 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

# --- what was read ---


@dataclass(frozen=True)
class Entry:
    """One path of a tree, as git lists it, before anything was read."""

    path: str
    mode: str  # "100644", "100755", "120000" (link), "160000" (submodule)
    blob: str  # git's object id, hex
    size: int  # bytes; 0 for a submodule


@dataclass(frozen=True)
class Symbol:
    """A definition in a file: a class, a function, a method, a type."""

    name: str
    kind: str
    start_line: int
    end_line: int
    parent: str = ""  # names of the enclosing definitions, joined by "."


@dataclass(frozen=True)
class FileFacts:
    """One line of the manifest: a path, and whether it is read or why it is skipped."""

    path: str
    blob: str
    size: int
    language: str = ""  # "python", "go", ...; "" unknown
    encoding: str = ""
    lines: int = 0
    tokens: int = 0  # estimated
    read: bool = True
    reason: str = ""  # a word of select.SKIP_REASONS where it is skipped
    detail: str = ""  # which pattern, which limit, which line
    symbols: tuple[Symbol, ...] = ()
    imports: tuple[str, ...] = ()  # as written in the file
    grammar: bool = False  # False: no grammar for the language, so it is cut by lines


@dataclass(frozen=True)
class Options:
    """What a person chooses for a run; stored with it as JSON."""

    include: tuple[str, ...] = ()  # gitignore-style patterns; empty: everything
    exclude: tuple[str, ...] = ()
    migrations: bool = False  # read database migrations too
    allow_secrets: tuple[str, ...] = ()  # paths that may be sent although they seem to hold a secret
    allow_blobs: tuple[str, ...] = ()  # contents that an earlier run was allowed to send, under whatever name
    analyzers: tuple[str, ...] = ()  # names; empty: all
    documents: tuple[str, ...] = ()  # slugs of documents to write; empty: none
    verify: bool = True
    model: str = ""
    verify_model: str = ""  # empty: as model
    effort: str = ""
    max_tokens_read: int = 2_000_000  # token budget of files that are read; the lowest-ranked go first
    confirm: bool = True  # wait after the manifest until somebody has seen coverage and estimate


@dataclass(frozen=True)
class Piece:
    """A part of one file in a chunk: whole (start_line 1 to its last line), or cut at top-level definitions."""

    path: str
    blob: str
    start_line: int
    end_line: int
    header: str = ""  # imports and the line of the enclosing class, repeated above a later piece


@dataclass(frozen=True)
class Chunk:
    """What one call looks at."""

    pieces: tuple[Piece, ...]
    tokens: int

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(piece.path for piece in self.pieces))


# --- what is asked ---


@dataclass(frozen=True)
class Ask:
    """One question to a model. `shared` is the part that all calls of a phase have alike (for the vendor's cache).

    `system` holds only our own words. What comes from the repository stands fenced in `shared` and `prompt`.
    """

    system: str
    prompt: str
    shared: str = ""
    schema: dict[str, Any] | None = None
    max_tokens: int = 8_000
    effort: str = ""


# --- what was found ---

Severity = Literal["critical", "high", "medium", "low"]
Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Place:
    """A verbatim excerpt and where it is claimed to stand."""

    path: str
    excerpt: str
    start_line: int = 0  # a hint


@dataclass(frozen=True)
class RawFinding:
    """A claim as an analyzer makes it; nothing in it has been checked."""

    rule_id: str
    title: str
    message: str
    severity: Severity
    path: str
    excerpt: str
    start_line: int = 0
    level: Level = "warning"
    confidence: float = 0.5
    suggestion: str = ""
    evidence: tuple[Place, ...] = ()


@dataclass(frozen=True)
class Located:
    """Where a quote stands in a file, or why it was rejected."""

    start_line: int = 0
    end_line: int = 0
    match: Literal["exact", "approximate", ""] = ""
    rejected: str = ""  # not_found, not_in_manifest, not_in_chunk, trivial, unknown_rule
    score: float = 1.0

    def __bool__(self) -> bool:
        return not self.rejected


@dataclass(frozen=True)
class CheckedFinding:
    """A claim whose quote was found. `fingerprint` holds no line number, so it survives moves."""

    raw: RawFinding
    analyzer: str
    place: Located
    symbol: str = ""  # the enclosing definition
    fingerprint: str = ""
    locations: tuple[tuple[str, int, int], ...] = ()  # further (path, start, end) with the same cause


@dataclass(frozen=True)
class Judgement:
    """What the second pass says of one finding."""

    verdict: Literal["confirmed", "unsure", "refuted"]
    reason: str


@dataclass(frozen=True)
class Overview:
    """What one call made of the repository as a whole; handed to every later one."""

    summary: str = ""
    stack: tuple[str, ...] = ()
    layout: str = ""
    conventions: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PagePlan:
    """One page of a document, with the files that it rests on."""

    slug: str
    title: str
    purpose: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Citation:
    """`path:start-end` as a page says it, and whether such lines exist."""

    path: str
    start_line: int
    end_line: int
    found: bool
    blob: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a run will take, before any money is spent. Costs in USD; None where a price is unknown."""

    files: int
    tokens: int
    calls: Mapping[str, int]  # for each phase
    reused: int  # calls whose answers are there already
    low: float | None
    expected: float | None
    high: float | None
    basis: str = ""  # one sentence: what it rests on


Texts = Mapping[str, str]  # path: decoded text of the files that are read
Files = Sequence[FileFacts]


def lines_of(text: str) -> list[str]:
    """Return the lines of a text as they are counted everywhere here: by line feeds alone, as grammars count.

    `str.splitlines` would also part them at form feeds and rarer characters, and every number after would be wrong.
    """
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines
