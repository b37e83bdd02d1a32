"""Single facts that an open step tells: how its room was used, what more of it may cost, who did what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import Q

from nyxcore import ui
from nyxcore.llm import models as registry
from nyxcore.llm.base import Usage
from nyxcore.models import AuditEntry
from nyxcore.states import Reason, Status
from workflows.models import Step, StepAttempt

HISTORY_SHOWN = 40  # audit entries
BAR = 120  # width of the bar, in the units of its drawing


@dataclass(frozen=True)
class CapBar:
    """The tokens of an answer within its limit, thinking and text apart, as a drawing of BAR units."""

    thinking: int
    text: int
    cap: int

    @property
    def thinking_width(self) -> int:
        return self._width(self.thinking)

    @property
    def text_width(self) -> int:
        return min(self._width(self.text), BAR - self.thinking_width)

    def _width(self, tokens: int) -> int:
        return max(1, min(BAR, BAR * tokens // self.cap)) if tokens and self.cap else 0

    @property
    def said(self) -> str:
        """The same in words; for those who do not see the bar, and on hover."""
        apart = f"{self.text:,} for text and {self.thinking:,} for thinking" if self.thinking else ""
        used = self.text + self.thinking
        return f"{used:,} of {self.cap:,} tokens used" + (f": {apart}" if apart else "")


def cap_bar(output_tokens: int | None, thinking_tokens: int | None, cap: int | None) -> CapBar | None:
    """The bar of one attempt. The vendor counts thinking within the output."""
    if output_tokens is None or not cap:
        return None
    thinking = min(thinking_tokens or 0, output_tokens)
    return CapBar(thinking, output_tokens - thinking, cap)


def wait_of(attempt: StepAttempt, now: datetime) -> float | None:
    """Seconds in the queue; of a back-off only what came after it."""
    if attempt.started_at is None:
        return ui.seconds_between(attempt.queued_at, now) if attempt.status == Status.PENDING else None
    return ui.seconds_between(attempt.queued_at, attempt.started_at)


# --- more room ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Price:
    """USD from and to; None where a price is unknown."""

    low: Decimal | None
    high: Decimal | None

    @property
    def said(self) -> str:
        if self.low is None or self.high is None:
            return "at a price that is not known"
        if not self.high:
            return "at no cost"
        low, high = ui.money(min(self.low, self.high)), ui.money(self.high)
        return f"for about {low}" if low == high else f"for {low} to {high}"

    @property
    def short(self) -> str:
        """The same for a button."""
        return {"at no cost": "free", "at a price that is not known": "price unknown"}.get(
            self.said, self.said.removeprefix("for ")
        )


def price_of_room(attempt: StepAttempt, tokens: int) -> Price:
    """What asking again with room for so many tokens may cost."""
    sent = sum((attempt.input_tokens or 0, attempt.cache_read_tokens or 0, attempt.cache_write_tokens or 0))
    sent = sent or registry.estimate_tokens(str(attempt.request.get("prompt", "")))
    return price(str(attempt.request.get("model", "")), sent, attempt.output_tokens or 0, tokens)


def price(model: str, sent: int, written: int, room: int) -> Price:
    """Of a prompt of `sent` tokens asked again: at least as long an answer as now, at most all of the room."""
    high = registry.worst_case(model, sent, room)
    if not high:
        return Price(high, high)
    return Price(registry.cost(model, Usage(input_tokens=sent, output_tokens=written or room)), high)


def room_of(attempt: StepAttempt) -> int:
    return int(attempt.request.get("max_tokens") or attempt.max_tokens or settings.NYXCORE_DEFAULT_MAX_TOKENS)


def why_cut(reason: str, attempt: StepAttempt, more: int, parts_left: int) -> tuple[str, str]:
    """(why the answer ends where it ends, what helps), in words and in the numbers of this attempt."""
    model = str(attempt.request.get("model", "")) or "The model"
    bar = cap_bar(attempt.output_tokens, attempt.thinking_tokens, room_of(attempt))
    cap, thinking = room_of(attempt), bar.thinking if bar else 0
    if reason == Reason.CUT_CONTEXT:
        return _context(model, attempt)
    if reason == Reason.CUT_THINKING:
        return (
            f"The model spent its whole token limit on thinking and wrote no answer; the limit was {cap:,} tokens.",
            "More room alone may go into thinking too. Lower the effort, choose another model, or change the prompt.",
        )
    cause = f"The answer reached its limit of {cap:,} tokens before it was finished."
    if bar and thinking:
        cause += f" Thinking took {thinking:,} of them, the text {bar.text:,}."
    others = "continue the answer, or accept it as it is" if parts_left else "accept it as it is"
    if not more:
        return cause, f"{model} allows no more than {cap:,} tokens: {others}."
    if bar and thinking > bar.text:
        return cause, (
            f"More room helps only in part, since most of it went into thinking: lower the effort as well, {others}."
        )
    return cause, f"More room helps: retry with {more:,} tokens, {others}."


def _context(model: str, attempt: StepAttempt) -> tuple[str, str]:
    info = registry.get(model)
    window = f" of {info.context_tokens:,} tokens" if info and info.context_tokens else ""
    sent = sum((attempt.input_tokens or 0, attempt.cache_read_tokens or 0, attempt.cache_write_tokens or 0))
    counted = f": {sent:,} tokens of prompt and {attempt.output_tokens or 0:,} of answer" if sent else ""
    return (
        f"Prompt and answer together filled the context window{window}{counted}.",
        "More room does not help. Shorten the prompt or what is filled into it, choose a model with a larger "
        "context window, or accept the answer as it is.",
    )


# --- who did what ---------------------------------------------------------------------------------------------

DID = {
    "retry": "retried it",
    "skip": "skipped it",
    "accept": "accepted the cut answer as it is",
    "approve": "approved it",
    "edit and approve": "edited and approved it",
    "send back": "sent it back",
    "rerun": "ran the workflow again from here",
    "edit": "wrote its text",
    "settings": "changed its settings",
}
DECIDED = {
    "skip": "Skipped by",
    "accept": "Accepted as it is, though cut off, by",
    "approve": "Approved by",
    "edit and approve": "Edited and approved by",
}
TOGETHER = timedelta(seconds=2)  # entries of one act are written within it


@dataclass
class Deed:
    """What somebody did to a step at one moment."""

    at: datetime
    who: str
    actions: list[str] = field(default_factory=list)
    moves: list[tuple[str, str]] = field(default_factory=list)

    @property
    def what(self) -> str:
        said = [DID.get(action, action) for action in dict.fromkeys(self.actions)]
        if self.moves and not said:
            said = [f"set it to {ui.status_word(self.moves[-1][1]).lower()}"]
        return " and ".join(said)

    @property
    def path(self) -> str:
        """The statuses that it went through."""
        if not self.moves:
            return ""
        words = [self.moves[0][0], *(to for frm, to in self.moves if to != frm)]
        return " → ".join(ui.status_word(word) for word in words)

    @property
    def decision(self) -> str:
        return next((DECIDED[action] for action in self.actions if action in DECIDED), "")


def history(step: Step) -> list[Deed]:
    """What people and the sweep did to a step, newest first. One query."""
    entries = AuditEntry.objects.filter(
        Q(model="step", row=step.pk) | Q(model="workflow", row=step.workflow_id, detail=step.key)
    ).order_by("-pk")[:HISTORY_SHOWN]
    return _deeds(list(entries)[::-1])[::-1]


def _deeds(entries: Iterable[AuditEntry]) -> list[Deed]:
    deeds: list[Deed] = []
    for entry in entries:
        who = entry.name or f"the {entry.actor}"
        if not deeds or deeds[-1].who != who or entry.at - deeds[-1].at > TOGETHER:
            deeds.append(Deed(entry.at, who))
        if entry.action:
            deeds[-1].actions.append(entry.action)
        elif entry.from_status in Status.values and entry.to_status in Status.values:
            deeds[-1].moves.append((entry.from_status, entry.to_status))
    return deeds


def decided(deeds: Sequence[Deed]) -> Deed | None:
    """The last deed, if the step is what it is by somebody's decision."""
    return deeds[0] if deeds and deeds[0].decision else None
