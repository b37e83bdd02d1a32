"""Mermaid source that models write, read by a small parser: `flowchart` (or `graph`) and `sequenceDiagram`.

Only the part of the language that says what is connected with what is known. What does not parse is no error: the
block is then shown as code. Styles, links and scripts in the source have no effect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MOST_NODES = 40
MOST_EDGES = 120
LONGEST = 20_000  # characters of source


@dataclass(frozen=True)
class Edge:
    frm: str
    to: str
    label: str = ""
    dashed: bool = False
    head: bool = True


@dataclass
class Flowchart:
    across: bool  # from left to right; else from top to bottom
    nodes: dict[str, str] = field(default_factory=dict)  # id: label
    round: set[str] = field(default_factory=set)  # ids that are drawn with round ends
    edges: list[Edge] = field(default_factory=list)


@dataclass(frozen=True)
class Line:
    """One row of a sequence diagram: a message, or with `kind` a note over participants, or a mark across all."""

    frm: str
    to: str
    text: str
    dashed: bool = False
    kind: str = "message"  # message, note, mark


@dataclass
class SequenceDiagram:
    actors: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)


class Unreadable(ValueError):
    """A line that the parser does not know."""


def parse(source: str) -> Flowchart | SequenceDiagram | None:
    """The diagram of a block, None where it is none of the known kinds or holds anything that is not known."""
    # Single spaces: long runs of them would make the patterns slow.
    lines = [" ".join(line.split()).rstrip("; ") for line in source[: LONGEST + 1].splitlines()]
    lines = [line for line in lines if line and not line.startswith("%%")]
    if not lines or len(source) > LONGEST:
        return None
    first = lines[0].split()
    try:
        if first[0] in ("flowchart", "graph"):
            return _flowchart(first[1:], lines[1:])
        if first == ["sequenceDiagram"]:
            return _sequence(lines[1:])
    except Unreadable:
        return None  # shown as code
    return None


# --- flowchart ------------------------------------------------------------------------------------------------

_IGNORED = re.compile(r"(?:classDef|class|style|linkStyle|click|direction|accTitle|accDescr)\b")
_NODE = re.compile(
    r"(?P<id>[A-Za-z_][\w.-]*?)(?=[\[({>&\s]|--|==|-\.|$|:::)"
    r"(?P<shape>\(\[.*?\]\)|\[\[.*?\]\]|\[\(.*?\)\]|\(\(.*?\)\)|\{\{.*?\}\}|\[\".*?\"\]|\(\".*?\"\)|\{\".*?\"\}"
    r"|\[.*?\]|\(.*?\)|\{.*?\})?"
    r"(?::::\w+)?"
)
_LINK = re.compile(
    r"\s*(?P<back><)?(?:"
    r"(?P<a>--|==|-\.)\s*(?P<said>[^-=.>|\s][^>|]*?)\s*(?P<b>--+|==+|\.-)(?P<head1>[>ox])?"
    r"|(?P<line>--+|==+|-\.+-)(?P<head2>[>ox])?"
    r")(?:\s*\|(?P<piped>[^|]*)\|)?\s*"
)
_SUBGRAPH = re.compile(r"subgraph\s+(?:(?P<id>[\w.-]+)\s*\[(?P<label>.*)\]|(?P<title>.+))$")


def _flowchart(head: list[str], lines: list[str]) -> Flowchart:
    chart = Flowchart(across=bool(head) and head[0] in ("LR", "RL"))
    titles: dict[str, str] = {}
    depth = 0
    for line in lines:
        group = _SUBGRAPH.match(line)
        if group:
            depth += 1
            name = group["id"] or group["title"].strip()
            titles[name] = _label(group["label"] or group["title"])
        elif line == "end" and depth:
            depth -= 1
        elif not _IGNORED.match(line):
            _statement(chart, line)
    for name, title in titles.items():  # an edge may lead to a whole group
        if chart.nodes.get(name) == name:
            chart.nodes[name] = title
    if depth or not chart.nodes:
        raise Unreadable
    return chart


def _statement(chart: Flowchart, line: str) -> None:
    """`a & b -->|label| c --> d`"""
    at, before, link = 0, list[str](), None
    while True:
        at, names = _names(chart, line, at)
        if link is not None:
            if len(chart.edges) + len(before) * len(names) > MOST_EDGES:
                raise Unreadable(line)  # before they are made: a line can ask for millions
            chart.edges += [_edge(frm, to, link) for frm in before for to in names]
        if at >= len(line):
            return
        link = _LINK.match(line, at)
        if link is None or link.end() == at:
            raise Unreadable(line)
        at, before = link.end(), names


def _names(chart: Flowchart, line: str, at: int) -> tuple[int, list[str]]:
    names = []
    while True:
        node = _NODE.match(line, at)
        if node is None or not node["id"]:
            raise Unreadable(line)
        name, shape = node["id"], node["shape"] or ""
        chart.nodes.setdefault(name, name)
        if shape:
            chart.nodes[name] = _label(shape)
            if shape[0] in "({" or shape.startswith("[("):
                chart.round.add(name)
        if len(chart.nodes) > MOST_NODES:
            raise Unreadable(line)
        names.append(name)
        at = node.end()
        more = re.compile(r"\s*&\s*").match(line, at)
        if more is None:
            rest = re.compile(r"\s*$").match(line, at)
            return (len(line) if rest else at), names
        at = more.end()


def _edge(frm: str, to: str, link: re.Match[str]) -> Edge:
    said = link["said"] or link["piped"] or ""
    dashed = "." in (link["a"] or link["line"] or "")
    return Edge(frm, to, _label(said), dashed, head=bool(link["head1"] or link["head2"]))


def _label(text: str) -> str:
    """The words of a shape: without its brackets and quotes, line breaks as spaces, no markup."""
    return _words(text.strip().strip("[](){}/\\").strip().strip('"').strip())


def _words(text: str) -> str:
    text = re.sub(r"<br\s*/?>|\\n", " ", text)
    return " ".join(re.sub(r"</?\w[^<>]*>|[`*]", "", text).split())


# --- sequence diagram -----------------------------------------------------------------------------------------

_ACTOR = re.compile(r"(?:create\s+)?(?:participant|actor)\s+(?P<id>[\w. -]+?)(?:\s+as\s+(?P<label>.+))?$")
_MESSAGE = re.compile(
    r"(?P<frm>[\w. ]+?)\s*(?P<arrow><<->>|<<-->>|-->>|->>|-->|->|--x|-x|--\)|-\))\s*[+-]?\s*"
    r"(?P<to>[\w. ]+?)\s*:\s*(?P<text>.*)$"
)
_NOTE = re.compile(r"[Nn]ote\s+(?:over|right of|left of)\s+(?P<who>[\w. ,]+?)\s*:\s*(?P<text>.*)$")
_MARK = re.compile(r"(?P<word>loop|alt|else|opt|par|and|critical|option|break|end|rect)\b\s*(?P<text>.*)$")
_SILENT = re.compile(r"(?:activate|deactivate|autonumber|destroy|box|title|accTitle|accDescr)\b")


def _sequence(lines: list[str]) -> SequenceDiagram:
    made = SequenceDiagram()
    for line in lines:
        if actor := _ACTOR.match(line):
            made.actors[actor["id"].strip()] = _words(actor["label"] or actor["id"])
        elif note := _NOTE.match(line):
            who = [name.strip() for name in note["who"].split(",")]
            _add(made, Line(who[0], who[-1], _words(note["text"]), kind="note"))
        elif message := _MESSAGE.match(line):
            dashed = "--" in message["arrow"]
            _add(made, Line(message["frm"].strip(), message["to"].strip(), _words(message["text"]), dashed))
        elif mark := _MARK.match(line):
            shown = "" if mark["word"] == "rect" else _words(mark["text"])
            made.lines.append(Line("", "", f"{mark['word']} {shown}".strip(), kind="mark"))
        elif not _SILENT.match(line):
            raise Unreadable(line)
    if not made.lines or len(made.actors) > MOST_NODES or len(made.lines) > MOST_EDGES:
        raise Unreadable
    return made


def _add(made: SequenceDiagram, line: Line) -> None:
    for name in (line.frm, line.to):
        made.actors.setdefault(name, name)
    made.lines.append(line)
