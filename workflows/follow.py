"""A run as one watches it from a terminal: its rows, read again and again, as lines or as a moving picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from nyxcore import ui
from nyxcore.shell import Teller, flat
from nyxcore.shell import duration as duration
from nyxcore.states import ENDED, Reason, Status
from workflows.decide import DONE
from workflows.models import Cause, Workflow

S = Status
TAIL = 1_200  # code points of a text that is being written
TAIL_LINES = 6
SIGNS = {
    S.PENDING: ("·", "dim"),
    S.WAITING: ("?", "yellow"),
    S.CUT_OFF: ("✂", "yellow"),
    S.COMPLETED: ("✓", "green"),
    S.FAILED: ("✗", "red"),
    S.CANCELLED: ("⊘", "dim"),
    S.SKIPPED: ("»", "dim"),
    S.PAUSED: ("‖", "yellow"),
}
STEPS = """
SELECT s.position, s.title, s.status, s.reason,
       extract(epoch FROM coalesce(s.finished_at, clock_timestamp()) - s.started_at)::float8,
       a.number, a.cause, a.status, extract(epoch FROM clock_timestamp() - a.queued_at)::float8,
       a.input_tokens + a.output_tokens, a.error,
       CASE WHEN a.status = 'running' THEN char_length(a.output) END,
       CASE WHEN a.status = 'running' THEN right(a.output, %s) END
  FROM workflows_step s LEFT JOIN LATERAL (
       SELECT * FROM workflows_stepattempt a WHERE a.step_id = s.id AND a.branch = '' ORDER BY a.number DESC LIMIT 1
  ) a ON true
 WHERE s.workflow_id = %s ORDER BY s.position
"""
RUN = """
SELECT w.name, w.status, w.reason,
       extract(epoch FROM coalesce(w.finished_at, clock_timestamp()) - w.started_at)::float8
  FROM workflows_workflow w WHERE w.id = %s
"""


@dataclass(frozen=True)
class StepNow:
    """A step and its newest attempt, with times in seconds by the database's clock."""

    position: int
    title: str
    status: str
    reason: str
    seconds: float | None
    number: int | None = None
    cause: str | None = None
    attempt: str | None = None  # its status
    queued: float | None = None  # for so long; negative: back-off, so long to go
    tokens: int | None = None
    error: str | None = None
    written: int | None = None  # code points of a text that is being written
    tail: str | None = None

    @property
    def is_queued(self) -> bool:
        return self.status == S.RUNNING and self.attempt == S.PENDING

    @property
    def remark(self) -> str:
        """Its state in words."""
        if self.is_queued:
            if (self.queued or 0.0) < 0:
                return f"tried again in {duration(-(self.queued or 0.0))}"
            return "queued"
        if self.status == S.RUNNING and self.number and self.number > 1:
            return f"running, attempt {self.number} ({Cause(self.cause or Cause.START).label})"
        return str(Status(self.status).label).lower()

    @property
    def why(self) -> str:
        if self.status not in (S.FAILED, S.CUT_OFF):
            return ""
        return self.error or label_of(self.reason)


@dataclass(frozen=True)
class RunNow:
    """A workflow at one moment."""

    pk: int
    name: str
    status: str
    reason: str
    seconds: float | None
    steps: tuple[StepNow, ...]

    @property
    def stands(self) -> bool:
        """True when nothing goes on without a person: it has ended, or it is paused and nothing streams."""
        at_work = any(step.attempt in (S.PENDING, S.RUNNING) for step in self.steps)
        return self.status in ENDED or (self.status == S.PAUSED and not at_work)

    @property
    def done(self) -> int:
        return sum(step.status in DONE for step in self.steps)


def look(pk: int, *, tail: int = 0) -> RunNow:
    """The run as its rows have it now; Workflow.DoesNotExist when it is gone."""
    with connection.cursor() as cursor:
        cursor.execute(RUN, [pk])
        run = cursor.fetchone()
        if run is None:
            raise Workflow.DoesNotExist(f"Workflow {pk} is gone.")
        cursor.execute(STEPS, [tail, pk])
        name, status, reason, seconds = run
        return RunNow(pk, name, status, reason, seconds, tuple(StepNow(*row) for row in cursor.fetchall()))


def label_of(reason: str) -> str:
    return str(Reason(reason).label) if reason in Reason.values else reason


class Lines:
    """One line for each change. For pipes and files: a text is not repeated while it is written."""

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self._before: dict[int, tuple[Any, ...]] = {}

    def show(self, now: RunNow) -> None:
        for step in now.steps:
            key = (step.status, step.reason, step.number, step.attempt)
            if key != self._before.get(step.position, (S.PENDING, "", None, None)):
                self.teller.say(_line(step, len(now.steps)))
            self._before[step.position] = key

    def close(self) -> None:
        return


def _line(step: StepNow, total: int) -> str:
    parts = [step.remark]
    if step.status in DONE and step.seconds is not None:
        parts += [f"{step.tokens:,} tokens"] if step.tokens else []
        parts.append(duration(step.seconds))
    said = ", ".join(parts) + (f": {step.why}" if step.why else "")
    return f"step {step.position}/{total} {step.title}: {said}"


class Screen:
    """A picture in the terminal: the steps, how far they are, and the end of the text that is being written."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._now: RunNow | None = None
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=8)
        self._live.start()

    def show(self, now: RunNow) -> None:
        self._now = now

    def close(self) -> None:
        self._live.stop()

    def _picture(self) -> RenderableType:
        now = self._now
        if now is None:
            return Text("")
        tail = self._tail(now)
        shown, above, below = _window(now.steps, max(self.console.height - len(tail) - 5, 3))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(justify="right", style="dim")
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", style="dim", no_wrap=True)
        for step in shown:
            table.add_row(*self._cells(step))
        parts: list[RenderableType] = [_head(now)]
        parts += [Text(f"  … {above} above", style="dim")] if above else []
        parts.append(table)
        parts += [Text(f"  … {below} below", style="dim")] if below else []
        return Group(*parts, *tail)

    def _cells(self, step: StepNow) -> list[RenderableType]:
        sign, style = SIGNS.get(Status(step.status), ("·", "dim"))
        mark: RenderableType = Text(sign, style=style)
        if step.status == S.RUNNING:
            mark, style = (Text("·"), "") if step.is_queued else (self._spinner, "bold")
        measure = (
            f"{step.written:,} characters"
            if step.written
            else f"{step.tokens:,} tokens"
            if step.tokens
            else ""
        )
        time = duration(step.seconds) if step.seconds is not None else ""
        why = f": {step.why}" if step.why else ""
        title = Text(flat(step.title), style=style if step.status not in (S.COMPLETED,) else "")
        cells = [mark, Text(str(step.position)), title, Text(flat(f"{step.remark}{why}"), style=style)]
        return [*cells, Text("  ".join(filter(None, [measure, time])))]

    def _tail(self, now: RunNow) -> list[Text]:
        """The last lines of what the first streaming step writes."""
        step = next((step for step in now.steps if step.tail), None)
        if step is None or self.console.height < 16:
            return []
        text = Text(ui.printable(step.tail or "").expandtabs(4), style="dim")
        lines = text.wrap(self.console, max(self.console.width - 2, 10))
        return [Text(""), *(Text("│ ", style="dim").append_text(line) for line in lines[-TAIL_LINES:])]


def _head(now: RunNow) -> Text:
    """Progress, name and time in one line."""
    cells = 20
    full = round(cells * now.done / max(len(now.steps), 1))
    said = f" {now.done} of {len(now.steps)}  {flat(now.name)}: {str(Status(now.status).label).lower()}"
    time = f"  {duration(now.seconds)}" if now.seconds is not None else ""
    return Text.assemble(
        ("━" * full, "green"), ("━" * (cells - full), "dim"), said, (time, "dim"), no_wrap=True
    )


def _window(steps: Sequence[StepNow], room: int) -> tuple[Sequence[StepNow], int, int]:
    """The steps to show, from two before the first one not done, and how many there are above and below."""
    if len(steps) <= room:
        return steps, 0, 0
    first = next((place for place, step in enumerate(steps) if step.status not in DONE), len(steps))
    start = max(0, min(first - 2, len(steps) - room))
    return steps[start : start + room], start, len(steps) - start - room
