"""Cuts a file into parts at its definitions: never inside a function, unless that alone is over the target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from analysis.plain import FileFacts, Piece, Symbol
from nyxcore.llm.models import estimate_tokens

NUMBERED = "{:>5}| {}\n"
HEADER_TOKENS = 1_000  # imports and enclosing lines that are repeated above a later piece
NEAR = 0.25  # how much of a target may be given up to cut at a blank line


@dataclass(frozen=True)
class Block:
    """Lines that stay together, and the definitions around them."""

    start: int
    end: int
    around: tuple[Symbol, ...] = ()


class Lines:
    """The lines of a file with the tokens each takes when it is shown with its number."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._sums = [0]
        for number, line in enumerate(lines, 1):
            self._sums.append(self._sums[-1] + estimate_tokens(NUMBERED.format(number, line)))

    def __len__(self) -> int:
        return len(self.lines)

    def tokens(self, start: int, end: int) -> int:
        """Return the tokens of lines `start` to `end`, both included."""
        return self._sums[end] - self._sums[start - 1]

    def blank(self, number: int) -> bool:
        return not self.lines[number - 1].strip()


def whole(facts: FileFacts, lines: Lines) -> Piece:
    return Piece(facts.path, facts.blob, 1, len(lines))


def cut(facts: FileFacts, lines: Lines, target: int) -> list[Piece]:
    """Return the pieces of a file, in order; together they are every line exactly once."""
    if lines.tokens(1, len(lines)) <= target:
        return [whole(facts, lines)]
    room = target - header_room(target)
    blocks = _blocks(1, len(lines), _trees(facts.symbols, len(lines)), (), lines, room)
    pieces: list[Piece] = []
    start, around = 1, blocks[0].around
    for before, block in pairwise(blocks):
        if lines.tokens(start, block.end) > room:
            pieces.append(_piece(facts, lines, start, before.end, around, target))
            start, around = block.start, block.around
    pieces.append(_piece(facts, lines, start, blocks[-1].end, around, target))
    return pieces


def halve(piece: Piece, facts: FileFacts, lines: Lines) -> tuple[Piece, Piece] | None:
    """Cut a piece in two near its middle, at a definition if there is one; None for a single line."""
    if piece.start_line >= piece.end_line:
        return None
    total = lines.tokens(piece.start_line, piece.end_line)
    trees = _trees(facts.symbols, len(lines))
    blocks = _blocks(piece.start_line, piece.end_line, _within(trees, piece), (), lines, max(1, total // 3))
    starts = [block.start for block in blocks[1:]] or [(piece.start_line + piece.end_line + 1) // 2]
    middle = min(starts, key=lambda start: abs(2 * lines.tokens(piece.start_line, start - 1) - total))
    around = next((block.around for block in blocks if block.start == middle), ())
    first = Piece(piece.path, piece.blob, piece.start_line, middle - 1, piece.header)
    return first, _piece(facts, lines, middle, piece.end_line, around, total)


# --- definitions as a tree -----------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """A definition with those inside of it."""

    symbol: Symbol
    inside: tuple[Tree, ...]


def _trees(symbols: Sequence[Symbol], last: int) -> tuple[Tree, ...]:
    """Nest definitions by their lines; those that overlap or share a line with another are left out."""
    top: list[Tree] = []
    stack: list[tuple[Symbol, list[Tree]]] = []

    def close() -> None:
        symbol, inside = stack.pop()
        (stack[-1][1] if stack else top).append(Tree(symbol, tuple(inside)))

    previous = 0
    for symbol in sorted(symbols, key=lambda one: (one.start_line, -one.end_line)):
        if not 1 <= symbol.start_line <= symbol.end_line <= last:
            continue
        while stack and stack[-1][0].end_line < symbol.start_line:
            close()
        if symbol.start_line <= previous or (stack and symbol.end_line > stack[-1][0].end_line):
            continue
        previous = symbol.start_line
        stack.append((symbol, []))
    while stack:
        close()
    return tuple(top)


def _within(trees: Sequence[Tree], piece: Piece) -> tuple[Tree, ...]:
    """Return the outermost definitions that lie inside a piece."""
    found: list[Tree] = []
    for tree in trees:
        symbol = tree.symbol
        if piece.start_line <= symbol.start_line and symbol.end_line <= piece.end_line:
            found.append(tree)
        elif symbol.start_line <= piece.end_line and piece.start_line <= symbol.end_line:
            found += _within(tree.inside, piece)
    return tuple(found)


def _blocks(
    start: int, end: int, trees: Sequence[Tree], around: tuple[Symbol, ...], lines: Lines, target: int
) -> list[Block]:
    """Return blocks that cover lines `start` to `end`. What stands before a definition (comments) goes with it."""
    found: list[Block] = []
    at = start
    for tree in trees:
        last = tree.symbol.end_line
        if lines.tokens(at, last) <= target:
            found.append(Block(at, last, around))
        elif tree.inside:
            found += _blocks(at, last, tree.inside, (*around, tree.symbol), lines, target)
        else:
            found += _by_lines(at, last, (*around, tree.symbol), lines, target)
        at = last + 1
    if at <= end:
        found += _by_lines(at, end, around, lines, target)
    return found


def _by_lines(start: int, end: int, around: tuple[Symbol, ...], lines: Lines, target: int) -> list[Block]:
    """Cut by lines alone: at the last blank line in the last quarter of the room, else where the room ends."""
    found: list[Block] = []
    while start <= end:
        last = start
        while last < end and lines.tokens(start, last + 1) <= target:
            last += 1
        if last < end:
            low = start + int((last - start) * (1 - NEAR))
            last = next((n for n in range(last, low, -1) if lines.blank(n)), last)
        found.append(Block(start, last, around))
        start = last + 1
    return found


def _piece(
    facts: FileFacts, lines: Lines, start: int, end: int, around: tuple[Symbol, ...], target: int
) -> Piece:
    header = _header(facts, lines, start, around, header_room(target))
    return Piece(facts.path, facts.blob, start, end, header)


def header_room(target: int) -> int:
    """Return how many tokens of a piece may go to what is repeated above it."""
    return min(HEADER_TOKENS, target // 8)


def _header(facts: FileFacts, lines: Lines, start: int, around: tuple[Symbol, ...], room: int) -> str:
    """Return what a later piece needs to be understood: the imports, and the first line of what it stands in."""
    if start == 1:
        return ""
    rows, left = [], room
    enclosing = [lines.lines[symbol.start_line - 1] for symbol in around if symbol.start_line < start]
    for row in [*enclosing[::-1], *facts.imports]:
        left -= estimate_tokens(NUMBERED.format("", row))
        if left < 0:
            break
        rows.append(row)
    shown = rows[len(enclosing) :] + rows[: len(enclosing)][::-1]
    return "\n".join(shown)
