"""What can be done to all workflows that match a filter, and what would become of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Value
from django.http import QueryDict
from django.urls import reverse

from nyxcore import ui
from nyxcore.bulk import Skipped, Source, Verb
from nyxcore.states import Status
from workflows import engine, services
from workflows.filters import STATUSES, Filter
from workflows.models import Step, Workflow
from workflows.querysets import WorkflowQuerySet

S = Status
CUT = "cut"  # failed, with an answer that was cut off: needs a decision, not another try


@dataclass(frozen=True)
class Rule:
    """Which states a verb can change, and what it does to them, in words."""

    service: Callable[..., None]
    does: dict[str, str]  # status: what happens
    leaves: dict[str, str]  # status: why not


RULES = {
    "cancel": Rule(
        services.cancel_workflow,
        {
            S.RUNNING: "stopped now; what is written so far is kept, and it can be resumed",
            S.PAUSED: "ended; what is written so far is kept, and it can be resumed",
            S.PENDING: "cancelled before the first step",
        },
        dict.fromkeys((S.COMPLETED, S.FAILED, S.CANCELLED), "has ended already"),
    ),
    "retry": Rule(
        services.resume_workflow,
        {S.FAILED: "resumed: what failed runs again, what is completed is kept and not paid twice"},
        {
            CUT: "has an answer that was cut off; decide there between more room, continue and accept",
            **dict.fromkeys((S.RUNNING, S.PAUSED, S.PENDING, S.COMPLETED, S.CANCELLED), "has not failed"),
        },
    ),
    "delete": Rule(
        services.delete_workflow,
        dict.fromkeys(
            (S.FAILED, S.COMPLETED, S.CANCELLED, S.PENDING),
            "removed for good, with all prompts, answers, attempts and costs",
        ),
        dict.fromkeys((S.RUNNING, S.PAUSED), "is live; cancel it first"),
    ),
}
LABELS = {
    "cancel": ("Cancel", "Cancelling", "cancelled"),
    "retry": ("Retry failed", "Retrying", "resumed"),
    "delete": ("Delete", "Deleting", "deleted"),
}


def _act(name: str) -> Callable[[int, Any, str], None]:
    rule = RULES[name]

    def act(pk: int, by: Any, query: str) -> None:
        """Under the workflow's lock: does it match still, does its state allow it? Then the service decides."""
        try:
            workflow = engine.lock(pk)
        except Workflow.DoesNotExist:
            raise Skipped("It is gone.") from None
        mine = Workflow.objects.visible_to(by).filter(pk=pk)
        if not Filter.read(QueryDict(query), by).apply(mine).exists():
            raise Skipped("It does not match the filter any more.")
        if workflow.status not in rule.does:
            raise Skipped(f"It {rule.leaves[workflow.status]}.")
        try:
            rule.service(workflow, by=by)
        except services.Refused as refusal:
            raise Skipped(str(refusal)) from None

    return act


def list_url(query: str) -> str:
    url = reverse("workflows:list")
    return f"{url}?{query}" if query else url


SOURCE = Source(
    "workflow",
    "workflow",
    "workflows",
    {name: Verb(name, *LABELS[name], _act(name)) for name in RULES},
    list_url,
    lambda pk: reverse("workflows:detail", args=[pk]),
)


# --- before it is confirmed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """So many of the matches are in this state; what becomes of them."""

    status: str
    word: str
    count: int
    changes: bool
    said: str


@dataclass(frozen=True)
class Plan:
    """What a verb would do to the matches of a filter."""

    pks: list[int]
    fates: list[Fate]

    @property
    def total(self) -> int:
        return len(self.pks)

    @property
    def changed(self) -> int:
        return sum(fate.count for fate in self.fates if fate.changes)

    @property
    def left(self) -> int:
        return self.total - self.changed


def plan(name: str, matches: WorkflowQuerySet) -> Plan:
    """Read the matches once: how many there are, and what becomes of those in each state."""
    leaves_cut = CUT in RULES[name].leaves
    cut: Any = (
        Exists(Step.objects.filter(workflow=OuterRef("pk"), status=S.CUT_OFF)) if leaves_cut else Value(False)
    )
    found = list(matches.order_by("pk").annotate(has_cut=cut).values_list("pk", "status", "has_cut"))
    states = [CUT if has_cut and status == S.FAILED else status for _pk, status, has_cut in found]
    return Plan([pk for pk, _status, _cut in found], list(_fates(RULES[name], states)))


def _fates(rule: Rule, states: list[str]) -> Iterable[Fate]:
    """What changes comes first."""
    order = [*rule.does, *(state for state in (CUT, *STATUSES) if state in rule.leaves)]
    for state in order:
        count = states.count(state)
        if count:
            status = S.FAILED.value if state == CUT else str(state)
            changes = state in rule.does
            said = rule.does[state] if changes else rule.leaves[state]
            yield Fate(status, ui.status_word(status), count, changes, said)
