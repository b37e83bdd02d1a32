"""A value that fits a JSON schema: what the practice model answers where a schema is given."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

PRACTICE = "practice answer, no language model"
# Tried in turn where a string has a pattern; the first that fits is used.
CANDIDATES = (
    PRACTICE,
    "practice",
    "practice-1",
    "practice_1",
    "Practice",
    "PRACTICE-1",
    "P1",
    "1",
    "1.0",
    "a/b.py",
    "2026-01-31",
)
FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "practice@example.org",
    "uri": "https://example.org/practice",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
DEEP = 4  # below this, optional things are left out
TOO_DEEP = 40

Schema = Mapping[str, Any]


def sample(schema: Schema, rng: random.Random) -> Any:
    """Return a value for `schema`, the same for the same `rng`."""
    return _Sampler(schema, rng).value(schema, 0)


class _Sampler:
    def __init__(self, root: Schema, rng: random.Random) -> None:
        self._root = root
        self._rng = rng

    def value(self, schema: Schema, depth: int) -> Any:
        schema = self._resolved(schema)
        if depth > TOO_DEEP:
            raise ValueError("The schema requires itself without end.")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._rng.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self.value(self._option(schema[word], depth), depth + 1)
        match self._type(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
        return _string(schema)

    def _resolved(self, schema: Schema) -> Schema:
        """Follow references and merge allOf."""
        while "$ref" in schema:
            target: Any = self._root
            for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")] if part else target
            schema = target
        if "allOf" not in schema:
            return schema
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in map(self._resolved, schema["allOf"]):
            properties = {**merged.get("properties", {}), **part.get("properties", {})}
            required = [*merged.get("required", []), *part.get("required", [])]
            merged = {**merged, **part, "properties": properties, "required": required}
        return merged

    def _option(self, options: list[Schema], depth: int) -> Schema:
        """The first option that is something; far down, null where it is allowed."""
        nulls = [option for option in options if option.get("type") == "null"]
        if nulls and depth >= DEEP:
            return nulls[0]
        return next((option for option in options if option not in nulls), options[0])

    def _type(self, schema: Schema) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            return str(next((word for word in kind if word != "null"), "null"))
        if kind is None:
            return "object" if "properties" in schema else "array" if "items" in schema else "string"
        return str(kind)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        return {
            name: self.value(part, depth + 1)
            for name, part in schema.get("properties", {}).items()
            if name in required or depth < DEEP
        }

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        if "prefixItems" in schema:
            return [self.value(part, depth + 1) for part in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        number = max(least, min(2, schema.get("maxItems", 2))) if depth < DEEP else least
        return [self.value(schema.get("items", {}), depth + 1) for _ in range(number)]


def _number(schema: Schema, *, whole: bool) -> Any:
    low: Any = schema.get("minimum", schema.get("exclusiveMinimum"))
    high: Any = schema.get("maximum", schema.get("exclusiveMaximum"))
    if whole or "multipleOf" in schema:
        step = schema.get("multipleOf", 1)
        if low is not None:
            value = -(-low // step) * step
            return value + step if value == schema.get("exclusiveMinimum") else value
        if high is not None:
            value = high // step * step
            return value - step if value == schema.get("exclusiveMaximum") else value
        return step
    if low is not None and high is not None:
        return (low + high) / 2
    return 1.5 if low is None and high is None else low + 1 if low is not None else high - 1


def _string(schema: Schema) -> str:
    text = FORMATS.get(schema.get("format", ""), PRACTICE)
    if "pattern" in schema:
        text = next((word for word in CANDIDATES if re.search(schema["pattern"], word)), text)
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    while len(text) < least:
        text += f" {PRACTICE}"
    return text if most is None else text[:most]
