"""What differs between two texts, word by word: plain data, for a page to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

# The time of the comparison rises with the product of the lengths, so longer texts are compared less finely.
EXACT = 4_000_000  # pairs of words up to which frequent words are anchors too
WORDS = 20_000  # of either text; beyond that whole lines are compared
CHARACTERS = 3_000_000  # of both texts; beyond that nothing is
CONTEXT = 40  # words shown on either side of a change
_WORD = re.compile(r"\S+\s*|\s+")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")

Op = Literal["same", "gone", "new"]


class TooLong(ValueError):
    """The texts are too long to be compared while somebody waits."""


@dataclass(frozen=True)
class Piece:
    """A stretch of text. Of a long unchanged one `text` is the beginning, `middle` what is folded, `tail` the end."""

    op: Op
    text: str
    middle: str = ""
    tail: str = ""

    @property
    def folded_words(self) -> int:
        return len(self.middle.split())


@dataclass(frozen=True)
class Difference:
    pieces: list[Piece]
    gone: int  # words
    new: int
    same: int
    by_lines: bool

    @property
    def equal(self) -> bool:
        return not (self.gone or self.new)

    @property
    def percent_same(self) -> int:
        """How much of both texts is the same; 100 only where all of it is."""
        total = 2 * self.same + self.gone + self.new
        return 100 if self.equal else min(99, 200 * self.same // total)


def compare(old: str, new: str) -> Difference:
    """The difference of two texts. White space alone makes none."""
    if len(old) + len(new) > CHARACTERS:
        raise TooLong
    before, after = _WORD.findall(old), _WORD.findall(new)
    by_lines = max(len(before), len(after)) > WORDS
    if by_lines:
        before, after = _LINE.findall(old), _LINE.findall(new)
    pieces = list(_pieces(before, after))
    counts = {op: sum(_words(p) for p in pieces if p.op == op) for op in ("gone", "new", "same")}
    return Difference(
        [_fold(piece) for piece in pieces], counts["gone"], counts["new"], counts["same"], by_lines
    )


def _pieces(before: Sequence[str], after: Sequence[str]) -> Iterator[Piece]:
    keys = [word.strip() for word in before], [word.strip() for word in after]
    matcher = SequenceMatcher(None, *keys, autojunk=len(before) * len(after) > EXACT)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            yield Piece("same", "".join(after[k:m]))
            continue
        if i < j:
            yield Piece("gone", "".join(before[i:j]))
        if k < m:
            yield Piece("new", "".join(after[k:m]))


def _words(piece: Piece) -> int:
    return len(piece.text.split())


def _fold(piece: Piece) -> Piece:
    """A long unchanged stretch shows its two ends; what lies between is there to be opened."""
    words = _WORD.findall(piece.text)
    if piece.op != "same" or len(words) < 4 * CONTEXT:
        return piece
    middle = "".join(words[CONTEXT:-CONTEXT])
    return Piece("same", "".join(words[:CONTEXT]), middle, "".join(words[-CONTEXT:]))
