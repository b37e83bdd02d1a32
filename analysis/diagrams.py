"""Parsed diagrams as SVG: boxes in layers, or lifelines with messages. Colours are those of the text around.

There is nothing in it but shapes and escaped words: no script, no style, no link, nothing that is loaded.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from analysis.mermaid import Edge, Flowchart, Line, SequenceDiagram

CHARACTER = 7.2  # px, of 12.5 px text
ROW = 16  # px of a line of text
WRAP = 22  # characters in a box
LABEL = 28  # characters beside an edge
MARGIN = 16
GAP_ALONG, GAP_BESIDE = 64, 26
SWEEPS = 4
COLUMN = 170  # px between two lifelines, at least
ARROW = (
    '<defs><marker id="{id}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
)


def draw(diagram: Flowchart | SequenceDiagram, name: str) -> str:
    """The SVG of a diagram; `name` makes its marker's id the only one on a page."""
    return _flow(diagram, name) if isinstance(diagram, Flowchart) else _lifelines(diagram, name)


def describe(diagram: Flowchart | SequenceDiagram) -> str:
    """The diagram in words, for those who do not see it."""
    if isinstance(diagram, Flowchart):
        said = [
            f"{diagram.nodes[edge.frm]} to {diagram.nodes[edge.to]}{f' ({edge.label})' if edge.label else ''}"
            for edge in diagram.edges
        ]
        return "Diagram: " + ("; ".join(said) or ", ".join(diagram.nodes.values()))
    said = [
        f"{diagram.actors[line.frm]} to {diagram.actors[line.to]}: {line.text}"
        for line in diagram.lines
        if line.kind == "message"
    ]
    return "Sequence: " + "; ".join(said)


# --- flowchart ------------------------------------------------------------------------------------------------


Rows = list[list[str]]
Ways = dict[Edge, list[str]]


def layers(chart: Flowchart) -> tuple[Rows, Ways]:
    """Each node one layer after the last one that leads to it; edges that close a circle do not count.

    An edge over several layers gets a place of its own in each between, so that it passes beside the boxes: its way.
    """
    forward = _without_circles(chart)
    depth = dict.fromkeys(chart.nodes, 0)
    for _ in chart.nodes:  # settles after at most so many rounds, as there is no circle left
        moved = False
        for edge in forward:
            if depth[edge.to] <= depth[edge.frm]:
                depth[edge.to] = depth[edge.frm] + 1
                moved = True
        if not moved:
            break
    rows: Rows = [[] for _ in range(1 + max(depth.values()))]
    for name in chart.nodes:
        rows[depth[name]].append(name)
    ways: Ways = {}
    for number, edge in enumerate(dict.fromkeys(chart.edges)):
        low, high = sorted((depth[edge.frm], depth[edge.to]))
        between = [f"\0{number}.{layer}" for layer in range(low + 1, high)]
        for layer, name in enumerate(between, low + 1):
            rows[layer].append(name)
        ways[edge] = [edge.frm, *(between if depth[edge.frm] == low else between[::-1]), edge.to]
    _untangle(rows, [pair for way in ways.values() for pair in pairwise(way)])
    return rows, ways


def _without_circles(chart: Flowchart) -> list[Edge]:
    """The edges without those that lead back to a node on the way to them."""
    after: dict[str, list[Edge]] = {name: [] for name in chart.nodes}
    for edge in chart.edges:
        after[edge.frm].append(edge)
    kept: list[Edge] = []
    done, on_way = set[str](), set[str]()

    def walk(name: str) -> None:
        on_way.add(name)
        for edge in after[name]:
            if edge.to not in on_way:
                kept.append(edge)
                if edge.to not in done:
                    walk(edge.to)
        on_way.discard(name)
        done.add(name)

    for name in chart.nodes:
        if name not in done:
            walk(name)
    return kept


def _untangle(rows: Rows, pairs: Sequence[tuple[str, str]]) -> None:
    """Order each layer by the mean place of its neighbours: fewer edges cross."""
    near: dict[str, list[str]] = {name: [] for row in rows for name in row}
    for one, other in pairs:
        near[one].append(other)
        near[other].append(one)
    for turn in range(SWEEPS):
        place = {name: index for row in rows for index, name in enumerate(row)}
        for row in rows if turn % 2 == 0 else rows[::-1]:
            means = {name: sum(place[n] for n in near[name]) / max(len(near[name]), 1) for name in row}
            row.sort(key=means.__getitem__)
            place.update((name, index) for index, name in enumerate(row))


def _flow(chart: Flowchart, name: str) -> str:
    text = {node: _wrapped(label, WRAP) for node, label in chart.nodes.items()}
    rows, ways = layers(chart)
    size = {node: _box(text[node]) if node in text else (GAP_BESIDE, 1.0) for row in rows for node in row}
    spots, width, height = _spots(rows, size, chart.across)
    arrow = f"arrow-{name}"
    drawn = [_link(edge, ways[edge], spots, size, chart.across, arrow) for edge in chart.edges]
    for node in chart.nodes:
        (x, y), (wide, high) = spots[node], size[node]
        radius = high / 2 if node in chart.round else 5
        drawn.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide:.0f}" height="{high:.0f}" rx="{radius:.0f}" '
            f'fill="none" stroke="currentColor"/>{_text(text[node], x + wide / 2, y + high / 2)}'
        )
    return _svg(width, height, ARROW.format(id=arrow) + "".join(drawn), describe(chart))


def _box(lines: Sequence[str]) -> tuple[float, float]:
    return max(48.0, max(map(len, lines)) * CHARACTER + 20), len(lines) * ROW + 16.0


Spots = dict[str, tuple[float, float]]


def _spots(
    rows: list[list[str]], size: dict[str, tuple[float, float]], across: bool
) -> tuple[Spots, float, float]:
    """Layer after layer along the direction of reading, each centred beside it."""
    along, beside = (0, 1) if across else (1, 0)
    spans = [sum(size[name][beside] for name in row) + GAP_BESIDE * (len(row) - 1) for row in rows]
    widest, start, spots = max(spans), float(MARGIN), Spots()
    for row, span in zip(rows, spans, strict=True):
        deep = max(size[name][along] for name in row)
        at = MARGIN + (widest - span) / 2
        for name in row:
            middle = start + (deep - size[name][along]) / 2
            spots[name] = (middle, at) if across else (at, middle)
            at += size[name][beside] + GAP_BESIDE
        start += deep + GAP_ALONG
    length, breadth = start - GAP_ALONG + MARGIN, widest + 2 * MARGIN
    return spots, *((length, breadth) if across else (breadth, length))


def _link(
    edge: Edge,
    way: Sequence[str],
    spots: Spots,
    size: dict[str, tuple[float, float]],
    across: bool,
    arrow: str,
) -> str:
    if edge.frm == edge.to:
        x, y = spots[edge.frm][0] + size[edge.frm][0], spots[edge.frm][1] + size[edge.frm][1] / 2
        path, middle = f"M{x:.0f} {y - 6:.0f}c24 -8 24 20 0 12", (x + 26, y)
    else:
        points = _points(way, spots, size, across)
        path = f"M{points[0][0]:.0f} {points[0][1]:.0f}" + "".join(
            _curve(a, b, across) for a, b in pairwise(points)
        )
        (x1, y1), (x2, y2) = points[(len(points) - 1) // 2], points[(len(points) - 1) // 2 + 1]
        middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    dash = ' stroke-dasharray="4 3"' if edge.dashed else ""
    head = f' marker-end="url(#{arrow})"' if edge.head else ""
    label = _text([_cut(edge.label, LABEL)], middle[0], middle[1] - 4, small=True) if edge.label else ""
    return f'<path d="{path}" fill="none" stroke="currentColor" opacity="0.75"{dash}{head}/>{label}'


def _points(
    way: Sequence[str], spots: Spots, size: dict[str, tuple[float, float]], across: bool
) -> list[tuple[float, float]]:
    """The middles of the places on a way, from border to border of its two boxes."""
    points = [(spots[name][0] + size[name][0] / 2, spots[name][1] + size[name][1] / 2) for name in way]
    along = 0 if across else 1
    sign = 1 if points[-1][along] >= points[0][along] else -1
    for place, turn in ((0, sign), (-1, -sign)):
        x, y = points[place]
        half = turn * size[way[place]][along] / 2
        points[place] = (x + half, y) if across else (x, y + half)
    return points


def _curve(frm: tuple[float, float], to: tuple[float, float], across: bool) -> str:
    """A curve that leaves and arrives along the direction of reading."""
    (x1, y1), (x2, y2) = frm, to
    if across:
        bend = (x2 - x1) / 2
        return f"C{x1 + bend:.0f} {y1:.0f} {x2 - bend:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    bend = (y2 - y1) / 2
    return f"C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"


# --- sequence diagram -----------------------------------------------------------------------------------------


def _lifelines(made: SequenceDiagram, name: str) -> str:
    column = {actor: index for index, actor in enumerate(made.actors)}
    step = max(COLUMN, *(_needed(line, column) for line in made.lines))
    heads = {actor: _wrapped(label, WRAP) for actor, label in made.actors.items()}
    top = MARGIN + max(len(lines) for lines in heads.values()) * ROW + 16
    at = {actor: MARGIN + step / 2 + index * step for actor, index in column.items()}
    width, height = 2 * MARGIN + step * len(column), top + 24 + 34 * len(made.lines) + MARGIN
    arrow = f"arrow-{name}"
    drawn = [ARROW.format(id=arrow)]
    for actor, x in at.items():
        wide, high = _box(heads[actor])
        drawn.append(
            f'<rect x="{x - wide / 2:.0f}" y="{MARGIN}" width="{wide:.0f}" height="{high:.0f}" rx="5" fill="none" '
            f'stroke="currentColor"/>{_text(heads[actor], x, MARGIN + high / 2)}'
            f'<path d="M{x:.0f} {MARGIN + high:.0f}V{height - MARGIN:.0f}" stroke="currentColor" opacity="0.35"/>'
        )
    for row, line in enumerate(made.lines):
        drawn.append(_row(line, at, top + 30 + 34 * row, width, arrow))
    return _svg(width, height, "".join(drawn), describe(made))


def _needed(line: Line, column: dict[str, int]) -> float:
    """How far apart lifelines must stand for a message to fit between its two."""
    if line.kind == "mark":
        return 0
    across = max(abs(column[line.to] - column[line.frm]), 1)
    return (min(len(line.text), 60) * CHARACTER + 24) / across


def _row(line: Line, at: dict[str, float], y: float, width: float, arrow: str) -> str:
    words = [_cut(line.text, 60)]
    if line.kind == "mark":
        rule = f"M{MARGIN} {y + 6:.0f}H{width - MARGIN:.0f}"
        drawn = f'<path d="{rule}" stroke="currentColor" opacity="0.5" stroke-dasharray="2 4"/>'
        return drawn + _text(words, MARGIN, y, small=True, anchor="start")
    x1, x2 = at[line.frm], at[line.to]
    if line.kind == "note":
        left, right = min(x1, x2) - 60, max(x1, x2) + 60
        box = (
            f'<rect x="{left:.0f}" y="{y - 14:.0f}" width="{right - left:.0f}" height="24" rx="2" fill="none" '
            'stroke="currentColor" opacity="0.6"/>'
        )
        return box + _text(words, (x1 + x2) / 2, y - 2, small=True)
    dash = ' stroke-dasharray="4 3"' if line.dashed else ""
    path = f"M{x1:.0f} {y - 4:.0f}h28v12h-26" if x1 == x2 else f"M{x1:.0f} {y:.0f}H{x2:.0f}"
    middle = x1 + 34 if x1 == x2 else (x1 + x2) / 2
    anchor = "start" if x1 == x2 else "middle"
    return (
        f'<path d="{path}" fill="none" stroke="currentColor"{dash} marker-end="url(#{arrow})"/>'
        f"{_text(words, middle, y - 8, small=True, anchor=anchor)}"
    )


# --- shapes ---------------------------------------------------------------------------------------------------


def _wrapped(text: str, width: int) -> list[str]:
    """At most three lines."""
    return textwrap.wrap(text, width, max_lines=3, placeholder=" …") or [""]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _text(lines: Sequence[str], x: float, y: float, *, small: bool = False, anchor: str = "middle") -> str:
    first = y - (len(lines) - 1) * ROW / 2 + 4
    size = "11.5" if small else "12.5"
    return "".join(
        f'<text x="{x:.0f}" y="{first + index * ROW:.0f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="currentColor">{escape(line)}</text>'
        for index, line in enumerate(lines)
    )


def _svg(width: float, height: float, inside: str, words: str) -> str:
    return (
        f'<svg class="diagram" role="img" aria-label="{escape(words)}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}">{inside}</svg>'
    )
