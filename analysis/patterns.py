"""gitignore-style patterns that say which of them matched, in time that does not explode.

The usual way, one regular expression for a pattern, takes for ever on `*a*a*a*a*b` and a long name; patterns come
from repositories and people, names come from repositories. Here each part between slashes is matched by itself,
by `fnmatch`, whose expressions never go back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import cached_property, lru_cache

ANY = "**"
Fits = Callable[[str], object]
PATTERN_LIMIT = 2_500  # characters: room for any path, with all its signs escaped


@lru_cache(maxsize=4096)
def _part(glob: str) -> re.Pattern[str]:
    glob = re.sub(r"\\(.)", r"[\1]", glob).replace("[^", "[!")
    return re.compile(translate(re.sub(r"\*+", "*", glob)))


class Glob:
    """One pattern. With `inside`, a folder that it names brings in everything below, as in `.gitignore`."""

    def __init__(self, pattern: str, *, inside: bool = True) -> None:
        self.text = pattern
        self.negated = pattern.startswith("!")
        body = pattern[self.negated :][:PATTERN_LIMIT].removeprefix("\\")
        self.folder_only = body.endswith("/")
        body = body.rstrip("/")
        self.anchored = "/" in body
        self.parts = [part for part in body.split("/") if part]
        self.inside = inside

    @cached_property
    def _fits(self) -> list[Fits | None]:
        """What each part must fit; None for `**`."""
        return [None if part == ANY else _part(part).match for part in self.parts]

    def work(self, paths: int, depth: int) -> int:
        """How many parts are compared at most for so many paths with so many parts in all."""
        return len(self.parts) * depth if ANY in self.parts else paths

    def matches(self, path: Sequence[str]) -> bool:
        """True where the pattern takes in the path, given as its parts."""
        if not self.parts:
            return False
        folders = len(path) - 1 if self.folder_only else len(path)
        first = 1 if self.inside else len(path)
        if not self.anchored:
            fits = self._fits[0]
            return fits is None or any(fits(part) for part in path[first - 1 : folders])
        if ANY not in self.parts:
            # Only one length can fit: as many parts as the pattern has.
            n = len(self.parts)
            return first <= n <= folders and self._same(path[:n])
        return any(self._spans(path[:n]) for n in range(first, folders + 1))

    def _same(self, path: Sequence[str]) -> bool:
        return all(fits is None or fits(part) for fits, part in zip(self._fits, path, strict=True))

    def _spans(self, path: Sequence[str]) -> bool:
        """Match with `**`, which stands for any number of parts; at the end for at least one."""
        reached = {0}
        for place, fits in enumerate(self._fits):
            if fits is None:
                low = min(reached) + (place == len(self.parts) - 1)
                reached = set(range(low, len(path) + 1))
            else:
                reached = {n + 1 for n in reached if n < len(path) and fits(path[n])}
            if not reached:
                return False
        return len(path) in reached


class Patterns:
    """The patterns of an include or exclude list; as in git, the last one that matches decides."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(pattern for line in patterns if (pattern := line.strip()))
        self.globs = [Glob(pattern) for pattern in self.patterns]

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def match(self, path: str) -> str | None:
        """Return the pattern that takes `path` in, or None."""
        parts = path.split("/")
        last = next((glob for glob in reversed(self.globs) if glob.matches(parts)), None)
        return None if last is None or last.negated else last.text

    def names(self, path: str) -> bool:
        """True where one of the patterns is this very path."""
        return path in self._whole

    def takes(self, path: str, part: str) -> bool:
        """True where a pattern that takes `path` in has `part` as the plain name of a folder or file."""
        parts = path.split("/")
        return any(part in glob.parts and not glob.negated and glob.matches(parts) for glob in self.globs)

    @cached_property
    def _whole(self) -> frozenset[str]:
        return frozenset(pattern.lstrip("/") for pattern in self.patterns)
