"""Lists of gitignore-style patterns that say which of them matched."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from pathspec import GitIgnoreSpec


class Patterns:
    """The patterns of an include or exclude list; as in git, the last one that matches decides."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(pattern for line in patterns if (pattern := line.strip()))
        self.spec = GitIgnoreSpec.from_lines(self.patterns)

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: str) -> str | None:
        """Return the pattern that takes `path` in, or None."""
        found = self.spec.check_file(path)
        return self.patterns[found.index] if found.include and found.index is not None else None

    def names(self, path: str) -> bool:
        """True where one of the patterns is this very path."""
        return path in self._whole

    @cached_property
    def parts(self) -> frozenset[str]:
        """The plain names of folders and files in the patterns."""
        return frozenset(part for pattern in self.patterns for part in pattern.split("/") if part)

    @cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(pattern.lstrip("/") for pattern in self.patterns)
