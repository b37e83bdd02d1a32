"""A value that fits a JSON schema: what the practice model answers where a schema is given.

A schema may say with `x-practice` what a part of it stands for, so that a practice run shows something true: `quote`,
`path` and `line` are taken from numbered lines in the prompt ("  42| code" below a line that names the file), `title`
and `text` are words that say where they come from, `none` is an empty list. No vendor ever sees the word.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nyxcore.llm.base import PRACTICE_KEY

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

NUMBERED = re.compile(r"^ *(\d+)\| (.*)$")
SAID = re.compile(r'\bpath="([^"]+)"')
LISTED = re.compile(r"^[-*] (\S+)")
FOLDER = re.compile(r"^(?:\./|(\S+/))$")  # of a tree, with its files indented below
IN_FOLDER = re.compile(r"^  ([^\s:,]+)(?::|$)")
FILE = re.compile(r"(?:[\w@+.-]+/)*[\w@+-]*\.?[\w@+-]+\.\w+|(?:[\w@+.-]+/)+[\w@+.-]+|\b[A-Z]\w*file\b")
TELLING = re.compile(r"\w.*\w.*\w")
NO_CODE = ("#", "//", "/*", "*", "--", "<!--", '"""', "'''")
MOST_QUOTES = 400

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Quote:
    """A numbered line of the prompt; without text, only a path that the prompt lists."""

    path: str
    line: int
    text: str


def quotes_in(prompt: str) -> list[Quote]:
    """The lines of code that a prompt shows with numbers, each with the file named last above it.

    Without any, the paths that it lists: `- path`, or as a tree of folders with indented names.
    """
    found, listed, path, folder = list[Quote](), list[Quote](), "", None
    for line in prompt.split("\n"):
        if code := NUMBERED.match(line):
            if path and TELLING.search(code[2]) and not code[2].lstrip().startswith(NO_CODE):
                found.append(Quote(path, int(code[1]), code[2]))
        elif opened := FOLDER.match(line):
            folder = opened[1] or ""
        elif folder is not None and (name := IN_FOLDER.match(line)):
            listed.append(Quote(folder + name[1], 1, ""))
        else:
            said, named, item = SAID.search(line), FILE.search(line), LISTED.match(line)
            path = said[1] if said else named[0] if named else path
            if item and FILE.fullmatch(item[1]):
                listed.append(Quote(item[1], 1, ""))
    return (found or listed)[:MOST_QUOTES]


def sample(schema: Schema, rng: random.Random, quotes: Sequence[Quote] = ()) -> Any:
    """Return a value for `schema`, the same for the same `rng`. `quotes` are what it may quote."""
    return _Sampler(schema, rng, quotes).value(schema, 0)


class _Sampler:
    def __init__(self, root: Schema, rng: random.Random, quotes: Sequence[Quote]) -> None:
        self._root = root
        self._rng = rng
        self._quotes = rng.sample(list(quotes), len(quotes))
        self._quote = self._quotes[0] if self._quotes else Quote("", 1, PRACTICE)

    def value(self, schema: Schema, depth: int) -> Any:
        schema = self._resolved(schema)
        if depth > TOO_DEEP:
            raise ValueError("The schema requires itself without end.")
        if PRACTICE_KEY in schema:
            return self._practised(schema)
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

    def _practised(self, schema: Schema) -> Any:
        quote = self._quote
        match schema[PRACTICE_KEY]:
            case "none":
                return []
            case "quote":
                return quote.text
            case "path":
                return quote.path
            case "line":
                return quote.line
            case "title":
                return _fitted(f"Practice: {quote.text.strip() or quote.path or PRACTICE}", schema)
        return _fitted(
            "Practice: no language model has looked at this. The place is real and was drawn by lot, to show how "
            "an answer would look here.",
            schema,
        )

    def _takes_quotes(self, schema: Schema) -> bool:
        parts = [schema, *schema.get("properties", {}).values()]
        return any(part.get(PRACTICE_KEY) in ("quote", "path") for part in parts)

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
        items = self._resolved(schema.get("items", {}))
        if not self._takes_quotes(items):
            return [self.value(items, depth + 1) for _ in range(number)]
        made = []
        for quote in self._quotes[:number]:  # each quotes another place; without any, the list is empty
            self._quote = quote
            made.append(self.value(items, depth + 1))
        self._quotes = self._quotes[number:] or self._quotes
        return made


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
    return _fitted(text, schema)


def _fitted(text: str, schema: Schema) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    while len(text) < least:
        text += f" {PRACTICE}"
    return text if most is None else text[:most]
