"""The drawing of a workflow's steps as SVG: layers from left to right, every node a link to its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from django.utils.safestring import SafeString, mark_safe

from nyxcore import ui
from workflows.pages import StepLine

DETAILED_UP_TO = 60  # steps; more are drawn as small squares without words
SWEEPS = 4  # passes that put each node near the nodes it hangs on
LABEL = 14  # characters


@dataclass(frozen=True)
class Size:
    width: int
    height: int
    gap_x: int
    gap_y: int


NODE = Size(144, 34, 34, 12)
DOT = Size(14, 14, 8, 5)
MARGIN = 6


def layers(needs: Sequence[tuple[str, Sequence[str]]]) -> list[list[str]]:
    """Put each step one layer after the last of its needs; inside a layer near the steps it hangs on."""
    depth: dict[str, int] = {}
    for key, before in needs:  # in order of position, so needs come first
        depth[key] = 1 + max((depth[need] for need in before if need in depth), default=-1)
    rows: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for key, _before in needs:
        rows[depth[key]].append(key)
    if max(map(len, rows), default=0) > 1:
        _untangle(rows, dict(needs))
    return rows


def _untangle(rows: list[list[str]], needs: dict[str, Sequence[str]]) -> None:
    """Order each layer by the mean place of its neighbours, forth and back: fewer edges cross."""
    followers: dict[str, list[str]] = {key: [] for key in needs}
    for key, before in needs.items():
        for need in before:
            if need in followers:
                followers[need].append(key)
    for turn in range(SWEEPS):
        forth = turn % 2 == 0
        place = {key: index for row in rows for index, key in enumerate(row)}
        for row in rows if forth else reversed(rows):
            near = {
                key: [place[n] for n in (needs if forth else followers)[key] if n in place] for key in row
            }
            row.sort(key=lambda key: sum(near[key]) / len(near[key]) if near[key] else place[key])
            place.update((key, index) for index, key in enumerate(row))


def draw(lines: Sequence[StepLine]) -> SafeString:
    """The SVG of a workflow's steps. Screen readers get the words beside it instead (see `describe`)."""
    size = NODE if len(lines) <= DETAILED_UP_TO else DOT
    rows = layers([(line.key, line.needs) for line in lines])
    tallest = max(map(len, rows), default=0)
    spots: dict[str, tuple[int, int]] = {}
    for column, row in enumerate(rows):
        x = MARGIN + column * (size.width + size.gap_x)
        top = MARGIN + (tallest - len(row)) * (size.height + size.gap_y) // 2
        for index, key in enumerate(row):
            spots[key] = (x, top + index * (size.height + size.gap_y))
    width = 2 * MARGIN + len(rows) * (size.width + size.gap_x) - size.gap_x
    height = 2 * MARGIN + tallest * (size.height + size.gap_y) - size.gap_y
    edges = "".join(_edges(line, spots, size) for line in lines)
    make = _node if size is NODE else _dot
    nodes = "".join(make(line, *spots[line.key]) for line in lines)
    return mark_safe(
        f'<svg class="graph" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">'
        f'<path class="edges" d="{edges}"/>{nodes}</svg>'
    )


def _edges(line: StepLine, spots: dict[str, tuple[int, int]], size: Size) -> str:
    """Curves from the needs of a step to it, as pieces of one path."""
    x, y = spots[line.key]
    end = y + size.height // 2
    pieces = []
    for need in line.needs:
        if need in spots:
            from_x, from_y = spots[need][0] + size.width, spots[need][1] + size.height // 2
            bend = min(size.gap_x, x - from_x) // 2
            pieces.append(f"M{from_x} {from_y}C{from_x + bend} {from_y} {x - bend} {end} {x} {end}")
    return "".join(pieces)


def _node(line: StepLine, x: int, y: int) -> str:
    title = ui.printable(line.title)
    label = title if len(title) <= LABEL else title[: LABEL - 1].rstrip() + "…"
    return (
        f"{_link(line)}"
        f'<rect x="{x}" y="{y}" width="{NODE.width}" height="{NODE.height}" rx="6"/>'
        f'<use href="#s-{line.status}" x="{x + 9}" y="{y + 10}" width="14" height="14"/>'
        f'<text x="{x + 29}" y="{y + 21}">{escape(label)}</text></a>'
    )


def _dot(line: StepLine, x: int, y: int) -> str:
    return f'{_link(line)}<rect x="{x}" y="{y}" width="{DOT.width}" height="{DOT.height}" rx="3"/></a>'


def _link(line: StepLine) -> str:
    return (
        f'<a class="node" href="#step-{line.pk}" tabindex="-1" data-status="{line.status}">'
        f"<title>{line.position} {line.shown}: {line.status_word}</title>"
    )


def describe(lines: Sequence[StepLine]) -> list[str]:
    """The drawing in words: each step with what it comes after."""
    place = {line.key: line.position for line in lines}
    said = []
    for line in lines:
        before = [str(place[need]) for need in line.needs if need in place]
        after = f"after {', '.join(before)}" if before else "comes first"
        said.append(f"{line.position} {ui.printable(line.title)}, {line.status_word}, {after}")
    return said
