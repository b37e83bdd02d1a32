"""Numbers with their nouns, as people say them."""

from __future__ import annotations


def counted(number: int, noun: str, nouns: str = "") -> str:
    """1 chunk, 1,204 chunks, 0 analyses: the number with the noun in its number; `nouns` where an s does not do."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def is_are(number: int) -> str:
    return "is" if number == 1 else "are"


def was(number: int) -> str:
    return "was" if number == 1 else "were"
