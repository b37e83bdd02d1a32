"""The timeline of a run as SVG: a row for each step, a segment for each attempt, waits apart from run time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from django.db import connection
from django.utils.safestring import SafeString, mark_safe

from nyxcore import ui
from workflows.lines import StepLine

WIDTH, NAMES, ROW, HEAD = 1134, 220, 22, 26
LABEL = 27  # characters
# Distances between the ticks of the axis, s.
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400)

_ATTEMPTS = """
SELECT a.step_id, a.number, a.status, a.queued_at, a.started_at, a.finished_at
  FROM workflows_stepattempt a JOIN workflows_step s ON s.id = a.step_id
 WHERE s.workflow_id = %s AND a.queued_at IS NOT NULL ORDER BY s.position, a.branch, a.number
"""


@dataclass(frozen=True)
class Segment:
    """An attempt in time."""

    step_pk: int
    number: int
    status: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    def end(self, now: datetime) -> datetime:
        return self.finished_at or max(now, self.queued_at)


class Scale:
    """Seconds to pixels."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start = start
        self.seconds = max((end - start).total_seconds(), 1.0)

    def x(self, at: datetime) -> float:
        gone = (at - self.start).total_seconds()
        return round(NAMES + (WIDTH - NAMES - 40) * min(max(gone, 0.0), self.seconds) / self.seconds, 1)

    def ticks(self) -> list[int]:
        distance = next((tick for tick in TICKS if self.seconds / tick <= 9), TICKS[-1])
        distance *= max(1, round(self.seconds / distance / 9))
        return list(range(0, int(self.seconds) + 1, distance))


def segments(workflow_pk: int) -> list[Segment]:
    with connection.cursor() as cursor:
        cursor.execute(_ATTEMPTS, [workflow_pk])
        return [Segment(*row) for row in cursor.fetchall()]


def draw(workflow_pk: int, lines: Sequence[StepLine], now: datetime) -> SafeString:
    """The SVG; "" while nothing has been tried."""
    found = segments(workflow_pk)
    if not found:
        return SafeString("")
    by_step: dict[int, list[Segment]] = {}
    for segment in found:
        by_step.setdefault(segment.step_pk, []).append(segment)
    scale = Scale(min(one.queued_at for one in found), max(one.end(now) for one in found))
    shown = [line for line in lines if line.pk in by_step]
    height = HEAD + len(shown) * ROW + 6
    rows = "".join(
        _row(line, by_step[line.pk], HEAD + index * ROW, scale, now) for index, line in enumerate(shown)
    )
    return mark_safe(
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" aria-hidden="true">'
        f"{_axis(scale, height)}{rows}</svg>"
    )


def _axis(scale: Scale, height: int) -> str:
    made = []
    for second in scale.ticks():
        x = scale.x(scale.start + timedelta(seconds=second))
        made.append(f'<path class="tick" d="M{x} {HEAD - 4}V{height}"/><text class="tick" x="{x}" y="16">')
        made.append(f"{ui.duration(second)}</text>")
    return "".join(made)


def _row(line: StepLine, tried: list[Segment], y: int, scale: Scale, now: datetime) -> str:
    title = ui.printable(line.title)
    label = f"{line.position} {title}"
    cut = label if len(label) <= LABEL else label[: LABEL - 1].rstrip() + "…"
    said = "; ".join(_said(one, now) for one in tried)
    bars = "".join(_bars(one, y, scale, now) for one in tried)
    return (
        f'<a class="node" href="#step-{line.pk}" tabindex="-1" data-status="{line.status}">'
        f"<title>{line.position} {line.shown}, {said}: {line.status_word}</title>"
        f'<rect class="row" x="0" y="{y}" width="{WIDTH}" height="{ROW}"/>'
        f'<use href="#s-{line.status}" x="8" y="{y + 5}" width="12" height="12"/>'
        f'<text x="26" y="{y + 15}">{escape(cut)}</text>{bars}</a>'
    )


def _bars(one: Segment, y: int, scale: Scale, now: datetime) -> str:
    """A thin line for the wait, a block for the run; the narrowest is still seen."""
    queued, began = scale.x(one.queued_at), scale.x(one.started_at or one.end(now))
    made = (
        f'<rect class="wait" x="{queued}" y="{y + 9}" width="{max(began - queued, 0):.1f}" height="4"/>'
        if began > queued
        else ""
    )
    if one.started_at:
        width = max(scale.x(one.end(now)) - began, 2.0)
        made += (
            f'<rect class="run" data-status="{one.status}" x="{began}" y="{y + 4}" width="{width:.1f}" height="14"'
            ' rx="2"/>'
        )
    return made


def _said(one: Segment, now: datetime) -> str:
    waited = ui.seconds_between(one.queued_at, one.started_at or one.end(now))
    ran = ui.seconds_between(one.started_at, one.end(now)) if one.started_at else None
    words = f"attempt {one.number} waited {ui.duration(waited)}"
    return f"{words}, ran {ui.duration(ran)}" if ran is not None else words
