"""Plain data out of a YAML file, with the line of every value; and back.

A small part of YAML: mappings with text keys, lists, text, numbers, true, false, null. Words such as `yes`
are text (as in YAML 1.2). Doubled keys, anchors, aliases, tags and deep nesting are refused, because each
lets a file mean something else than it seems to say, or grow while it is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from workflows.problems import Path, Problem, SpecError

MAX_BYTES = 2_000_000
MAX_DEPTH = 16
_TRUE_FALSE = {"true": True, "false": False}
_NULL = frozenset({"", "~", "null"})
_INT = re.compile(r"[-+]?[0-9]{1,15}")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,15}\.[0-9]{0,15}|\.[0-9]{1,15}|[0-9]{1,15}(?=[eE]))(?:[eE][-+]?[0-9]{1,2})?"
)


@dataclass
class Document:
    """The data of a file; where each path stands (`lines`) and where each block text begins (`texts`)."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    texts: dict[Path, int] = field(default_factory=dict)

    def line_of(self, path: Path) -> int | None:
        """Return the line of the value, or of the nearest thing around it that the file has."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None

    def line_in_text(self, path: Path, line: int) -> int | None:
        """Return the file's line for a line inside a text: exact for block texts (`|`)."""
        first = self.texts.get(path)
        return first + line - 1 if first else self.line_of(path)


def plain(word: str) -> Any:
    """Return what an unquoted word means."""
    if word in _NULL:
        return None
    if word in _TRUE_FALSE:
        return _TRUE_FALSE[word]
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    return word


def _refuse(line: int | None, message: str) -> SpecError:
    return SpecError([Problem("", message, line)])


class _Loader(yaml.SafeLoader):
    """Composes nodes only; nothing of the file ever becomes an object by a tag."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _refuse(line, f"Aliases (*{event.anchor}) are not allowed; write the value out.")
        if event.anchor is not None:
            raise _refuse(line, f"Anchors (&{event.anchor}) are not allowed; write the value out.")
        if event.tag is not None:
            raise _refuse(line, f"Tags ({event.tag}) are not allowed.")
        if self.depth >= MAX_DEPTH:
            raise _refuse(line, f"Nested more than {MAX_DEPTH} levels deep.")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read(text: str) -> Document:
    """Return the file's data; raise SpecError with the line of each thing that cannot be read."""
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_BYTES:
        raise _refuse(None, f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        loader = _Loader(text.removeprefix("\ufeff"))
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _refuse(
            line, f"The character U+{int(error.character):04X} cannot stand in a YAML file."
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _refuse(*_syntax(error)) from None
    document = Document()
    problems: list[Problem] = []
    if root is not None:
        document.data = _build(root, (), document, problems)
        document.lines.setdefault((), root.start_mark.line + 1)
    if problems:
        raise SpecError(problems)
    return document


def _syntax(error: yaml.MarkedYAMLError) -> tuple[int | None, str]:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part)
    column = f" (column {mark.column + 1})" if mark else ""
    return (mark.line + 1 if mark else None), f"This is not valid YAML{column}: {said}."


def _build(node: yaml.Node, path: Path, document: Document, problems: list[Problem]) -> Any:
    """Return the node's value, noting lines and doubled keys on the way."""
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.ScalarNode):
        if any("\ud800" <= char <= "\udfff" for char in node.value):
            said = "Half of a pair of surrogates (\\ud800 to \\udfff) is no character."
            problems.append(Problem("", said, node.start_mark.line + 1, path))
        if node.style == "|":
            document.texts[path] = node.start_mark.line + 2
        return plain(node.value) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), document, problems) for i, item in enumerate(node.value)]
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
            problems.append(Problem("", "A key must be a word.", line, path))
            continue
        key = key_node.value
        if key in data:
            said = (
                f"The key {key!r} stands here a second time (first in line {document.lines[(*path, key)]})."
            )
            problems.append(Problem("", said, line, path))
            continue
        document.lines[(*path, key)] = line
        data[key] = _build(value_node, (*path, key), document, problems)
    return data


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Several lines as a block, quotes where a bare word would not stay text."""
    style = "|" if "\n" in text else None
    if any(char in text for char in "\x85\u2028\u2029"):
        style = '"'  # YAML 1.1 takes these for line ends and would fold them
    elif style is None and not isinstance(plain(text), str):
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def write(data: Mapping[str, Any]) -> str:
    """Return the data as YAML that `read` turns into the same data, always with the same words."""
    return yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=False
    )
