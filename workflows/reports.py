"""Turns pydantic's errors into problems: a place in words, a path for programs, a sentence."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from workflows.fields import KEY, KEY_RULE, SLUG, SLUG_RULE
from workflows.problems import Path, Problem, did_you_mean

_RULES = {KEY: KEY_RULE, SLUG: SLUG_RULE}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "decimal_type": "an amount of money",
    "decimal_parsing": "an amount of money",
    "is_instance_of": "an amount of money",
}


def in_words(path: Path, steps: Sequence[object] = (), inputs: Sequence[object] = ()) -> str:
    """Return a place as people say it: "step 3 (improve), prompt". `steps` and `inputs` are their names."""
    if len(path) >= 2 and path[0] in ("steps", "inputs") and isinstance(path[1], int):
        noun, names = ("step", steps) if path[0] == "steps" else ("input", inputs)
        name = names[path[1]] if path[1] < len(names) else None
        first = f"{noun} {path[1] + 1}" + (f" ({name})" if isinstance(name, str) and name else "")
        rest = path[3:] if len(path) > 3 and path[2] == "config" else path[2:]
        return f"{first}, {_dotted(rest)}" if rest else first
    return _dotted(path)


def _dotted(path: Path) -> str:
    """Return ("needs", 0) as "needs 1"."""
    return "".join(f" {part + 1}" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def problems_of(
    error: ValidationError, model: type[BaseModel], data: object, path: Path = ()
) -> list[Problem]:
    """Return a validation error's problems; `path` is where `data` stands in the whole definition."""
    steps, inputs = _names(data, "steps", "key"), _names(data, "inputs", "name")
    found = []
    for detail in error.errors(include_url=False):
        place = (*path, *detail["loc"])
        message = _message(detail, model)
        found.append(Problem(in_words(place, steps, inputs), message, path=place))
    return found


def _names(data: object, group: str, field: str) -> list[object]:
    items = data.get(group) if isinstance(data, Mapping) else None
    if not isinstance(items, list):
        return []
    return [item.get(field) if isinstance(item, Mapping) else None for item in items]


def _message(detail: Mapping[str, Any], model: type[BaseModel]) -> str:
    """Return one error as a sentence."""
    kind, loc, given, about = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
    last = str(loc[-1]) if loc else "The definition"
    if kind == "missing":
        return f"{last} is missing."
    if kind == "extra_forbidden":
        return f"Unknown key {last}.{did_you_mean(last, _fields_at(model, loc[:-1]))}"
    if kind in _TYPES:
        return f"{last} must be {_TYPES[kind]}, not {_what(given)}."
    if kind == "literal_error":
        expected = about["expected"].replace("''", "empty")
        return f"{last} must be {expected}, not {_what(given)}."
    if kind == "string_pattern_mismatch":
        rule = _RULES.get(about["pattern"], "one line, without control characters")
        return f"{last} must be {rule}, not {_what(given)}."
    if kind == "string_too_short" or (kind == "too_short" and not about.get("actual_length")):
        return f"{last} must not be empty."
    if kind in ("string_too_long", "too_long"):
        unit = "characters" if isinstance(given, str) else "entries"
        return f"{last} has {len(given):,} {unit}; at most {about['max_length']:,}."
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{last} must be {words} {about[name]:,}, not {_what(given)}."
    return f"{last}: {detail['msg']}."


_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def _what(value: object) -> str:
    """Return what was given, short enough for a sentence."""
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else f"{value[:40]}…")
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else str(value)


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Return the field names of the model that stands at a place below `model`."""
    for part in loc:
        if isinstance(part, int):
            continue
        inner = _model_in(model.model_fields[part].annotation)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for arg in typing.get_args(annotation) if (found := _model_in(arg))), None)
