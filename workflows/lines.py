"""The lines of a run's steps, as pages show them: read in one query, and kept here until their rows change."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from html import escape
from threading import Lock
from typing import Any

from django.conf import settings
from django.db import connection
from django.urls import reverse

from nyxcore import ui
from nyxcore.llm import models as registry
from nyxcore.states import Reason, Status
from workflows.models import Cause, Workflow, live_version

S = Status
NEEDS_A_PERSON = (S.FAILED, S.CUT_OFF, S.WAITING)
DONE = (S.COMPLETED, S.SKIPPED)
SHARED = (*DONE, S.CANCELLED)  # lines that depend neither on the time nor on other steps

_LINES = """
SELECT s.id, s.workflow_id, s.position, s.key, s.title, s.kind, s.status, s.reason, s.needs,
       CASE WHEN s.finished_at IS NOT NULL THEN t.took END,
       CASE WHEN s.status IN ('running', 'waiting') THEN
            CASE a.status WHEN 'pending' THEN a.queued_at ELSE coalesce(a.started_at, s.started_at) END END,
       coalesce(a.model, s.config->>'model', ''), coalesce(a.cap, (s.config->>'max_tokens')::int, 0),
       s.version, coalesce(a.version, 0), coalesce(a.id, 0), coalesce(a.status, ''), coalesce(a.cause, ''),
       a.output_tokens, coalesce(a.sent, 0), t.cost, coalesce(t.estimated, false), coalesce(t.tokens, 0),
       coalesce(t.attempts, 0)
  FROM workflows_step s
  LEFT JOIN LATERAL (
       SELECT id, status, version, cause, queued_at, started_at, output_tokens,
              coalesce(input_tokens, 0) + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0) AS sent,
              nullif(coalesce(nullif(model, ''), request->>'model'), '') AS model,
              coalesce((request->>'max_tokens')::int, max_tokens) AS cap
         FROM workflows_stepattempt WHERE step_id = s.id AND branch = '' ORDER BY number DESC LIMIT 1) a ON true
  LEFT JOIN LATERAL (
       SELECT sum(cost) AS cost, bool_or(cost_estimated) AS estimated, count(*) AS attempts,
              extract(epoch FROM sum(finished_at - started_at))::float8 AS took,
              sum(coalesce(input_tokens, 0) + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0)
                  + coalesce(output_tokens, 0)) AS tokens
         FROM workflows_stepattempt WHERE step_id = s.id) t ON true
 WHERE s.id = ANY(%s)
"""
# Which rows a line is made of, each by its place and writer: a row that was written since has another seal.
_SEALS = """
SELECT s.id, concat(s.xmin, s.ctid, ' ', a.seal)
  FROM workflows_step s
  LEFT JOIN (SELECT step_id, string_agg(concat(xmin, ctid), ' ') AS seal FROM workflows_stepattempt
              WHERE step_id = ANY(ARRAY(SELECT id FROM workflows_step WHERE workflow_id = %s))
              GROUP BY step_id) a ON a.step_id = s.id
 WHERE s.workflow_id = %s ORDER BY s.position
"""
_VERSIONS = """
SELECT s.id, s.version, s.status, coalesce(a.version, 0)
  FROM workflows_step s
  LEFT JOIN LATERAL (
       SELECT version FROM workflows_stepattempt WHERE step_id = s.id AND branch = '' ORDER BY number DESC LIMIT 1) a
    ON true
 WHERE s.workflow_id = %s
"""


@dataclass(slots=True)
class StepLine:
    """One step as a closed line shows it."""

    pk: int
    workflow_pk: int
    position: int
    key: str
    title: str
    kind: str
    status: str
    reason: str
    needs: list[str]
    took: float | None  # s that the attempts of an ended step ran, waits between them left out
    since: datetime | None  # an open attempt runs or waits since then, or may begin at that time
    model: str
    cap: int
    version: int
    attempt_version: int
    attempt_pk: int
    attempt_status: str
    cause: str
    output_tokens: int | None
    sent: int  # tokens of the prompt of the newest attempt
    cost: Decimal | None
    estimated: bool
    tokens: int
    attempts: int
    now: datetime = field(kw_only=True)
    seal: str = ""  # of the rows that this line was read from
    html: str = ""  # of the closed line, and its pill: kept with lines that are shared
    pill: str = ""
    after: list[int] = field(default_factory=list)  # positions of the needs that are not done yet

    @property
    def dom_id(self) -> str:
        return f"step-{self.pk}"

    @property
    def live_version(self) -> int:
        return live_version(self.version, self.attempt_version)

    @property
    def url(self) -> str:
        return f"{base_url(self.workflow_pk)}steps/{self.pk}/"

    @property
    def shown(self) -> str:
        """The title as HTML."""
        return _shown(self.title)

    @property
    def is_queued(self) -> bool:
        return self.status == S.RUNNING and self.attempt_status == S.PENDING

    @property
    def is_at_work(self) -> bool:
        return self.status == S.RUNNING and not self.is_queued

    @property
    def backs_off(self) -> bool:
        """Waits for a time of its own before it is tried again, not for a worker."""
        return self.is_queued and self.since is not None and self.since > self.now

    @property
    def status_word(self) -> str:
        if self.backs_off:
            return "Trying again"
        return "Queued" if self.is_queued else ui.status_word(self.status)

    @property
    def more_room(self) -> int:
        """Twice the tokens, at most what the model allows; 0 where the limit is reached already."""
        more = registry.clamp_max_tokens(self.model, self.cap * 2)
        return more if more > self.cap else 0

    @property
    def needs_a_person(self) -> bool:
        return self.status in NEEDS_A_PERSON

    @property
    def remark(self) -> str:
        """What the line says beside the badge: why, or what it waits for."""
        if self.status == S.CUT_OFF and self.reason == Reason.CUT_MAX_TOKENS and self.cap:
            return f"hit {self.output_tokens or self.cap:,} of {self.cap:,} tokens"
        if self.status == S.PENDING and self.after:
            return "after " + ", ".join(map(str, self.after[:4])) + (" …" if len(self.after) > 4 else "")
        if self.status in (S.FAILED, S.CUT_OFF, S.CANCELLED) and self.reason in _SHORT:
            return _SHORT[self.reason]
        if self.backs_off or (self.status == S.RUNNING and self.cause in _CAUSES):
            return _CAUSES.get(self.cause, "")
        return ""


@lru_cache(maxsize=64)
def base_url(workflow_pk: int) -> str:
    """The address of a run. Its steps' addresses begin with it; `reverse` for each of 1,000 lines takes long."""
    return reverse("workflows:detail", args=[workflow_pk])


@lru_cache(maxsize=2048)
def _shown(title: str) -> str:
    return escape(ui.printable(title))


# A closed line has room for some words; the whole sentence stands in the open step.
_SHORT: dict[str, str] = {
    Reason.LOST: "worker lost",
    Reason.STUCK: "no sign of life",
    Reason.CUT_MAX_TOKENS: "token limit",
    Reason.CUT_CONTEXT: "context window full",
    Reason.CUT_THINKING: "only thinking, no answer",
    Reason.REFUSED: "model declined",
    Reason.RATE_LIMITED: "rate limit",
    Reason.OVERLOADED: "provider overloaded",
    Reason.TRANSPORT: "connection broke",
    Reason.DEADLINE: "deadline",
    Reason.AUTH: "key refused",
    Reason.BILLING: "no credit",
    Reason.BAD_REQUEST: "request rejected",
    Reason.PROMPT: "prompt not filled",
    Reason.BUDGET: "budget",
    Reason.HANDOVER: "handed over",
    Reason.USER: "by a person",
    Reason.INTERNAL: "internal error",
}
_CAUSES: dict[str, str] = {
    Cause.LOST: "its worker was lost",
    Cause.BACKOFF: "after a passing failure",
    Cause.RAISE: "with more room",
    Cause.CONTINUE: "goes on from the cut",
    Cause.HANDOVER: "handed over",
    Cause.RETRY: "retried",
}


class Kept:
    """Rows as they were read, by step; of the oldest the least is lost."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: OrderedDict[int, tuple[str, tuple[Any, ...], StepLine | None]] = OrderedDict()
        self.lock = Lock()

    def line(self, pk: int, seal: str, now: datetime) -> StepLine | None:
        """The line of a step, if its rows are still those that were read."""
        kept = self.rows.get(pk)
        if kept is None or kept[0] != seal:
            return None
        return kept[2] or _line(kept[1], now, seal)

    def put(self, row: tuple[Any, ...], line: StepLine) -> None:
        with self.lock:
            self.rows[line.pk] = (line.seal, row, line if line.status in SHARED else None)
            self.rows.move_to_end(line.pk)
            while len(self.rows) > self.most:
                self.rows.popitem(last=False)


_kept = Kept(4096)  # some 3 KB each


def step_lines(workflow_pk: int, *, now: datetime) -> list[StepLine]:
    """The steps of a workflow in order. Only those whose rows were written since are read again."""
    with connection.cursor() as cursor:
        cursor.execute(_SEALS, [workflow_pk, workflow_pk])
        seals: dict[int, str] = dict(cursor.fetchall())
    lines = {pk: _kept.line(pk, seal, now) for pk, seal in seals.items()}
    missing = [pk for pk, line in lines.items() if line is None]
    if missing:
        for row in _read(missing):
            # Written since its seal was taken? Then the seal is another one next time, and it is read again.
            line = lines[row[0]] = _line(row, now, seals[row[0]])
            _kept.put(row, line)
    return _linked([line for line in lines.values() if line])


def _read(pks: list[int]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(_LINES, [pks])
        return list(cursor.fetchall())


def _line(row: tuple[Any, ...], now: datetime, seal: str) -> StepLine:
    line = StepLine(*row, now=now)
    line.seal = seal
    if not line.cap and line.kind == "llm":
        line.cap = settings.NYXCORE_DEFAULT_MAX_TOKENS
    return line


def _linked(lines: list[StepLine]) -> list[StepLine]:
    open_positions = {line.key: line.position for line in lines if line.status not in DONE}
    for line in lines:
        if line.status == S.PENDING:
            line.after = [open_positions[key] for key in line.needs if key in open_positions]
    return lines


def step_line(workflow_pk: int, step_pk: int, *, now: datetime) -> StepLine:
    """One step's line. What it waits for is asked apart, since that stands in other rows."""
    line = _line(_read([step_pk])[0], now, "")
    if line.status == S.PENDING and line.needs:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT position FROM workflows_step WHERE workflow_id = %s AND key = ANY(%s)"
                " AND status NOT IN ('completed', 'skipped') ORDER BY position",
                [workflow_pk, line.needs],
            )
            line.after = [position for (position,) in cursor.fetchall()]
    return line


def live_rows(workflow: Workflow) -> dict[str, tuple[int, str]]:
    """What a page compares its elements with: version and status of the workflow and of each step."""
    with connection.cursor() as cursor:
        cursor.execute(_VERSIONS, [workflow.pk])
        rows = {
            f"step-{pk}": (live_version(version, attempt), status) for pk, version, status, attempt in cursor
        }
    return {workflow.dom_id: (workflow.version, workflow.status)} | rows
