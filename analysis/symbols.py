"""What a file defines, imports and uses, by its grammar. Without one there are only lines.

Hostile text can keep a grammar busy for minutes, so files of others are parsed by `analysis.parsing`, in a process
of its own.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis import grammars
from analysis.plain import Symbol

if TYPE_CHECKING:
    from tree_sitter import Node

MATCHES_OPEN = 1_000  # half-matched patterns at a time
SYMBOLS_KEPT = 2_000
IMPORTS_KEPT = 200
IMPORT_LENGTH = 200
REFERENCES_KEPT = 400
NAME_LENGTH = 80
CLASSES = {"class", "interface", "impl", "type", "module"}
# A definition reaches over what stands around it: decorators, `export`, `const`.
WRAPPERS = {
    "decorated_definition",
    "export_statement",
    "lexical_declaration",
    "variable_declaration",
    "type_declaration",
}
FACTS = {"name", "owner", "ref", "import", "required", "call"}


@dataclass(frozen=True)
class Parsed:
    """What one file says of itself. `references` counts the names that it uses."""

    symbols: tuple[Symbol, ...] = ()
    imports: tuple[str, ...] = ()
    references: Mapping[str, int] = field(default_factory=dict)
    grammar: bool = False


NOTHING = Parsed()


def parse(text: str, language: str) -> Parsed:
    """Return what a file in `language` ("tsx" besides "typescript") defines, imports and uses."""
    loaded = grammars.load(language)
    if loaded is None:
        return NOTHING
    import tree_sitter

    grammar, query = loaded
    tree = tree_sitter.Parser(grammar).parse(text.encode("utf-8", "replace"))
    # The cursor takes a progress callback too, but in tree-sitter 0.26 that ends the process with a fault.
    matches = tree_sitter.QueryCursor(query, match_limit=MATCHES_OPEN).matches(tree.root_node)
    return _collect([captures for _, captures in matches])


def _collect(matches: list[dict[str, list[Node]]]) -> Parsed:
    found: list[tuple[int, int, str, str, str]] = []
    imports: list[str] = []
    references: Counter[str] = Counter()
    for captures in matches:
        if "ref" in captures:
            references.update(_text(node) for node in captures["ref"])
        elif "import" in captures:
            imports.append(_statement(captures["import"][0]))
        elif "required" in captures:
            if _text(captures["call"][0]) in ("require", "import"):
                imports.append(f"require({_text(captures['required'][0])})")
        elif len(found) < SYMBOLS_KEPT:
            found.append(_definition(captures))
    return Parsed(
        tuple(_nested(sorted(found, key=lambda one: (one[0], -one[1])))),
        tuple(dict.fromkeys(imports))[:IMPORTS_KEPT],
        dict(references.most_common(REFERENCES_KEPT)),
        True,
    )


def _definition(captures: dict[str, list[Node]]) -> tuple[int, int, str, str, str]:
    """Return (first line, last line, name, kind, owner) of one definition."""
    kind = next(name for name in captures if name not in FACTS)
    node = captures[kind][0]
    while (parent := node.parent) is not None and parent.type in WRAPPERS and _alone(node, parent):
        node = parent
    last = node.end_point.row + (node.end_point.column > 0)
    owner = _text(captures["owner"][0]) if "owner" in captures else ""
    return (
        node.start_point.row + 1,
        max(last, node.start_point.row + 1),
        _text(captures["name"][0]),
        kind,
        owner,
    )


def _alone(node: Node, parent: Node) -> bool:
    """True where a wrapper holds this definition and no second one, as `type ( … )` in Go may."""
    return parent.type not in ("type_declaration", "lexical_declaration", "variable_declaration") or (
        sum(child.type == node.type for child in parent.named_children) == 1
    )


def _nested(found: Iterable[tuple[int, int, str, str, str]]) -> Iterable[Symbol]:
    """Name the enclosing definitions of each; a function inside of a class is a method."""
    around: list[Symbol] = []
    for start, end, name, kind, owner in found:
        while around and around[-1].end_line < end:
            around.pop()
        parent = ".".join(symbol.name for symbol in around) or owner
        if kind == "function" and around and around[-1].kind in CLASSES - {"module"}:
            kind = "method"
        symbol = Symbol(name, kind, start, end, parent)
        yield symbol
        around.append(symbol)


def _text(node: Node) -> str:
    text = (node.text or b"")[:NAME_LENGTH].decode("utf-8", "replace")
    return sys.intern(text)


def _statement(node: Node) -> str:
    """Return an import as one line, however it is written."""
    text = (node.text or b"")[: 4 * IMPORT_LENGTH].decode("utf-8", "replace")
    return re.sub(r"\s+", " ", text).strip()[:IMPORT_LENGTH]
