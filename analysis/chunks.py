"""Packs what is read into chunks, one call each: by folder, and by who imports whom.

Packing is stable. Boundaries inside a folder hang on the names of files, not on how much came before, and small
folders join only their closest neighbour. So a new file changes the chunk that it comes into and perhaps the next,
and every other answer can be used again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.cutting import NUMBERED, Lines, cut, halve
from analysis.errors import heed
from analysis.imports import links
from analysis.plain import Chunk, FileFacts, Piece, Texts, lines_of
from nyxcore.llm.base import StopSignal
from nyxcore.llm.models import estimate_tokens

TARGET = 16_000  # tokens of numbered source
FRAME = 60  # tokens of the lines around a piece
EARLY = 0.5  # from so much of the target on, a file whose name says so begins a new chunk
ONE_IN = 3  # how many names say so


@dataclass(frozen=True)
class Unit:
    """Pieces that stay together while chunks are put together. `name` is what ties and order hang on."""

    name: str
    pieces: tuple[Piece, ...]
    tokens: int


def pack(
    files: Sequence[FileFacts], texts: Texts, *, target: int = TARGET, stop: StopSignal | None = None
) -> list[Chunk]:
    """Return the chunks of the files that are read; each of their lines is in exactly one piece."""
    read = sorted((facts for facts in files if facts.read and facts.path in texts), key=lambda one: one.path)
    folders: dict[str, list[FileFacts]] = defaultdict(list)
    for facts in read:
        folders[facts.path.rpartition("/")[0]].append(facts)
    units = [unit for folder in sorted(folders) for unit in _units(folders[folder], texts, target, stop)]
    joined = _join(units, links(read), target, stop)
    chunks = [Chunk(tuple(sorted(unit.pieces, key=_place)), unit.tokens) for unit in joined]
    return sorted(chunks, key=lambda chunk: _place(chunk.pieces[0]))


def split(chunk: Chunk, files: Iterable[FileFacts], texts: Texts) -> tuple[Chunk, Chunk] | None:
    """Cut a chunk in two, for an answer that did not fit; None where it is a single line."""
    if len(chunk.pieces) > 1:
        sizes = [piece_tokens(piece, texts) for piece in chunk.pieces]
        cuts = range(1, len(sizes))
        middle = min(cuts, key=lambda n: abs(sum(sizes[:n]) - sum(sizes[n:])))
        return (
            Chunk(chunk.pieces[:middle], sum(sizes[:middle])),
            Chunk(chunk.pieces[middle:], sum(sizes[middle:])),
        )
    (piece,) = chunk.pieces
    facts = next(facts for facts in files if facts.path == piece.path)
    halves = halve(piece, facts, Lines(lines_of(texts[piece.path])))
    if halves is None:
        return None
    first, second = (Chunk((half,), piece_tokens(half, texts)) for half in halves)
    return first, second


def chunk_key(chunk: Chunk) -> str:
    """Return the identity of what a chunk holds: paths, blobs and lines, in order."""
    facts = [[piece.path, piece.blob, piece.start_line, piece.end_line] for piece in chunk.pieces]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


# --- how it is shown -----------------------------------------------------------------------------


def render(chunk: Chunk, texts: Texts, marker: str) -> str:
    """Return a chunk as a model sees it: every line numbered, every piece between two lines with the marker."""
    return "\n".join(render_piece(piece, texts, marker) for piece in chunk.pieces)


def render_piece(piece: Piece, texts: Texts, marker: str) -> str:
    """The path is written as JSON: a line feed in a name must not look like the end of the fence."""
    lines = lines_of(texts[piece.path])
    where = f"path={json.dumps(piece.path, ensure_ascii=False)} lines={piece.start_line}-{piece.end_line}"
    rows = [f"[{marker} {where} of {len(lines)}]\n"]
    rows += [f"     | {row}\n" for row in piece.header.split("\n") if piece.header]
    rows += [
        NUMBERED.format(number, lines[number - 1]) for number in range(piece.start_line, piece.end_line + 1)
    ]
    return "".join(rows) + f"[/{marker}]\n"


def piece_tokens(piece: Piece, texts: Texts) -> int:
    return estimate_tokens(render_piece(piece, texts, "0" * 16))


# --- packing -------------------------------------------------------------------------------------


def _place(piece: Piece) -> tuple[str, int]:
    return piece.path, piece.start_line


def _units(
    files: Sequence[FileFacts], texts: Texts, target: int, stop: StopSignal | None = None
) -> list[Unit]:
    """Pack the files of one folder, in the order of their names."""
    units: list[Unit] = []
    open_pieces: list[Piece] = []
    tokens = 0

    def close() -> None:
        nonlocal tokens
        if open_pieces:
            units.append(Unit(open_pieces[0].path, tuple(open_pieces), tokens))
            open_pieces.clear()
            tokens = 0

    for facts in files:
        heed(stop)
        lines = Lines(lines_of(texts[facts.path]))
        if not len(lines):
            continue
        room = target - FRAME - estimate_tokens(facts.path)
        pieces = cut(facts, lines, max(room, 1))
        size = piece_tokens(pieces[0], texts)
        if len(pieces) > 1:  # a large file is a matter of its own, so that it moves nobody else
            close()
            units += [Unit(f"{p.path}:{p.start_line}", (p,), piece_tokens(p, texts)) for p in pieces]
            continue
        if tokens + size > target or (tokens > target * EARLY and _begins(facts.path)):
            close()
        open_pieces.append(pieces[0])
        tokens += size
    close()
    return units


def _begins(path: str) -> bool:
    """Whether a name begins a chunk once there is enough in the one before: hangs on nothing but itself."""
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[0] % ONE_IN == 0


def _join(
    units: list[Unit], imports: Mapping[str, set[str]], target: int, stop: StopSignal | None = None
) -> list[Unit]:
    """Join small units with their closest neighbour, as long as both are each other's closest and fit together.

    That two must choose each other keeps it local: what happens elsewhere changes nothing here.
    """
    weights = _weights(units, imports)
    alive = {unit.name: unit for unit in units}
    while True:
        closest = _closest(alive, weights, target, stop)
        pairs = [(a, b) for a, b in closest.items() if a < b and closest.get(b) == a]
        if not pairs:
            return list(alive.values())
        for a, b in pairs:
            one, other = alive.pop(a), alive.pop(b)
            alive[a] = Unit(a, one.pieces + other.pieces, one.tokens + other.tokens)
            _merge(weights, a, b)


Weights = dict[str, Counter[str]]


def _weights(units: Sequence[Unit], imports: Mapping[str, set[str]]) -> Weights:
    """Return how close units are: imports between them, and a little for those beside each other in the tree."""
    unit_of = {piece.path: unit.name for unit in units for piece in unit.pieces}
    weights: Weights = {unit.name: Counter() for unit in units}
    for path, targets in imports.items():
        for target in targets:
            a, b = unit_of.get(path), unit_of.get(target)
            if a and b and a != b:
                weights[a][b] += 1
                weights[b][a] += 1
    for one, other in pairwise(sorted(units, key=lambda unit: unit.name)):
        weights[one.name][other.name] += 0
        weights[other.name][one.name] += 0
    return weights


def _closest(
    alive: Mapping[str, Unit], weights: Weights, target: int, stop: StopSignal | None
) -> dict[str, str]:
    """Return for each unit the one it would join: the most shared path, then the most imports, then by name."""
    found = {}
    for name, unit in alive.items():
        heed(stop)
        fitting = [
            other for other in weights[name] if other in alive and unit.tokens + alive[other].tokens <= target
        ]
        if fitting:
            found[name] = max(fitting, key=lambda other: _closeness(name, other, weights[name][other]))
    return found


def _closeness(name: str, other: str, imports: int) -> tuple[float, str]:
    """Two imports weigh as much as one more folder in common. Ties hang on both names, so both see the same."""
    a, b = name.split("/")[:-1], other.split("/")[:-1]
    common = sum(1 for x, y in zip(a, b, strict=False) if x == y)
    apart = len(a) + len(b) - 2 * common
    pair = "\0".join(sorted((name, other)))
    return min(imports, 20) / 2 - apart / 2, hashlib.sha256(
        pair.encode("utf-8", "surrogateescape")
    ).hexdigest()


def _merge(weights: Weights, kept: str, gone: str) -> None:
    """What was close to either is close to both."""
    for other, weight in weights.pop(gone).items():
        if other != kept:
            weights[kept][other] += weight
            weights[other][kept] += weight
        weights[other].pop(gone, None)
    weights[kept].pop(gone, None)
    weights[kept].pop(kept, None)
