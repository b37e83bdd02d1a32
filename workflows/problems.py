"""What is wrong with a definition, an input or a prompt, and where: for form, file and terminal alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One mistake. `where` names the place in words, `path` for a program (("steps", 2, "config", "prompt")).

    `line` counts in the file that was read; `at` is (line, column) inside the text of a prompt. Both from 1.
    """

    where: str
    message: str
    line: int | None = None
    path: Path = ()
    at: tuple[int, int] | None = None

    def __str__(self) -> str:
        place = [f"line {self.line}"] if self.line else []
        place += [self.where] if self.where else []
        if self.at:
            place.append(f"{self.at[0]}:{self.at[1]}")
        return f"{', '.join(place)}: {self.message}" if place else self.message


class SpecError(ValueError):
    """A definition or an input that is refused, with everything that was found wrong in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was probably meant to be, or ""."""
    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a second sentence for an unknown word: the nearest known one, or all if they are few."""
    names = sorted(known)
    close = nearest(word, names)
    if close:
        return f" Did you mean {close}?"
    if 0 < len(names) <= 8:
        return f" Known: {', '.join(names)}."
    return ""
