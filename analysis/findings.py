"""The findings of a run under the filter of the address, as lines that are built without a template for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, FilteredRelation, Q
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from analysis import summary
from analysis.analyzers import ANALYZERS, RULES
from analysis.models import (
    AnalysisRun,
    Dismissal,
    Finding,
    FindingChange,
    RejectedFinding,
    TrackedState,
    Triage,
)
from analysis.pages import Page
from analysis.querysets import SEVERITIES
from nyxcore.ui import printable

PAGE_SIZE = 200
VERDICTS = {"confirmed": "Confirmed", "unsure": "Unsure", "refuted": "Refuted", "none": "No second look"}
TRIAGES = {"open": "Open", "accepted": "Accepted", "dismissed": "Dismissed"}
STATES = {str(value): str(label) for value, label in TrackedState.choices}
UNSEEN = ("gone", "missed", "not_checked")  # of these the run has no finding, only the tracked one
MARKS = {
    "critical": "\u25b2\u25b2",
    "high": "\u25b2",
    "medium": "\u25c6",
    "low": "\u25bd",
}  # shapes, not only colour
GROUPS = {"file": "By file", "rule": "By rule"}
SINGLE = ("analyzer", "rule", "verdict", "state", "triage", "path", "q")


@dataclass(frozen=True)
class Filter:
    """Criteria, all of which a finding has to meet."""

    severity: tuple[str, ...] = ()
    analyzer: str = ""
    rule: str = ""
    verdict: str = ""
    state: str = ""
    triage: str = ""
    path: str = ""
    q: str = ""
    all: bool = False  # refuted and dismissed ones too
    group: str = "file"

    @classmethod
    def read(cls, asked: QueryDict) -> Filter:
        """The criteria of an address; a word that is none is no criterion."""
        words = {name: asked.get(name, "").strip()[:300].replace("\x00", "") for name in SINGLE}
        for name, known in (("verdict", VERDICTS), ("state", STATES), ("triage", TRIAGES)):
            if words[name] not in known:
                words[name] = ""
        chosen = set(asked.getlist("severity"))
        return cls(
            severity=tuple(word for word in SEVERITIES if word in chosen),
            all=asked.get("all") == "1",
            group=asked.get("group") if asked.get("group") in GROUPS else "file",  # type: ignore[arg-type]
            **words,
        )

    def query(self, **changes: Any) -> str:
        """The criteria as in an address, with some of them changed."""
        other = replace(self, **changes)
        values = [("tab", "findings"), *(("severity", word) for word in other.severity)]
        values += [(name, getattr(other, name)) for name in SINGLE if getattr(other, name)]
        values += [("all", "1")] if other.all else []
        values += [("group", other.group)] if other.group != "file" else []
        return urlencode(values)

    @property
    def narrows(self) -> bool:
        return bool(self.severity) or any(getattr(self, name) for name in SINGLE)

    def hides(self, line: Line) -> bool:
        """Refuted and dismissed ones are not shown unless somebody asks for them."""
        if self.all:
            return False
        return (line.verdict == "refuted" and not self.verdict) or (
            line.triage == "dismissed" and not self.triage
        )

    def meets(self, line: Line) -> bool:
        """Whether it meets every criterion."""
        return self.lets(line) and (not self.severity or line.severity in self.severity)

    def lets(self, line: Line) -> bool:
        """Whether it meets every criterion but the severity, which has its own chips."""
        return (
            (not self.analyzer or line.analyzer == self.analyzer)
            and (not self.rule or line.rule == self.rule)
            and (not self.verdict or (line.verdict or "none") == self.verdict)
            and (not self.state or line.state == self.state)
            and (not self.triage or (line.triage or "open") == self.triage)
            and (not self.path or line.path.startswith(self.path))
            and (not self.q or self.q.casefold() in f"{line.title} {line.rule} {line.path}".casefold())
        )


@dataclass(frozen=True, slots=True)
class Line:
    """What one closed finding shows. `pk` 0: the run has none, only the tracked one of an earlier run."""

    pk: int
    path: str
    start: int
    end: int
    rule: str
    analyzer: str
    severity: str
    title: str
    match: str
    verdict: str
    triage: str
    dismissal: str
    state: str


VALUES = (
    "pk", "path", "start_line", "end_line", "rule_id", "analyzer", "severity", "title", "match",
    "verdict__verdict", "tracked__triage", "tracked__dismissal", "changed__state",
)  # fmt: skip


def lines(run_pk: int, **narrowed: Any) -> list[Line]:
    """The findings of a run that stay, in the order of files. One query."""
    changed = FilteredRelation("changes", condition=Q(changes__run=run_pk))
    rows = Finding.objects.filter(run=run_pk, **narrowed).kept().annotate(changed=changed)
    values = rows.order_by("path", "start_line", "pk").values_list(*VALUES)
    return [_line(row) for row in values]


def _line(row: Sequence[Any]) -> Line:
    values: list[Any] = ["" if value is None else value for value in row]
    return Line(*values)


def unseen(run_pk: int) -> list[Line]:
    """What an earlier run found and this one did not."""
    rows = FindingChange.objects.filter(run=run_pk, finding=None).select_related("tracked")
    return [
        Line(0, one.path, one.start_line, one.start_line, one.rule_id, one.analyzer, one.severity, one.title, "",
             "", one.triage, one.dismissal, change.state)
        for change in rows.order_by("tracked__path", "tracked__start_line") if (one := change.tracked)
    ]  # fmt: skip


# --- the page -------------------------------------------------------------------------------------------------


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run, chosen = page.run, Filter.read(request.GET)
    found = everything(run.pk, chosen)
    matching = [line for line in found if chosen.lets(line)]
    visible = [line for line in matching if not chosen.hides(line)]
    hidden = Counter(
        "refuted" if line.verdict == "refuted" else "dismissed" for line in matching if chosen.hides(line)
    )
    counts = Counter(line.severity for line in visible)
    listed = shown(found, chosen)
    rejected = dict(
        RejectedFinding.objects.filter(run=run).order_by().values_list("rule_id").annotate(n=Count("pk"))
    )
    rules = [] if chosen.state in UNSEEN else _rules(found, rejected)
    number, last = _page(request, len(listed))
    part = _sorted(listed, chosen.group)[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return {
        "filter": chosen, "shown": len(listed), "total": len(found), "hidden": dict(hidden),
        "groups": _groups(run, part, chosen), "chips": _chips(chosen, counts),
        "choices": _choices(found), "group_choices": [(k, w, chosen.query(group=k)) for k, w in GROUPS.items()],
        "with_all": chosen.query(all=True), "without_all": chosen.query(all=False), "clear": "tab=findings",
        "number": number, "last": last, "previous": f"{chosen.query()}&page={number - 1}",
        "next": f"{chosen.query()}&page={number + 1}", "rules": rules,
        "rejected": sum(rejected.values()), "changes": _changes(run, chosen),
        "everything": found, "query": chosen.query(),
        "reasons": Dismissal.choices, "asked_labels": summary.asked(run),
    }  # fmt: skip


def everything(run_pk: int, chosen: Filter) -> list[Line]:
    """What the filter looks through: the findings of the run, or what it did not find again."""
    return unseen(run_pk) if chosen.state in UNSEEN else lines(run_pk)


def shown(found: Iterable[Line], chosen: Filter) -> list[Line]:
    """Those that meet every criterion and are not hidden."""
    return [line for line in found if chosen.meets(line) and not chosen.hides(line)]


def _page(request: HttpRequest, count: int) -> tuple[int, int]:
    last = max(1, -(-count // PAGE_SIZE))
    word = request.GET.get("page", "1")
    number = int(word) if word.isascii() and word.isdecimal() and len(word) < 6 else 1
    return min(max(number, 1), last), last


def _sorted(shown: Sequence[Line], group: str) -> Sequence[Line]:
    """In the order of files, or of rules with the most severe first."""
    if group == "file":
        return shown
    worst: dict[str, int] = {}
    for line in shown:
        rank = SEVERITIES.index(line.severity)
        worst[line.rule] = min(rank, worst.get(line.rule, rank))
    return sorted(shown, key=lambda line: (worst[line.rule], line.rule))


def _groups(run: AnalysisRun, part: Iterable[Line], chosen: Filter) -> list[dict[str, Any]]:
    base = reverse("analysis:detail", args=[run.pk])
    by_rule = chosen.group == "rule"

    def key(line: Line) -> str:
        return line.rule if by_rule else line.path

    found = []
    for name, members in groupby(part, key):
        rows = list(members)
        found.append({
            "name": name, "label": RULES[name].title if by_rule and name in RULES else name, "count": len(rows),
            "is_rule": by_rule, "html": mark_safe("".join(row(line, base, by_rule=by_rule) for line in rows)),
        })  # fmt: skip
    return found


def _chips(chosen: Filter, counts: Counter[str]) -> list[dict[str, Any]]:
    every: list[dict[str, Any]] = [
        {
            "label": "All",
            "count": sum(counts.values()),
            "query": chosen.query(severity=()),
            "chosen": not chosen.severity,
        }
    ]
    for word in SEVERITIES:
        toggled = tuple(one for one in SEVERITIES if one in set(chosen.severity) ^ {word})
        every.append({
            "label": word.capitalize(), "count": counts[word], "query": chosen.query(severity=toggled),
            "chosen": word in chosen.severity, "mark": severity_mark(word),
        })  # fmt: skip
    return every


def _choices(everything: Sequence[Line]) -> dict[str, list[tuple[str, str, int]]]:
    """What the selects offer, with how many there are of each."""

    def counted(name: str, words: Mapping[str, str], empty: str = "") -> list[tuple[str, str, int]]:
        counts = Counter(getattr(line, name) or empty for line in everything)
        return [(word, label, counts[word]) for word, label in words.items()]

    rules = sorted({line.rule for line in everything})
    names = sorted({line.analyzer for line in everything})
    return {
        "analyzer": counted("analyzer", {name: ANALYZERS[name].label if name in ANALYZERS else name for name in names}),
        "rule": counted("rule", dict(zip(rules, rules, strict=True))),
        "verdict": counted("verdict", VERDICTS, "none"),
        "triage": counted("triage", TRIAGES, "open"),
    }  # fmt: skip


def _rules(everything: Sequence[Line], rejected: Mapping[str, int]) -> list[dict[str, Any]]:
    """How each rule fared: found, confirmed, refuted, turned away; those with the most findings first."""
    by_rule: dict[str, Counter[str]] = {rule: Counter(rejected=count) for rule, count in rejected.items()}
    for line in everything:
        by_rule.setdefault(line.rule, Counter()).update(("found", line.verdict or "none"))
    names = ("found", "confirmed", "unsure", "refuted", "rejected")
    told = [{"rule_id": rule, **{name: counts[name] for name in names}} for rule, counts in by_rule.items()]
    return sorted(told, key=lambda row: (-row["found"], row["rule_id"]))


def _changes(run: AnalysisRun, chosen: Filter) -> list[dict[str, Any]]:
    """How many findings are new, unchanged, gone ... since the run before."""
    counts = Counter(FindingChange.objects.filter(run=run).order_by().values_list("state", flat=True))
    return [
        {"label": word, "count": counts[name], "query": chosen.query(state="" if chosen.state == name else name),
         "chosen": chosen.state == name}
        for name, word in STATES.items() if counts[name] or chosen.state == name
    ]  # fmt: skip


# --- one line -------------------------------------------------------------------------------------------------


def severity_mark(severity: str) -> SafeString:
    """A quiet mark: shape and word. Colours are for states alone."""
    mark = MARKS.get(severity, "")
    word = escape(severity.capitalize())
    return mark_safe(
        f'<span class="severity" data-severity="{escape(severity)}"><i aria-hidden="true">{mark}</i>{word}</span>'
    )


def row(line: Line, base: str, *, by_rule: bool = False, body: str = "", refused: str = "") -> str:
    """One finding: a line that opens; its body comes when it is opened, or along as `body`."""
    place = f"{line.path}:{line.start}" if by_rule else f"line {line.start}"
    notes = _notes(line, by_rule)
    title = escape(printable(line.title))
    said = (
        f'{severity_mark(line.severity)}<span class="finding-title">{title}</span>'
        f'<span class="finding-notes">{notes}</span><span class="finding-place">{escape(printable(place))}</span>'
    )
    if not line.pk:
        whole = f'<div class="finding-line">{said}</div>'
        return f'<article class="finding unseen" data-triage="{line.triage}">{whole}</article>'
    url = f"{base}findings/{line.pk}/"
    inside = (
        body or f'<div class="finding-body" data-load="{url}"><a href="{url}">Show this finding</a></div>'
    )
    told = f'<p class="said" role="alert">{escape(refused)}</p>' if refused else ""
    opened = " open" if body or refused else ""
    return (
        f'<article class="finding" id="finding-{line.pk}" data-finding="{url}" data-triage="{line.triage}">'
        f'<details{opened}><summary class="finding-line">{said}</summary>{told}{inside}</details>'
        f'<a class="own-page" href="{url}"><span class="vh">Own page of: {title}</span></a></article>'
    )


def _notes(line: Line, by_rule: bool) -> str:
    """What sets it apart from a plain finding, in few words."""
    notes = []
    if line.triage == Triage.DISMISSED:
        notes.append(f"dismissed: {Dismissal(line.dismissal).label.lower()}")
    elif line.triage:
        notes.append("accepted")
    if line.verdict:
        notes.append(line.verdict)
    if line.state and line.state != "unchanged":
        notes.append(STATES[line.state].lower())
    if line.match == "approximate":
        notes.append("approximate place")
    if not by_rule:
        notes.append(line.rule)
    return "".join(f"<span>{escape(note)}</span>" for note in notes)
