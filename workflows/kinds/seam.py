"""Joining an answer that was cut with the text that goes on from it."""

from __future__ import annotations

import re
from collections.abc import Callable

OVERLAP = 400  # characters that a continuation may repeat
FENCE = 80  # characters in which a code fence may be opened again
_WORD = 3  # a repeat this short counts only from the beginning of a word
_SURE = 16  # a repeat this long counts anywhere
_REOPENED = re.compile(r"\s*(?:```|~~~)[\w+#.-]+[ \t]*\n")
_FENCE_LINE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)


def repeated(earlier: str, head: str) -> int:
    """Return how many characters at the beginning of a continuation repeat the end of the earlier text.

    Besides a plain overlap, models open the code fence again in which they were cut; that line goes too.
    """
    fence = _REOPENED.match(head[:FENCE])
    start = fence.end() if fence and len(_FENCE_LINE.findall(earlier)) % 2 else 0
    return start + _overlap(earlier, head[start:])


def _overlap(earlier: str, head: str) -> int:
    for length in range(min(OVERLAP, len(earlier), len(head)), _WORD - 1, -1):
        if earlier.endswith(head[:length]) and (length >= _SURE or _from_word_start(earlier, length)):
            return length if any(char.isalnum() for char in head[:length]) else 0
    return 0


def _from_word_start(earlier: str, length: int) -> bool:
    before = earlier[-length - 1 : -length]
    return earlier[-length].isalnum() and not before.isalnum()


class Seam:
    """Holds back the beginning of a continuation until it is known what it repeats; then passes all on.

    What went to `on_text` is always the text that `close` returns, so that a page and the row agree.
    """

    def __init__(self, earlier: str, on_text: Callable[[str], None]) -> None:
        self.earlier = earlier
        self.on_text = on_text
        self.held: str | None = "" if earlier else None

    def feed(self, text: str) -> None:
        if self.held is None:
            self.on_text(text)
            return
        self.held += text
        if len(self.held) >= OVERLAP + FENCE:
            self._release()

    def close(self, text: str) -> str:
        """Pass on what is still held; return the new part of `text`, the whole answer as it was received."""
        if self.held is not None:
            self._release()
        return text[repeated(self.earlier, text) :]

    def _release(self) -> None:
        held, self.held = self.held or "", None
        if new := held[repeated(self.earlier, held) :]:
            self.on_text(new)
