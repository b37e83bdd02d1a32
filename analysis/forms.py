"""What people enter for an analysis. What an address may be is judged by hosts.py; here it is told in place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from django import forms

from analysis import hosts
from analysis.analyzers import MODEL_ANALYZERS
from analysis.documents import DOCUMENTS
from analysis.errors import SourceError
from analysis.models import AnalysisRun, Dismissal, SourceKind
from analysis.plain import Options
from analysis.rows import options_of
from analysis.services.create import MAX_UPLOAD, options_again
from nyxcore.llm import models as registry

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tar.xz")
MOST_PATTERNS = 200
MOST_TOKENS = 100_000_000  # of files that one run may read


def model_choices(current: Iterable[str] = (), empty: str = "") -> list[tuple[str, str]]:
    """The models to choose from, with one that is set already though no longer offered. `empty`: what none means."""
    default = registry.get(registry.default_model())
    offered = [(info.id, info.label) for info in registry.choices()]
    known = {model for model, _label in offered}
    others = [(model, model) for model in dict.fromkeys(current) if model and model not in known]
    return [("", empty or f"Default ({default.label if default else 'none set'})"), *offered, *others]


def budget_field() -> forms.DecimalField:
    field = forms.DecimalField(
        required=False, min_value=Decimal("0.01"), max_digits=12, decimal_places=4, label="Budget, USD",
        help_text="The analysis pauses before a call that could exceed it. Empty: no limit.",
    )  # fmt: skip
    field.widget.attrs["step"] = "any"
    return field


def tokens_field() -> forms.IntegerField:
    """How much is read at most. Empty: as it is set already."""
    field = forms.IntegerField(
        required=False, min_value=1, max_value=MOST_TOKENS, label="Tokens of files, at most",
        help_text="The files that rank highest are read up to here; every other one is listed with that reason.",
    )  # fmt: skip
    field.widget.attrs["step"] = "any"
    return field


def patterns_field(help_text: str, label: str = "Leave out") -> forms.CharField:
    return forms.CharField(
        required=False, label=label, max_length=20_000, help_text=help_text,
        widget=forms.Textarea(attrs={"rows": 3, "class": "code", "spellcheck": "false"}),
    )  # fmt: skip


def patterns_of(text: str) -> tuple[str, ...]:
    """One pattern a line, each once."""
    lines = (line.strip() for line in text.replace("\x00", "").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))[:MOST_PATTERNS]


def checked_archive(archive: Any) -> Any:
    """The upload, if its name and size are those of an archive that can be read."""
    if archive and not archive.name.lower().endswith(ARCHIVES):
        raise forms.ValidationError(
            f"“{archive.name}” is no archive that can be read. Upload one of: {', '.join(ARCHIVES)}."
        )
    if archive and archive.size > MAX_UPLOAD:
        limit = MAX_UPLOAD // 1_000_000
        raise forms.ValidationError(
            f"The archive is larger than {limit} MB. Leave out what need not be read."
        )
    return archive


class OptionsForm(forms.Form):
    """What is asked about a source and how: the same for a first analysis and for each one after."""

    analyzers = forms.MultipleChoiceField(
        label="Analyzers", choices=[(one.name, one.label) for one in MODEL_ANALYZERS.values()],
        error_messages={"required": "Choose at least one analyzer."},
    )  # fmt: skip
    documents = forms.MultipleChoiceField(
        label="Documents", required=False, choices=[(one.slug, one.title) for one in DOCUMENTS.values()]
    )
    model = forms.ChoiceField(required=False)
    verify = forms.BooleanField(
        required=False, label="A second look tries to refute each finding",
        help_text="Without it a run costs less, and what the analyzers claim stands unchecked.",
    )  # fmt: skip
    verify_model = forms.ChoiceField(required=False, label="Second look by")
    budget = budget_field()
    include = patterns_field(
        "Patterns as in .gitignore, one a line. Empty: everything. What is named here is read even if it is usually "
        "left out.", "Read only",
    )  # fmt: skip
    exclude = patterns_field(
        "Patterns as in .gitignore, one a line. You can also leave out folders on the next page."
    )
    tokens = tokens_field()
    migrations = forms.BooleanField(
        required=False, label="Read database migrations too", help_text="They are many and seldom changed."
    )

    def __init__(
        self,
        data: Any = None,
        files: Any = None,
        *,
        before: Options | None = None,
        budget: Decimal | None = None,
    ) -> None:
        super().__init__(data, files)
        self.before = before = before or Options()
        models, looks = self.fields["model"], self.fields["verify_model"]
        models.choices = model_choices([before.model])  # type: ignore[attr-defined]
        looks.choices = model_choices([before.verify_model], "The same model")  # type: ignore[attr-defined]
        self.initial = {
            "analyzers": list(before.analyzers or MODEL_ANALYZERS), "documents": list(before.documents),
            "model": before.model, "verify": before.verify, "verify_model": before.verify_model,
            "budget": budget.normalize() if budget else None, "migrations": before.migrations,
            "tokens": before.max_tokens_read,
            "include": "\n".join(before.include), "exclude": "\n".join(before.exclude),
        }  # fmt: skip

    def options(self) -> Options:
        """The options that were there before, with what was chosen."""
        data = self.cleaned_data
        chosen = tuple(data["analyzers"])
        return replace(
            self.before,
            analyzers=() if len(chosen) == len(MODEL_ANALYZERS) else chosen,
            documents=tuple(data["documents"]),
            model=data["model"],
            verify=data["verify"],
            verify_model=data["verify_model"],
            include=patterns_of(data["include"]),
            exclude=patterns_of(data["exclude"]),
            migrations=data["migrations"],
            max_tokens_read=data["tokens"] or self.before.max_tokens_read,
            confirm=True,  # a run that a command has begun may have gone on unasked; the page promises an estimate
        )


def archive_field(label: str, help_text: str = "", *, required: bool = False) -> forms.FileField:
    return forms.FileField(
        required=required, label=label, help_text=help_text,
        widget=forms.FileInput(attrs={"accept": ",".join(ARCHIVES)}),
        error_messages={"required": "Choose the archive with the new state of the source."},
    )  # fmt: skip


class NewAnalysisForm(OptionsForm):
    """Where the source is, too."""

    location = forms.CharField(
        required=False, max_length=1_000, label="Git address",
        help_text="https only, for example https://example.org/team/project.git. Private hosts are refused.",
        widget=forms.TextInput(attrs={"placeholder": "https://", "autocomplete": "off", "inputmode": "url"}),
    )  # fmt: skip
    archive = archive_field(
        "Or upload an archive", f"zip or tar (.tar.gz), up to {MAX_UPLOAD // 1_000_000} MB."
    )
    ref = forms.CharField(
        required=False, max_length=255, label="Branch or tag", help_text="Empty: the default branch."
    )
    sub_path = forms.CharField(
        required=False, max_length=1_000, label="Folder in it", help_text="Empty: everything."
    )
    name = forms.CharField(required=False, max_length=200, help_text="Empty: the name of the source.")

    def clean_location(self) -> str:
        location: str = self.cleaned_data["location"].strip()
        if location and not location.startswith("https://"):
            raise forms.ValidationError(
                "The address must begin with https://. Other ways to fetch are refused."
            )
        if location:
            try:
                hosts.check(location)
            except SourceError as error:
                raise forms.ValidationError(error.message) from None
        return location

    def clean_archive(self) -> Any:
        return checked_archive(self.cleaned_data["archive"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "location" not in self.errors and "archive" not in self.errors:
            location, archive = data.get("location"), data.get("archive")
            if location and archive:
                self.add_error("archive", "Give an address or an archive, not both.")
            elif not location and not archive:
                self.add_error("location", "Give the address of a repository, or upload an archive below.")
        return data


class AgainForm(OptionsForm):
    """Another look at the source of `run`. What was uploaded is not kept, so it is asked for anew."""

    archive = archive_field("Archive with the new state", required=True)

    def __init__(self, run: AnalysisRun, data: Any = None, files: Any = None) -> None:
        super().__init__(data, files, before=options_again(run), budget=run.budget)
        if run.source_kind != SourceKind.UPLOAD:
            del self.fields["archive"]

    def clean_archive(self) -> Any:
        return checked_archive(self.cleaned_data["archive"])


class CoverageForm(forms.Form):
    """What is read, and for how much at most, decided when coverage and estimate are there."""

    patterns = patterns_field("Patterns as in .gitignore, one a line. Boxes that are ticked above are added.")
    model = forms.ChoiceField(required=False)
    budget = budget_field()
    tokens = tokens_field()

    def __init__(self, run: AnalysisRun, data: Any = None) -> None:
        super().__init__(data)
        options = options_of(run)
        self.run = run
        self.fields["model"].choices = model_choices([options.model])  # type: ignore[attr-defined]
        self.initial = {
            "patterns": "\n".join(options.exclude), "model": options.model,
            "budget": run.budget.normalize() if run.budget else None, "tokens": options.max_tokens_read,
        }  # fmt: skip

    def ticked(self, name: str) -> list[str]:
        values = self.data.getlist(name) if hasattr(self.data, "getlist") else []
        return [value.replace("\x00", "")[:2_000] for value in values if value.strip()]

    def options(self, before: Options) -> Options:
        """The options with what was ticked and typed."""
        typed = patterns_of(self.cleaned_data["patterns"])
        excluded = [literal(path) for path in self.ticked("exclude")]
        include = before.include
        named = [literal(path) for path in self.ticked("include")]
        if named:
            include = tuple(dict.fromkeys([*(include or ("*",)), *named]))
        allowed = tuple(dict.fromkeys([*before.allow_secrets, *self.ticked("allow")]))
        return replace(
            before,
            exclude=tuple(dict.fromkeys([*typed, *excluded])),
            include=include, allow_secrets=allowed, model=self.cleaned_data["model"],
            max_tokens_read=self.cleaned_data["tokens"] or before.max_tokens_read,
        )  # fmt: skip


def literal(path: str) -> str:
    """The pattern that names this path and no other: anchored, with nothing in it that stands for more."""
    escaped = "".join(f"\\{sign}" if sign in "*?[\\" else sign for sign in path)
    return f"/{escaped}"


class BudgetForm(forms.Form):
    budget = budget_field()


class DismissForm(forms.Form):
    """Why a finding is turned down."""

    why = forms.ChoiceField(label="Why", choices=Dismissal.choices, error_messages={"required": "Say why."})
    note = forms.CharField(required=False, max_length=1_000, label="Note")
