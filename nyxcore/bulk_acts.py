"""What can be done to all runs of an app that match a filter, and what would become of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Case, F, Q, Value, When
from django.http import QueryDict
from django.urls import reverse

from nyxcore.bulk import Skipped, Source, Verb
from nyxcore.filters import RunFilter
from nyxcore.verbs import Refused

LABELS = {
    "cancel": ("Cancel", "Cancelling", "cancelled"),
    "retry": ("Retry failed", "Retrying", "resumed"),
    "delete": ("Delete", "Deleting", "deleted"),
}


@dataclass(frozen=True)
class Rule:
    """Which states a verb can change, and what it does to them, in words."""

    service: Callable[..., None]
    does: Mapping[str, str]  # state: what happens
    leaves: Mapping[str, str]  # state: why not


@dataclass(frozen=True)
class Acts:
    """The verbs of one app, and how its rows are found, locked and told apart."""

    app: str  # the namespace of its addresses
    noun: str
    nouns: str
    model: Any
    lock: Callable[[int], Any]
    filter: type[RunFilter]
    narrow: str  # by what the list can be narrowed
    rules: Mapping[str, Rule]
    finer: Mapping[str, tuple[str, Any]] = field(
        default_factory=dict
    )  # state: the status it is part of, and when

    def __post_init__(self) -> None:
        for rule in self.rules.values():
            assert {*rule.does, *rule.leaves} >= set(self.filter.STATUSES)

    def source(self, name: str) -> Source:
        """These verbs, as the kernel's bulk actions know them."""
        verbs = {verb: Verb(verb, *LABELS[verb], self._act(rule)) for verb, rule in self.rules.items()}
        detail = f"{self.app}:detail"
        return Source(
            name, self.noun, self.nouns, verbs, self.list_url, lambda pk: reverse(detail, args=[pk])
        )

    def list_url(self, query: str) -> str:
        url = reverse(f"{self.app}:list")
        return f"{url}?{query}" if query else url

    def _act(self, rule: Rule) -> Callable[[int, Any, str], None]:
        def act(pk: int, by: Any, query: str) -> None:
            """Under the run's lock: does it match still, does its state allow it? Then the service decides."""
            try:
                run = self.lock(pk)
            except self.model.DoesNotExist:
                raise Skipped("It is gone.") from None
            mine = self.model.objects.visible_to(by).filter(pk=pk)
            if not self.filter.read(QueryDict(query), by).apply(mine).exists():
                raise Skipped("It does not match the filter any more.")
            if run.status not in rule.does:
                raise Skipped(f"It {rule.leaves[run.status]}.")
            try:
                rule.service(run, by=by)
            except Refused as refusal:
                raise Skipped(str(refusal)) from None

        return act


# --- before it is confirmed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fate:
    """So many of the matches are in this state; what becomes of them."""

    status: str
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


def plan(acts: Acts, verb: str, matches: Any) -> Plan:
    """Read the matches once: how many there are, and what becomes of those in each state."""
    rule = acts.rules[verb]
    finer = {word: about for word, about in acts.finer.items() if word in {**rule.does, **rule.leaves}}
    parts = [When(Q(status=status) & Q(when), then=Value(word)) for word, (status, when) in finer.items()]
    state = Case(*parts, default=F("status")) if parts else F("status")
    found = list(matches.order_by("pk").annotate(state=state).values_list("pk", "state"))
    return Plan([pk for pk, _state in found], list(_fates(acts, rule, [state for _pk, state in found])))


def _fates(acts: Acts, rule: Rule, states: list[str]) -> Iterable[Fate]:
    """What changes comes first."""
    order = [*rule.does, *(state for state in (*acts.finer, *acts.filter.STATUSES) if state in rule.leaves)]
    for state in order:
        count = states.count(state)
        if count:
            status = acts.finer[state][0] if state in acts.finer else str(state)
            changes = state in rule.does
            said = rule.does[state] if changes else rule.leaves[state]
            yield Fate(status, count, changes, said)
