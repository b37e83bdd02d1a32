"""What the head of a run offers for all its cut steps at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from django.urls import reverse

from nyxcore import ui
from nyxcore.states import Reason, Status
from workflows import engine, stepfacts
from workflows.models import StepAttempt, Workflow


@dataclass(frozen=True)
class CutPanel:
    """The two buttons; an empty `retry` or `accept` stands for one that would be refused, and `why_not` says why."""

    count: int
    names: str
    retry: str
    accept: str
    price: str
    why_not: str
    retry_url: str
    accept_url: str

    @property
    def accepting(self) -> str:
        """What is asked before all are accepted."""
        what = "the cut answer as it is" if self.count == 1 else f"all {self.count} cut answers as they are"
        return f"Accept {what}? Later steps will use the text although it was cut off."


@dataclass(frozen=True)
class CutLine:
    """What is needed of a step's line."""

    attempt: int
    position: int
    title: str
    reason: str


def cut_panel(workflow: Workflow, lines: Iterable[CutLine]) -> CutPanel | None:
    """None where nothing is cut. One query, and only where something is."""
    cut = {line.attempt: line for line in lines}
    if not cut:
        return None
    rows = (
        StepAttempt.objects.filter(pk__in=cut, status=Status.CUT_OFF)
        .defer("output", "usage", "error")
        .order_by("pk")
    )
    no_room, prices = [], []
    for attempt in rows:
        line, more = cut[attempt.pk], engine.more_room(attempt)
        if line.reason != Reason.CUT_MAX_TOKENS or not more:
            no_room.append(line)
        else:
            prices.append(stepfacts.price_of_room(attempt, more))
    no_text = [line for line in cut.values() if line.reason == Reason.CUT_THINKING]
    every = "" if len(cut) == 1 else f"all {len(cut)} "
    return CutPanel(
        len(cut),
        _names(list(cut.values())),
        "" if no_room else f"Retry {every}with double room",
        "" if no_text else f"Accept {every}as {'it is' if len(cut) == 1 else 'they are'}",
        "" if no_room else _sum(prices).said,
        _why_not(no_room, no_text),
        reverse("workflows:cut-retry", args=[workflow.pk]),
        reverse("workflows:cut-accept", args=[workflow.pk]),
    )


def _sum(prices: list[stepfacts.Price]) -> stepfacts.Price:
    low, high = Decimal(0), Decimal(0)
    for price in prices:
        if price.low is None or price.high is None:
            return stepfacts.Price(None, None)
        low, high = low + price.low, high + price.high
    return stepfacts.Price(low, high)


def _why_not(no_room: list[CutLine], no_text: list[CutLine]) -> str:
    said = []
    if no_room:
        said.append(f"More room does not help {_names(no_room)}.")
    if no_text:
        said.append(f"There is no text to accept in {_names(no_text)}.")
    return " ".join([*said, "Mend these first, each by itself."] if said else [])


def _names(lines: list[CutLine]) -> str:
    named = [
        f"{line.position} {ui.printable(line.title)}" for line in sorted(lines, key=lambda x: x.position)
    ]
    return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
