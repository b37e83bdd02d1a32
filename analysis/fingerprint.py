"""What makes a finding the same one in the next run: rule, file, symbol and the quoted code, never a line number."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from analysis.locate import FileIndex, lines_of
from analysis.plain import CheckedFinding, Located, RawFinding, Symbol


def fingerprint(rule_id: str, path: str, symbol: str, excerpt: str, nth: int = 1) -> str:
    """The identity of a finding as 64 hex digits. Indentation and blank lines of the excerpt do not count."""
    parts = (rule_id, path, symbol, "\n".join(lines_of(excerpt)), str(nth))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def enclosing(symbols: Sequence[Symbol], line: int) -> str:
    """The full name of the innermost definition around a line; "" at the top of the file."""
    around = [symbol for symbol in symbols if symbol.start_line <= line <= symbol.end_line]
    if not around:
        return ""
    inner = min(around, key=lambda symbol: (symbol.end_line - symbol.start_line, -symbol.start_line))
    return _full(inner)


def _full(symbol: Symbol) -> str:
    return f"{symbol.parent}.{symbol.name}" if symbol.parent else symbol.name


def occurrence(index: FileIndex, symbols: Sequence[Symbol], place: Located, symbol: str) -> int:
    """Which of the equal pieces of code in its symbol this one is: the first, the second, ..."""
    quote = lines_of(index.excerpt(place.start_line, place.end_line))
    if not quote:
        return 1
    starts = (index.numbers[at] for at in index.exact(quote))
    around = _names(tuple(symbols), len(index.raw))
    return 1 + sum(start < place.start_line and around[start] == symbol for start in starts)


@lru_cache(maxsize=4)
def _names(symbols: tuple[Symbol, ...], lines: int) -> list[str]:
    """`enclosing` for every line of a file at once, the narrower definitions over the wider ones."""
    names = [""] * (lines + 1)
    narrow_first = sorted(symbols, key=lambda one: (one.end_line - one.start_line, -one.start_line))
    for symbol in reversed(narrow_first):
        start, end = max(symbol.start_line, 0), min(symbol.end_line, lines)
        names[start : end + 1] = [_full(symbol)] * max(end + 1 - start, 0)
    return names


def checked(
    raw: RawFinding, analyzer: str, place: Located, index: FileIndex | None, symbols: Sequence[Symbol] = ()
) -> CheckedFinding:
    """A located claim with its symbol and fingerprint.

    The excerpt becomes what stands in the file: so it does not matter how the model spelled it. Without a text (a
    binary file) the claim's own excerpt is taken.
    """
    if index is None or not raw.excerpt.strip():
        return CheckedFinding(raw, analyzer, place, "", fingerprint(raw.rule_id, raw.path, "", raw.excerpt))
    symbol = enclosing(symbols, place.start_line)
    excerpt = index.excerpt(place.start_line, place.end_line)
    if place.match == "exact" and lines_of(excerpt) != lines_of(raw.excerpt):
        excerpt = raw.excerpt  # a program of ours has hidden something in it (a secret), so it stays hidden
    nth = occurrence(index, symbols, place, symbol)
    raw = replace(raw, excerpt=excerpt, start_line=place.start_line)
    return CheckedFinding(
        raw, analyzer, place, symbol, fingerprint(raw.rule_id, raw.path, symbol, excerpt, nth)
    )
