"""What all questions to a model share: numbered lines, and reading answers.

Everything from the repository, and everything that a model has said before, is data. It stands in the fence of
nyxcore/fencing.py, in the user's part of a request; the system part holds only our own words.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from analysis.plain import Overview

Model = TypeVar("Model", bound=BaseModel)

FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n\s*```\s*\Z", re.DOTALL)


class BadAnswer(ValueError):
    """An answer that is not what its schema asks for. The text says where, for people."""


def numbered(text: str, start: int = 1) -> str:
    """Lines with their numbers: `  42| code`."""
    return "\n".join(f"{number:5}| {line}" for number, line in enumerate(text.split("\n"), start))


def window(text: str, start: int, end: int, around: int) -> str:
    """The numbered lines from `around` before `start` to `around` after `end`."""
    lines = text.split("\n")
    first = max(1, start - around)
    return numbered("\n".join(lines[first - 1 : end + around]), first)


def told(overview: Overview) -> str:
    """What is known of the repository as a whole, as text for a prompt."""
    parts = [
        ("Summary", overview.summary),
        ("Stack", ", ".join(overview.stack)),
        ("Layout", overview.layout),
        ("Conventions", overview.conventions),
    ]
    return "\n".join(f"{name}: {text}" for name, text in parts if text) or "Nothing is known yet."


def read_answer(text: str, shape: type[Model]) -> Model:
    """The answer as `shape`; BadAnswer where it is none. A code fence around the JSON is forgiven."""
    fenced = FENCED.match(text)
    try:
        return shape.model_validate(_storable(json.loads(fenced[1] if fenced else text)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        where = f" at {place}" if place else ""
        raise BadAnswer(f"The answer does not fit its schema{where}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise BadAnswer(
            f"The answer does not fit its schema: it is no JSON ({type(error).__name__})."
        ) from error


def _storable(value: Any) -> Any:
    """`value` without what PostgreSQL cannot store in text: NUL and lone surrogates, both of which JSON can spell.

    Before validation, because pydantic refuses a whole answer for one half of an emoji.
    """
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    return value
