"""What the pages show of a run: one read of its steps with their newest attempts, and what follows from it.

A page of 1,000 steps costs one query, so the lines are plain rows rather than model instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from html import escape
from typing import Any

from django.conf import settings
from django.db import connection
from django.urls import reverse

from nyxcore import ui
from nyxcore.llm import models as registry
from nyxcore.states import NEXT_ACTION, Reason, Status
from workflows.models import Cause, Workflow, live_version

S = Status
NEEDS_A_PERSON = (S.FAILED, S.CUT_OFF, S.WAITING)
OPENED_AT_MOST = 6  # running steps whose bodies come with the page; the others open when they are looked at

_LINES = """
SELECT s.id, s.workflow_id, s.position, s.key, s.title, s.kind, s.status, s.reason, s.needs,
       CASE WHEN s.finished_at IS NOT NULL THEN t.took END,
       CASE WHEN s.status IN ('running', 'waiting') THEN
            CASE a.status WHEN 'pending' THEN a.queued_at ELSE coalesce(a.started_at, s.started_at) END END,
       coalesce(a.model, s.config->>'model', ''), coalesce(a.cap, (s.config->>'max_tokens')::int, 0),
       s.version, coalesce(a.version, 0), coalesce(a.id, 0), coalesce(a.status, ''), coalesce(a.cause, ''),
       a.output_tokens, t.cost, coalesce(t.estimated, false), coalesce(t.tokens, 0),
       coalesce(t.attempts, 0)
  FROM workflows_step s
  LEFT JOIN LATERAL (
       SELECT id, status, version, cause, queued_at, started_at, output_tokens,
              nullif(coalesce(nullif(model, ''), request->>'model'), '') AS model,
              coalesce((request->>'max_tokens')::int, max_tokens) AS cap
         FROM workflows_stepattempt WHERE step_id = s.id AND branch = '' ORDER BY number DESC LIMIT 1) a ON true
  LEFT JOIN LATERAL (
       SELECT sum(cost) AS cost, bool_or(cost_estimated) AS estimated, count(*) AS attempts,
              extract(epoch FROM sum(finished_at - started_at))::float8 AS took,
              sum(coalesce(input_tokens, 0) + coalesce(cache_read_tokens, 0) + coalesce(cache_write_tokens, 0)
                  + coalesce(output_tokens, 0)) AS tokens
         FROM workflows_stepattempt WHERE step_id = s.id) t ON true
 WHERE s.workflow_id = %s AND (%s = 0 OR s.id = %s)
 ORDER BY s.position
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
    cost: Decimal | None
    estimated: bool
    tokens: int
    attempts: int
    now: datetime = field(kw_only=True)
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


def step_lines(workflow_pk: int, step_pk: int = 0, *, now: datetime) -> list[StepLine]:
    """The steps of a workflow in order, or one of them. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_LINES, [workflow_pk, step_pk, step_pk])
        lines = [StepLine(*row, now=now) for row in cursor.fetchall()]
    default = settings.NYXCORE_DEFAULT_MAX_TOKENS
    open_positions = {
        line.key: line.position for line in lines if line.status not in (S.COMPLETED, S.SKIPPED)
    }
    for line in lines:
        if not line.cap and line.kind == "llm":
            line.cap = default
        if line.status == S.PENDING:
            line.after = [open_positions[key] for key in line.needs if key in open_positions]
    return lines


def step_line(workflow_pk: int, step_pk: int, *, now: datetime) -> StepLine:
    """One step's line. What it waits for is asked apart, since that stands in other rows."""
    line = step_lines(workflow_pk, step_pk, now=now)[0]
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


@dataclass(frozen=True)
class Action:
    """One button of the header."""

    verb: str
    label: str
    icon: str
    css: str = ""
    confirm: str = ""
    url: str = ""


@dataclass
class Run:
    """A workflow with its lines, and what its header and banner say."""

    workflow: Workflow
    lines: Sequence[StepLine]
    now: datetime

    @property
    def done(self) -> int:
        return sum(line.status in (S.COMPLETED, S.SKIPPED) for line in self.lines)

    @property
    def total(self) -> int:
        return len(self.lines)

    @property
    def tokens(self) -> int:
        return int(sum(line.tokens for line in self.lines))

    @property
    def cost(self) -> Decimal | None:
        """USD; None where no attempt has a known price."""
        known = [line.cost for line in self.lines if line.cost is not None]
        return sum(known, Decimal(0)) if known else None

    @property
    def estimated(self) -> bool:
        return any(line.estimated for line in self.lines)

    @property
    def current(self) -> StepLine | None:
        """The step that a reader wants first: what runs, else what needs a person, else the last word."""
        for statuses in ((S.RUNNING,), NEEDS_A_PERSON):
            for line in self.lines:
                if line.status in statuses:
                    return line
        if self.workflow.status == S.COMPLETED:
            return self.lines[-1] if self.lines else None
        return None

    @property
    def needing(self) -> list[StepLine]:
        return [line for line in self.lines if line.needs_a_person]

    @property
    def queued(self) -> bool:
        return any(line.is_queued and not line.backs_off for line in self.lines)

    def opened(self) -> set[int]:
        """The steps that come open with the page."""
        pks = [line.pk for line in self.lines if line.status == S.RUNNING][:OPENED_AT_MOST]
        current = self.current
        return {*pks, current.pk} if current else set(pks)

    @property
    def title(self) -> str:
        """The page's title: the state comes first, so that a row of tabs tells the states."""
        return f"{ui.status_word(self.workflow.status)}: {ui.printable(self.workflow.name)} · nyxcore"

    @property
    def actions(self) -> list[Action]:
        """The header's buttons that make sense now; the services decide again."""
        status, held = self.workflow.status, self.workflow.held_by_id is not None
        found = []
        if status == S.PENDING:
            found.append(Action("start", "Start", "play", "primary"))
        if status in (S.FAILED, S.CANCELLED) or (status in (S.PAUSED, S.RUNNING) and self._resumable()):
            found.append(Action("resume", "Resume", "play", "primary"))
        if status == S.RUNNING and not held:
            found.append(Action("pause", "Pause", "pause"))
        if status in (S.PENDING, S.RUNNING, S.PAUSED):
            found.append(Action("cancel", "Cancel", "x", confirm=self._cancelling()))
        base = base_url(self.workflow.pk)
        return [replace(action, url=f"{base}{action.verb}/") for action in found]

    def _cancelling(self) -> str:
        """What a cancel does, in numbers."""
        at_work = sum(line.status == S.RUNNING for line in self.lines)
        left = sum(line.status in (S.PENDING, S.RUNNING, S.WAITING, S.CUT_OFF) for line in self.lines)
        stopped = (
            f"{at_work} running step{'s' if at_work > 1 else ''} will be stopped, the text so far is kept. "
            if at_work
            else ""
        )
        return f"Cancel this workflow? {stopped}{left} of {self.total} steps end as cancelled. You can resume later."

    def _resumable(self) -> bool:
        """A paused run goes on by resume, unless only a decision on a step can move it."""
        return self.workflow.held_by_id is not None or self.workflow.reason in (Reason.BUDGET, Reason.USER)

    @property
    def banner(self) -> dict[str, Any] | None:
        """Why the whole run stands still and what moves it; None while it does not wait for anybody."""
        workflow = self.workflow
        if workflow.status not in (S.PAUSED, S.FAILED):
            return None
        about = [
            line for line in self.needing if line.status != S.WAITING or workflow.reason == Reason.WAITING
        ]
        reason = workflow.reason
        known = reason in Reason.values
        if workflow.held_by_id:
            said, then = (
                f"Paused by {workflow.held_by}.",
                "Steps that were at work may still end; nothing new starts.",
            )
        else:
            said = str(Reason(reason).label) if known else "This run stands still."
            then = NEXT_ACTION.get(reason, "")
        return {
            "status": workflow.status,
            "said": said,
            "then": then,
            "lines": about[:5],
            "more": len(about) - 5,
        }
