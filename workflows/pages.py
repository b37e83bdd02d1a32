"""What the page of a run says in its header, banner and title; its lines come from lines.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from nyxcore import ui
from nyxcore.states import Reason, Status
from nyxcore.words import counted
from workflows.lines import DONE, NEEDS_A_PERSON, StepLine, base_url
from workflows.models import Workflow

S = Status
LAST_WORD_WITHIN = 50  # steps; in a longer run that is completed the last one is too far down to be seen
OPENED_AT_MOST = 6  # running steps whose bodies come with the page; the others open when they are looked at


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
        return sum(line.status in DONE for line in self.lines)

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
        """The step that a reader wants first: what runs, what broke, what needs a person, else the last word."""
        for statuses in ((S.RUNNING,), (S.FAILED,), NEEDS_A_PERSON):
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
        pks = [line.pk for line in self.lines if line.is_at_work][:OPENED_AT_MOST]
        current = self.current
        if current is None or (current.status in DONE and self.total > LAST_WORD_WITHIN):
            return set(pks)
        return {*pks, current.pk}

    @property
    def title(self) -> str:
        """The page's title: the state comes first, so that a row of tabs tells the states."""
        return f"{ui.status_word(self.workflow.status)}: {ui.printable(self.workflow.name)} · nyxcore"

    @property
    def actions(self) -> list[Action]:
        """The header's buttons that make sense now; the services decide again."""
        status, held = self.workflow.status, self.workflow.is_held
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
            f"{counted(at_work, 'running step')} will be stopped, the text so far is kept. "
            if at_work
            else ""
        )
        steps = counted(self.total, "step")
        return f"Cancel this workflow? {stopped}{left} of {steps} end as cancelled. You can resume later."

    def _resumable(self) -> bool:
        """A paused run goes on by resume, unless only a decision on a step can move it."""
        return self.workflow.is_held or self.workflow.reason == Reason.BUDGET

    @property
    def banner(self) -> dict[str, Any] | None:
        """Why the whole run stands still and what moves it; None while it does not wait for anybody."""
        workflow = self.workflow
        if workflow.status not in (S.PAUSED, S.FAILED):
            return None
        reason = workflow.reason
        named = (S.FAILED,) if workflow.status == S.FAILED else (S.FAILED, S.CUT_OFF)
        named = (*named, S.WAITING) if reason == Reason.WAITING else named
        about = [line for line in self.needing if line.status in named]
        if workflow.held_by_id:
            said, then = (
                f"Paused by {workflow.held_by}.",
                "Steps that were at work may still end; nothing new starts.",
            )
        else:
            said = ui.cause(reason) or "This run stands still."
            then = ui.helps(workflow.status, reason)
        return {
            "status": workflow.status,
            "said": said,
            "then": then,
            "lines": about[:5],
            "more": len(about) - 5,
        }
