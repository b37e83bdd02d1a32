"""What is read and what not, folder by folder, and what it may cost: what a person decides on before money is spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import BooleanField, Case, Count, F, Func, Q, QuerySet, Sum, TextField, Value, When
from django.db.models.functions import Coalesce, StrIndex, Substr
from django.http import HttpRequest
from django.urls import reverse

from analysis import summary
from analysis.analyzers import MODEL_ANALYZERS
from analysis.analyzers.base import PROSE
from analysis.forms import CoverageForm
from analysis.models import AnalysisRun, SourceFile, Unit, UnitKind
from analysis.pages import Page
from analysis.plan import analyzers
from analysis.rows import estimate_of
from analysis.select import SKIP_REASONS
from nyxcore import ui
from nyxcore.states import Status

S = Status
LISTED = 500  # files told at once
# What a person can read all the same by naming it.
INCLUDABLE = ("vendored", "build", "minified", "lock_file", "snapshot", "migration", "generated", "too_large")
CALLS = {"overview": "Overview", "chunks": "Findings", "verify": "Second look", "documents": "Documents"}


@dataclass(frozen=True)
class Entry:
    """A folder or file of the tree, with what of it is read."""

    path: str  # of a folder with "/" at its end
    name: str
    tokens: int
    read: int
    files: int
    reason: str = ""
    detail: str = ""
    language: str = ""

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")

    @property
    def said(self) -> str:
        """Why a file is not read."""
        sentence = SKIP_REASONS.get(self.reason, self.reason)
        return f"{sentence} ({self.detail})" if self.detail else sentence

    @property
    def can_exclude(self) -> bool:
        return self.read > 0

    @property
    def can_include(self) -> bool:
        return not self.is_folder and self.reason in INCLUDABLE

    @property
    def can_allow(self) -> bool:
        return self.reason == "secret"


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run = page.run
    reason = request.GET.get("reason", "")
    folder = _folder(request.GET.get("folder", ""))
    entries, more = listed(run, reason) if reason in SKIP_REASONS else children(run, folder)
    waiting = run.status in (S.WAITING, S.PENDING)
    return {
        "entries": entries, "more": more, "reason": reason if reason in SKIP_REASONS else "", "folder": folder,
        "reason_said": SKIP_REASONS.get(reason, ""), "up": folder.rstrip("/").rpartition("/")[0],
        "reasons": _reasons(run), "estimate": estimate_of(run), "calls": _calls(run), "waiting": waiting,
        "form": CoverageForm(run), "analyzers": summary.asked(run), "choosing": run.status == S.WAITING,
        "notes": [note for note in (_tests_note(run), _prose_note(run)) if note], "languages": _languages(run),
        "costs": costs(run), "beyond": _beyond(run),
        "files_url": reverse("analysis:files", args=[run.pk]), "tree_stamp": _tree_stamp(run),
    }  # fmt: skip


def _tree_stamp(run: AnalysisRun) -> str:
    """What the tree was made from: it changes with each reading of the source, and when there is nothing to choose."""
    source = Unit.objects.filter(run=run, kind=UnitKind.SOURCE).values_list("version", flat=True).first()
    return f"{source}-{run.status == S.WAITING}"


def costs(run: AnalysisRun) -> str:
    """What confirming names: about so much, at most so much."""
    told = estimate_of(run)
    if told is None:
        return ""
    if told.expected is None or told.high is None:
        return "price unknown"
    if told.high == 0:
        return "costs nothing"
    return f"about {ui.money(told.expected)}, at most {ui.money(told.high)}"


def _folder(asked: str) -> str:
    asked = asked.replace("\x00", "")[:2_000].strip("/")
    return f"{asked}/" if asked else ""


def _calls(run: AnalysisRun) -> list[tuple[str, int]]:
    """Calls of each phase, in the order in which they are made; the database keeps no order of names."""
    told = estimate_of(run)
    return [(label, told.calls[name]) for name, label in CALLS.items() if name in told.calls] if told else []


def _reasons(run: AnalysisRun) -> list[tuple[str, str, int]]:
    """(word, sentence, files) of each reason, the most frequent first."""
    counts = run.coverage.get("skipped", {})
    return [
        (word, SKIP_REASONS.get(word, word), count)
        for word, count in sorted(counts.items(), key=lambda one: -one[1])
    ]


def _languages(run: AnalysisRun) -> list[tuple[str, int]]:
    """Those with the most tokens; the database keeps no order of keys."""
    return sorted(run.coverage.get("languages", {}).items(), key=lambda one: -one[1])[:8]


def _tests_note(run: AnalysisRun) -> str:
    """Which of the paid analyzers look at test files: a file that is read is not read by all."""
    ours = [one.label for one in analyzers(run) if one.tests]
    if len(ours) == len(MODEL_ANALYZERS):
        return ""
    if ours:
        return f"Of those that ask a model only {', '.join(ours)} looks at test files."
    return "None of those that ask a model looks at test files."


def _prose_note(run: AnalysisRun) -> str:
    """Which languages no paid analyzer looks at, though their files are read."""
    prose = [name for name in run.coverage.get("languages", {}) if name in PROSE]
    if not prose:
        return ""
    return f"No analyzer that asks a model looks at prose ({', '.join(prose)}); documents may rest on it."


def _beyond(run: AnalysisRun) -> dict[str, int]:
    """What did not fit into the token budget, and the budget that would hold everything."""
    files = run.coverage.get("skipped", {}).get("budget", 0)
    if not files:
        return {}
    left_out = _files(run).filter(read=False, reason="budget").aggregate(sum=Sum("tokens"))["sum"] or 0
    return {"files": files, "tokens": left_out, "all": run.coverage["tokens"] + left_out}


# --- the tree -------------------------------------------------------------------------------------------------


def _files(run: AnalysisRun) -> QuerySet[SourceFile]:
    return SourceFile.objects.filter(run=run).order_by()


def children(run: AnalysisRun, folder: str) -> tuple[list[Entry], int]:
    """What lies directly in a folder, the folders with most tokens first; and how many files are not told."""
    below = _files(run).filter(path__startswith=folder) if folder else _files(run)
    rest = Substr("path", len(folder) + 1, output_field=TextField())
    first = Func(F("rest"), Value("/"), Value(1), function="split_part", output_field=TextField())
    slash = StrIndex(F("rest"), Value("/"))
    is_dir = Case(When(slash__gt=0, then=Value(True)), default=Value(False), output_field=BooleanField())
    here = below.annotate(rest=rest).annotate(first=first, slash=slash).annotate(is_dir=is_dir)
    folders = [
        Entry(f"{folder}{row['first']}/", row["first"], row["tokens_read"], row["n_read"], row["n"])
        for row in here.filter(is_dir=True).values("first").annotate(
            tokens_read=Coalesce(Sum("tokens", filter=Q(read=True)), 0),
            n_read=Count("pk", filter=Q(read=True)), n=Count("pk"),
        ).order_by("-tokens_read", "first")
    ]  # fmt: skip
    plain = here.filter(is_dir=False)
    entries, more = _told(plain)
    return [*folders, *entries], more


def listed(run: AnalysisRun, reason: str) -> tuple[list[Entry], int]:
    """The files that are skipped for one reason; and how many more there are."""
    return _told(_files(run).filter(read=False, reason=reason), whole=True)


def _told(rows: QuerySet[SourceFile], *, whole: bool = False) -> tuple[list[Entry], int]:
    values = rows.order_by("path").values_list("path", "tokens", "read", "reason", "detail", "language")
    found = list(values[: LISTED + 1])
    more = rows.count() - LISTED if len(found) > LISTED else 0
    return [
        Entry(
            path, path if whole else path.rpartition("/")[2], tokens, int(read), 1, reason, detail, language
        )
        for path, tokens, read, reason, detail, language in found[:LISTED]
    ], more
