"""The drawing of a workflow's steps as SVG: layers from left to right, wrapped like text, every node a link.

Few steps are drawn with their titles and durations, more as numbered nodes with a bar for the duration, hundreds as
small squares. The critical path (the chain of needs that took longest) is drawn in bold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from html import escape
from itertools import pairwise

from django.utils.safestring import SafeString, mark_safe

from nyxcore import ui
from nyxcore.words import counted
from workflows.lines import StepLine

SWEEPS = 4  # passes that put each node near the nodes it hangs on
LABEL = 16  # characters
LATER_OVER = 300  # steps; a larger drawing comes after the page, which is there sooner
WIDE = 1150  # px; what is wider goes on in the next band
MARGIN = 14
TURN = 8  # px beside a node where a line to another band turns

Structure = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Size:
    width: int
    height: int
    gap_x: int
    gap_y: int
    rows: int  # more nodes of one layer stand in several columns
    up_to: int  # steps


NODE = Size(150, 42, 36, 12, 5, 24)
CHIP = Size(50, 26, 16, 10, 6, 150)
DOT = Size(14, 14, 8, 5, 12, 10_000)


@dataclass(frozen=True)
class Layout:
    spots: dict[str, tuple[int, int]]
    edges: dict[tuple[str, str], str]  # (need, step) -> path
    width: int
    height: int
    frames: list[Frame] = field(default_factory=list)


@dataclass(frozen=True)
class Frame:
    """Around the columns of one layer whose steps all follow the same: one line leads to it, not one to each."""

    x: int
    y: int
    width: int
    height: int
    keys: frozenset[str]
    followed: bool  # whoever follows one of them follows all

    @property
    def left(self) -> tuple[int, int]:
        return self.x, self.y + self.height // 2

    @property
    def right(self) -> tuple[int, int]:
        return self.x + self.width, self.y + self.height // 2


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


# --- layout ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def layout(structure: Structure, size: Size) -> Layout:
    """Where each node stands. It follows from keys and needs alone, so a run's is made once."""
    by_layer = layers(structure)
    columns = [column for layer in by_layer for column in _columns(layer, size.rows)]
    step_x, step_y = size.width + size.gap_x, size.height + size.gap_y
    in_band = max(1, (WIDE - 2 * MARGIN + size.gap_x) // step_x)
    spots: dict[str, tuple[int, int]] = {}
    bottoms: dict[str, int] = {}
    top = MARGIN
    for start in range(0, len(columns), in_band):
        band = columns[start : start + in_band]
        tallest = max(map(len, band))
        for place, column in enumerate(band):
            first = top + (tallest - len(column)) * step_y // 2
            for index, key in enumerate(column):
                spots[key] = (MARGIN + place * step_x, first + index * step_y)
                bottoms[key] = top + tallest * step_y
        top += tallest * step_y + size.gap_y
    frames = list(_frames(by_layer, structure, spots, bottoms, size))
    ends = _Ends(spots, size, frames)
    edges = {
        (need, key): _edge(ends.out(need), ends.into(key), bottoms[need], bottoms[key], size)
        for key, before in structure
        for need in before
        if need in spots
    }
    width = 2 * MARGIN + min(len(columns), in_band) * step_x - size.gap_x
    height = max(top - 2 * size.gap_y, 0) + MARGIN
    return Layout(spots, edges, max(width, 2 * MARGIN), height, frames)


def _frames(
    by_layer: list[list[str]],
    structure: Structure,
    spots: dict[str, tuple[int, int]],
    bottoms: dict[str, int],
    size: Size,
) -> Iterator[Frame]:
    """Of the layers that stand in several columns of one band, those that fan out from the same steps."""
    needs = {key: frozenset(before) for key, before in structure}
    for layer in by_layer:
        if len(layer) <= size.rows or len({needs[key] for key in layer}) > 1:
            continue
        if len({bottoms[key] for key in layer}) > 1:
            continue  # it goes on in the next band
        xs, ys = zip(*(spots[key] for key in layer), strict=True)
        pad = min(size.gap_x, size.gap_y) // 2
        keys = frozenset(layer)
        yield Frame(
            min(xs) - pad, min(ys) - pad, max(xs) - min(xs) + size.width + 2 * pad,
            max(ys) - min(ys) + size.height + 2 * pad, keys,
            all(keys <= before or not keys & before for before in needs.values()),
        )  # fmt: skip


class _Ends:
    """Where the lines of a step begin and end: at itself, or at the frame that it stands in."""

    def __init__(self, spots: dict[str, tuple[int, int]], size: Size, frames: Sequence[Frame]) -> None:
        self.spots, self.size = spots, size
        self.frame = {key: frame for frame in frames for key in frame.keys}

    def out(self, key: str) -> tuple[int, int]:
        frame, (x, y) = self.frame.get(key), self.spots[key]
        return frame.right if frame and frame.followed else (x + self.size.width, y + self.size.height // 2)

    def into(self, key: str) -> tuple[int, int]:
        frame, (x, y) = self.frame.get(key), self.spots[key]
        return frame.left if frame else (x, y + self.size.height // 2)


def _columns(layer: list[str], most: int) -> list[list[str]]:
    count = -(-len(layer) // most)
    each = -(-len(layer) // count)
    return [layer[start : start + each] for start in range(0, len(layer), each)]


def _edge(frm: tuple[int, int], to: tuple[int, int], from_band: int, to_band: int, size: Size) -> str:
    """A curve to a later column; to a later band, a line through the gaps between columns and bands."""
    (from_x, from_y), (x, y) = frm, to
    if from_band == to_band and x > from_x:
        bend = min(size.gap_x, x - from_x) // 2
        return f"M{from_x} {from_y}C{from_x + bend} {from_y} {x - bend} {y} {x} {y}"
    turn = min(TURN, size.gap_x // 2)
    out, into, gutter = from_x + turn, x - turn, from_band - size.gap_y // 4
    return f"M{from_x} {from_y}H{out}V{gutter}H{into}V{y}H{x}"


# --- the critical path ----------------------------------------------------------------------------------------


def took(line: StepLine) -> float:
    """Seconds that a step has run, as far as is known."""
    if line.took is not None:
        return line.took
    if line.since and not line.is_queued:
        return max(0.0, (line.now - line.since).total_seconds())
    return 0.0


def critical_path(lines: Sequence[StepLine]) -> tuple[list[StepLine], float]:
    """The chain of needs whose steps ran longest together, and how long; nothing while nothing has run."""
    by_key = {line.key: line for line in lines}
    ends: dict[str, float] = {}
    before: dict[str, str] = {}
    for line in lines:
        last = max((need for need in line.needs if need in ends), key=ends.__getitem__, default="")
        ends[line.key] = took(line) + ends.get(last, 0.0)
        before[line.key] = last
    key = max(ends, key=ends.__getitem__, default="")
    total = ends.get(key, 0.0)
    chain: list[StepLine] = []
    while key and total:
        chain.append(by_key[key])
        key = before[key]
    return chain[::-1], total


# --- SVG ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    svg: SafeString
    caption: str


_drawn: dict[tuple[tuple[str, str], ...], Drawing] = {}  # of runs whose steps stand still
DRAWN_KEPT = 16


def drawn(lines: Sequence[StepLine]) -> Drawing:
    """The SVG and its sentence; those of a run that stands still are made once."""
    told = tuple([(line.seal, line.status_word) for line in lines])
    made = _drawn.get(told)
    if made is None:
        made = Drawing(draw(lines), caption(lines))
        if all(seal and word != "Running" for seal, word in told):  # else it changes with the time
            if len(_drawn) >= DRAWN_KEPT:
                _drawn.clear()
            _drawn[told] = made
    return made


def draw(lines: Sequence[StepLine]) -> SafeString:
    """The SVG of a workflow's steps. Screen readers get words instead (see `describe`)."""
    size = next(size for size in (NODE, CHIP, DOT) if len(lines) <= size.up_to)
    made = layout(tuple((line.key, tuple(line.needs)) for line in lines), size)
    chain, _total = critical_path(lines)
    bold = {line.key for line in chain} if len(chain) < len(lines) else set()
    pairs = {(a.key, b.key) for a, b in pairwise(chain)} if bold else set()
    thick_paths = dict.fromkeys(made.edges[pair] for pair in pairs if pair in made.edges)
    thick = "".join(thick_paths)
    plain = "".join(path for path in dict.fromkeys(made.edges.values()) if path not in thick_paths)
    frames = "".join(
        f'<rect class="frame" x="{frame.x}" y="{frame.y}" width="{frame.width}" height="{frame.height}" rx="8"/>'
        for frame in made.frames
    )
    longest = max((took(line) for line in lines), default=0.0)
    make = {NODE: _node, CHIP: _chip, DOT: _dot}[size]
    nodes = "".join(make(line, *made.spots[line.key], line.key in bold, longest) for line in lines)
    return mark_safe(
        f'<svg class="graph" viewBox="0 0 {made.width} {made.height}" width="{made.width}" height="{made.height}"'
        f' aria-hidden="true">{frames}<path class="edges" d="{plain}"/>'
        f'<path class="edges critical" d="{thick}"/>{nodes}</svg>'
    )


def _node(line: StepLine, x: int, y: int, bold: bool, longest: float) -> str:
    title = ui.printable(line.title)
    label = title if len(title) <= LABEL else title[: LABEL - 1].rstrip() + "…"
    running = line.since is not None and line.took is None and not line.is_queued
    since = f' data-since="{line.since.isoformat()}"' if running and line.since else ""
    time = ui.duration(took(line)) if running or line.took is not None else ""
    return (
        f"{_link(line, bold)}"
        f'<rect x="{x}" y="{y}" width="{NODE.width}" height="{NODE.height}" rx="6"/>'
        f'<use href="#s-{line.status}" x="{x + 9}" y="{y + 14}" width="14" height="14"/>'
        f'<text x="{x + 30}" y="{y + (18 if time else 25)}">{escape(label)}</text>'
        f'<text class="took" x="{x + 30}" y="{y + 33}"{since}>{time}</text></a>'
    )


def _chip(line: StepLine, x: int, y: int, bold: bool, longest: float) -> str:
    bar = round((CHIP.width - 8) * took(line) / longest) if longest else 0
    shown = (
        f'<rect class="bar" x="{x + 4}" y="{y + CHIP.height - 5}" width="{bar}" height="2"/>' if bar else ""
    )
    return (
        f"{_link(line, bold)}"
        f'<rect x="{x}" y="{y}" width="{CHIP.width}" height="{CHIP.height}" rx="5"/>'
        f'<use href="#s-{line.status}" x="{x + 6}" y="{y + 6}" width="12" height="12"/>'
        f'<text x="{x + 22}" y="{y + 16}">{line.position}</text>{shown}</a>'
    )


def _dot(line: StepLine, x: int, y: int, bold: bool, longest: float) -> str:
    return f'{_link(line, bold)}<rect x="{x}" y="{y}" width="{DOT.width}" height="{DOT.height}" rx="3"/></a>'


def _link(line: StepLine, bold: bool) -> str:
    time = f", {ui.duration(line.took)}" if line.took is not None else ""
    return (
        f'<a class="node{" critical" if bold else ""}" href="#step-{line.pk}" tabindex="-1"'
        f' data-status="{line.status}"><title>{line.position} {line.shown}{time}: {line.status_word}</title>'
    )


# --- words ----------------------------------------------------------------------------------------------------


def describe(lines: Sequence[StepLine]) -> list[str]:
    """The drawing in words: each step with what it comes after, its state, and how long it ran."""
    place = {line.key: line.position for line in lines}
    said = []
    for line in lines:
        before = [str(place[need]) for need in line.needs if need in place]
        after = f"after {', '.join(before)}" if before else "comes first"
        time = f", ran {ui.duration(line.took)}" if line.took is not None else ""
        said.append(f"{line.position} {ui.printable(line.title)}, {line.status_word}, {after}{time}")
    return said


def caption(lines: Sequence[StepLine]) -> str:
    """One sentence about the whole drawing."""
    stages = len(layers([(line.key, line.needs) for line in lines]))
    said = counted(len(lines), "step")
    if stages != len(lines):
        said += f" in {stages} stages"
    chain, total = critical_path(lines)
    if not chain:
        return said
    through = [str(line.position) for line in chain]
    if len(through) == len(lines):
        return f"{said}, one after the other: {ui.duration(total)}"
    named = " → ".join(through if len(through) <= 8 else [*through[:4], "…", *through[-3:]])
    return f"{said}. Critical path {ui.duration(total)}: {named}"
