"""What is wrong with a definition, an input or a prompt, and where: for form, file and terminal alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nyxcore.shell import did_you_mean as did_you_mean
from nyxcore.shell import nearest as nearest

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
