"""Reads a prompt template node by node and tells what in it is not part of the prompt language, and where."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import jinja2
from jinja2 import nodes
from jinja2.lexer import TokenStream, newline_re
from jinja2.parser import Parser

from workflows.problems import Problem, did_you_mean, nearest

PARTS = ("content", "parts", "notes")
FURTHER = ("findings", "documents")  # of a step that analyses a source
REPO = ("tree", "guide")  # of that source
MAX_DEPTH = 20  # of blocks and expressions inside each other
TEXT, LIST, NUMBER = "text", "list of parts", "number"
LOOP = {"index": NUMBER, "index0": NUMBER, "length": NUMBER, "first": NUMBER, "last": NUMBER}
# Filter: what it takes ("" is anything), what it gives. None of them can multiply text.
FILTERS = {
    "first": (LIST, TEXT),
    "join": (LIST, TEXT),
    "last": (LIST, TEXT),
    "length": ("", NUMBER),
    "lower": (TEXT, TEXT),
    "trim": (TEXT, TEXT),
    "truncate": (TEXT, TEXT),
    "upper": (TEXT, TEXT),
    "wordcount": (TEXT, NUMBER),
}
_KNOWN_TAGS = "Only {% if %}, {% for %} over the parts of an output, and {% raw %} are known."
_JOINERS = (nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.CondExpr)
_REFUSED_TAGS: dict[type[nodes.Node], str] = {
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Extends: "{% extends %}",
    nodes.Block: "{% block %}",
    nodes.Macro: "{% macro %}",
    nodes.CallBlock: "{% call %}",
    nodes.FilterBlock: "{% filter %}",
    nodes.With: "{% with %}",
    nodes.Assign: "{% set %}",
    nodes.AssignBlock: "{% set %}",
    nodes.Scope: "{% autoescape %}",
}


class SyntaxProblem(ValueError):
    """A template that Jinja cannot read; `at` is (line, column)."""

    def __init__(self, message: str, at: tuple[int, int]) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


class _Offsets(jinja2.Environment):
    """Parses with character offsets in place of line numbers, because Jinja keeps no columns."""

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        return TokenStream(self.lexer.wrap(self._tokens(source), name, filename), name, filename)

    def _tokens(self, source: str) -> Iterator[tuple[int, str, str]]:
        """Yield Jinja's tokens, each with its offset from 1; their texts stand in the source in order."""
        offset = 0
        try:
            for _line, kind, text in self.lexer.tokeniter(source, None):
                offset = source.index(text, offset)
                yield offset + 1, kind, text
                offset += len(text)
        except jinja2.TemplateSyntaxError as error:
            raise SyntaxProblem(_sentence(error.message or ""), place_of(source, offset)) from None


_READER = _Offsets(keep_trailing_newline=True)


def _normal(template: str) -> str:
    return newline_re.sub("\n", template)


def place_of(source: str, offset: int) -> tuple[int, int]:
    """Return (line, column) of a character offset, both from 1."""
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def parse(template: str) -> nodes.Template:
    """Return the tree of a template, `lineno` of its nodes being offsets from 1; raise SyntaxProblem."""
    source = _normal(template)
    try:
        return Parser(_READER, source).parse()
    except jinja2.TemplateSyntaxError as error:
        raise SyntaxProblem(_sentence(error.message or ""), place_of(source, error.lineno - 1)) from None
    except RecursionError:
        raise SyntaxProblem("Blocks or brackets are nested too deeply.", (1, 1)) from None
    except (ValueError, OverflowError) as error:
        if isinstance(error, SyntaxProblem):
            raise
        raise SyntaxProblem("A number in this template is too long.", (1, 1)) from None


def _sentence(message: str) -> str:
    """Return Jinja's words as a sentence, with what helps where the cause is a usual one."""
    message = message[:1].upper() + message[1:].rstrip(".") + "."
    if "unknown tag" in message:
        return f"{message.split('.')[0]}. {_KNOWN_TAGS}"
    if message.startswith(("Unexpected", "Expected", "Missing")):
        return f"{message} Braces that are meant as text stand between {{% raw %}} and {{% endraw %}}."
    return message


def dotted(node: nodes.Node) -> tuple[str, ...]:
    """Return ("steps", "idea", "content") for such an expression, () for any other."""
    path: list[str] = []
    while True:
        if isinstance(node, nodes.Name):
            return (node.name, *reversed(path))
        if isinstance(node, nodes.Getattr):
            path.append(node.attr)
        elif (
            isinstance(node, nodes.Getitem)
            and isinstance(node.arg, nodes.Const)
            and isinstance(node.arg.value, str)
        ):
            path.append(node.arg.value)
        else:
            return ()
        node = node.node


def _start(node: nodes.Node) -> int:
    """Return the offset at which an expression begins (an attribute's own is that of its dot)."""
    while (
        isinstance(node, (nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Call)) and node.node is not None
    ):
        node = node.node
    return _offset(node)


def _offset(node: nodes.Node) -> int:
    """Return where a node stands; one that Jinja adds itself has no place but its first child's."""
    found = (
        place for place in (node.lineno, *(child.lineno for child in node.find_all(nodes.Node))) if place
    )
    return next(found, 1) - 1


@dataclass
class Reader:
    """Walks one template. Only node types with a method of their own pass."""

    place: str
    inputs: Collection[str]
    earlier: Collection[str]
    refused: Mapping[str, str]

    def read(self, template: str) -> list[Problem]:
        self.source = _normal(template)
        self.problems: list[Problem] = []
        self.loop_name = ""
        try:
            tree = parse(template)
        except SyntaxProblem as error:
            return [Problem(self.place, error.message, at=error.at)]
        self._body(tree.body, 0)
        return self.problems

    def _report(self, offset: int, message: str) -> None:
        self.problems.append(Problem(self.place, message, at=place_of(self.source, offset)))

    def _body(self, body: list[nodes.Node], depth: int) -> None:
        for node in body:
            self._block(node, depth)

    def _block(self, node: nodes.Node, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._report(_offset(node), f"Blocks are nested more than {MAX_DEPTH} deep.")
        elif isinstance(node, nodes.Output):
            self._output(node, depth)
        elif isinstance(node, nodes.If):
            self._expression(node.test, depth)
            self._body([*node.body, *node.elif_, *node.else_], depth + 1)
        elif isinstance(node, nodes.For):
            self._for(node, depth)
        else:
            tag = _REFUSED_TAGS.get(type(node), f"{{% {type(node).__name__.lower()} %}}")
            self._report(_offset(node), f"{tag} is not available in prompts. {_KNOWN_TAGS}")

    def _output(self, node: nodes.Output, depth: int) -> None:
        for part in node.nodes:
            if not isinstance(part, nodes.TemplateData) and self._expression(part, depth) == LIST:
                name = ".".join(dotted(part)) or "the list"
                self._report(_start(part), f'A list of parts must be joined: {name}|join("\\n\\n").')

    def _for(self, node: nodes.For, depth: int) -> None:
        if self.loop_name:
            self._report(_offset(node), "A loop inside a loop is not available: it could grow too much.")
            return
        path = dotted(node.iter)
        before = len(self.problems)
        if path[:1] != ("steps",) or self._expression(node.iter, depth) != LIST:
            if len(self.problems) == before:
                self._report(
                    _start(node.iter), "A loop can only go over the parts of an output: steps.<key>.parts."
                )
            return
        if not isinstance(node.target, nodes.Name) or node.target.name in ("input", "steps", "loop"):
            self._report(_offset(node.target), "The loop needs one name of its own, such as part.")
            return
        if node.recursive:
            self._report(_offset(node), "A recursive loop is not available.")
        self.loop_name = node.target.name
        if node.test is not None:
            self._expression(node.test, depth)
        self._body(node.body, depth + 1)
        self.loop_name = ""
        self._body(node.else_, depth + 1)

    def _expression(self, node: nodes.Node, depth: int) -> str:
        """Report what is wrong in an expression; return what it gives."""
        if depth > MAX_DEPTH:
            self._report(_offset(node), f"Expressions are nested more than {MAX_DEPTH} deep.")
            return TEXT
        if path := dotted(node):
            return self._name(path, _start(node))
        if isinstance(node, nodes.Const):
            return TEXT if isinstance(node.value, str) else NUMBER
        if isinstance(node, nodes.Filter):
            return self._filter(node, depth)
        if isinstance(node, nodes.CondExpr) and node.expr2 is None:
            self._report(_start(node), "An inline if needs an else.")
        if isinstance(node, _JOINERS):
            for child in node.iter_child_nodes():
                if self._expression(child, depth + 1) == LIST and isinstance(
                    node, (nodes.Concat, nodes.CondExpr)
                ):
                    self._report(_start(child), "A list of parts must be joined first: |join.")
            return TEXT
        self._report(_start(node), _unknown_expression(node))
        return TEXT

    def _filter(self, node: nodes.Filter, depth: int) -> str:
        if node.node is None or node.name not in FILTERS:
            known = ", ".join(sorted(FILTERS))
            close = nearest(node.name, FILTERS)
            hint = f"Did you mean {close}?" if close else f"Known: {known}."
            self._report(_offset(node), f"The filter {node.name} is not available. {hint}")
            return TEXT
        takes, gives = FILTERS[node.name]
        if isinstance(node.node, nodes.Concat) and _of_others(node.node):  # it would change the fence as well
            self._report(_offset(node), f"Put the filter {node.name} on each text, before ~ joins them.")
        got = self._expression(node.node, depth + 1)
        if takes and got != takes:
            self._report(_offset(node), f"The filter {node.name} takes a {takes}, not a {got}.")
        if wrong := _wrong_arguments(node):
            self._report(_offset(node), wrong)
        return gives

    def _name(self, path: tuple[str, ...], offset: int) -> str:
        """Report a name that cannot be filled here; return what it gives."""
        root, *rest = path
        if self.loop_name and path == (self.loop_name,):
            return TEXT
        if self.loop_name and root == "loop" and len(rest) == 1 and rest[0] in LOOP:
            return LOOP[rest[0]]
        name = ".".join(path)
        message: str | None
        if root == "input":
            message = self._wrong_input(name, rest)
        elif root == "steps":
            message = self._wrong_step(name, rest)
        elif root == "repo":
            message = self._wrong_repo(name, rest)
        else:
            message = f"There is no name {name}.{self._guess(root)}"
        if message:
            self._report(offset, message)
        return LIST if root == "steps" and rest[1:] == ["parts"] else TEXT

    def _wrong_input(self, name: str, rest: list[str]) -> str:
        if not rest:
            why = self.refused.get("input")
            return f"{name} cannot be used here: {why}." if why else ""
        if why := self.refused.get(f"input.{rest[0]}"):
            return f"{name} cannot be used here: {why}."
        if rest[0] not in self.inputs:
            known = did_you_mean(f"input.{rest[0]}", {f"input.{field}" for field in self.inputs})
            return f"There is no input field {rest[0]}.{known}"
        return f"{name}: an input field has nothing below it; write input.{rest[0]}." if len(rest) > 1 else ""

    def _wrong_step(self, name: str, rest: list[str]) -> str:
        if not rest:
            return "Say which step and which part of it: steps.<key>.content."
        key = rest[0]
        if why := self.refused.get(f"steps.{key}") or self.refused.get("steps"):
            return f"{name} cannot be used here: {why}."
        if key not in self.earlier:
            known = did_you_mean(f"steps.{key}.content", {f"steps.{other}.content" for other in self.earlier})
            return f"There is no earlier step {key}.{known}"
        if len(rest) == 1:
            return f"Say which part of the step: steps.{key}.content, .parts or .notes."
        if rest[1] in FURTHER and (why := self.refused.get(f"steps.{key}.{rest[1]}")):
            return f"{name} cannot be used here: {why}."
        if rest[1] not in (*PARTS, *FURTHER):
            known = did_you_mean(f"steps.{key}.{rest[1]}", {f"steps.{key}.{part}" for part in PARTS})
            return f"A step has no {rest[1]}.{known}"
        return f"{name}: nothing stands below steps.{key}.{rest[1]}." if len(rest) > 2 else ""

    def _wrong_repo(self, name: str, rest: list[str]) -> str:
        if why := self.refused.get("repo"):
            return f"{name} cannot be used here: {why}."
        if len(rest) != 1 or rest[0] not in REPO:
            return f"There is no name {name}. There are repo.tree and repo.guide."
        return ""

    def _guess(self, root: str) -> str:
        """Return a sentence with the name that was meant, for a word that is neither input nor steps."""
        if close := nearest(root, self.inputs):
            return f" Did you mean input.{close}?"
        if close := nearest(root, self.earlier):
            return f" Did you mean steps.{close}.content?"
        if close := nearest(root, ("input", "inputs", "step", "steps")):
            return f" Did you mean {'input' if close.startswith('input') else 'steps'}?"
        return " Names begin with input. or steps."


def _of_others(node: nodes.Node) -> bool:
    """Whether anything but inputs is named in it."""
    return any(name.name != "input" for name in node.find_all(nodes.Name))


def _wrong_arguments(node: nodes.Filter) -> str:
    """Return why a filter's arguments are refused. Constants only: a value there could be anything."""
    values = [arg.value if isinstance(arg, nodes.Const) else None for arg in node.args]
    if node.kwargs or node.dyn_args or node.dyn_kwargs:
        return f"The filter {node.name} takes no named arguments."
    if node.name == "truncate":
        number = values[0] if len(values) == 1 else None
        ok = isinstance(number, int) and not isinstance(number, bool) and number >= 10
        return "" if ok else "Write truncate with a number of characters, at least 10: truncate(2000)."
    if node.name == "join":
        ok = not values or (len(values) == 1 and isinstance(values[0], str) and len(values[0]) <= 200)
        return "" if ok else 'Write join with one short text, or none: join("\\n\\n").'
    return f"The filter {node.name} takes no arguments." if values else ""


def _unknown_expression(node: nodes.Node) -> str:
    if isinstance(node, nodes.Call):
        return "Calls are not available in prompts."
    if isinstance(node, nodes.Test):
        return "Tests (is ...) are not available; {% if input.field %} asks whether there is a text."
    if isinstance(node, nodes.BinExpr):
        return "Arithmetic is not available in prompts."
    if isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return "Only names like input.field and steps.key.content can be read; no indexes or attributes."
    return "This expression is not available in prompts."
