"""The draft as the page shows it: controls with their labels, texts and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from django.conf import settings

from workflows.builder import options
from workflows.builder.draft import Draft, Row
from workflows.kinds import KINDS
from workflows.models import OnCutOff
from workflows.problems import Problem

Choices = tuple[tuple[str, str], ...]
INPUT_KINDS: Choices = (
    ("text", "One line"),
    ("longtext", "Long text"),
    ("choice", "Choice"),
    ("number", "Number"),
)
AFTER: Choices = (
    ("before", "After the step before"),
    ("start", "At once, waits for nothing"),
    ("chosen", "After chosen steps"),
)


@dataclass
class Control:
    """One field of the form. `widget`: line, number, text, code, choice, check."""

    name: str
    label: str
    value: str = ""
    widget: str = "line"
    help: str = ""
    choices: Choices = ()
    optional: bool = False
    listed: str = ""
    placeholder: str = ""
    rows: int = 3
    errors: Sequence[str] = ()
    focus: bool = False
    css: str = ""

    @property
    def shown_choices(self) -> Choices:
        """With the present value, also where it is none of them: it must not turn into another one."""
        known = {value for value, _label in self.choices}
        return (
            self.choices if self.value in known else (*self.choices, (self.value, f"{self.value} (unknown)"))
        )

    @property
    def described_by(self) -> str:
        return " ".join([f"{self.name}_error", *([f"{self.name}_help"] if self.help else [])])


@dataclass
class RowView:
    """An input field or a step on the page."""

    group: str
    number: int
    name: str
    title: str
    place: int
    total: int
    common: list[Control]
    options: list[Control] = field(default_factory=list)  # of its kind
    folded: list[Control] = field(default_factory=list)  # of its kind, rarely needed
    rest: list[Control] = field(default_factory=list)
    kind: str = ""
    spare: list[tuple[str, str]] = field(default_factory=list)  # what was typed for another kind

    @property
    def dom_id(self) -> str:
        return f"{self.group}-{self.number}"

    @property
    def opens(self) -> bool:
        """The folded part holds a mistake."""
        return any(control.errors for control in (*self.folded, *self.rest))

    @property
    def controls(self) -> list[Control]:
        return [*self.common, *self.options, *self.folded, *self.rest]


class Page:
    """Makes the controls of a draft, each with its problems."""

    def __init__(self, draft: Draft, problems: Sequence[Problem] = ()) -> None:
        self.draft = draft
        self.errors: dict[str, list[str]] = {}
        for problem in problems:
            self.errors.setdefault(draft.field_of(problem), []).append(said(problem))

    def _dress(self, control: Control, value: str) -> Control:
        control.value = value
        control.errors = self.errors.get(control.name, ())
        control.focus = control.name == self.draft.focus
        return control

    def head(self) -> dict[str, Control]:
        """The definition's own fields by name."""
        default = "the installation's default model"
        made = [
            Control("name", "Name"),
            Control("description", "Description", widget="text", optional=True, rows=2),
            Control(
                "slug", "Short name", help="In addresses and files. Empty: made from the name.", optional=True
            ),
            Control("version", "Version", widget="number"),
            Control("default_model", "Default model", optional=True, listed="models", placeholder=default),
            Control(
                "on_cut_off", "When an answer is cut off", widget="choice", choices=tuple(OnCutOff.choices)
            ),
            Control("budget", "Budget, USD", widget="number", optional=True, placeholder="no limit"),
        ]
        return {control.name: self._dress(control, self.draft[control.name]) for control in made}

    def inputs(self) -> Iterator[RowView]:
        rows = self.draft.inputs
        return (self.input(row, place, len(rows)) for place, row in enumerate(rows, 1))

    def steps(self) -> Iterator[RowView]:
        rows = self.draft.steps
        return (self.step(row, place, len(rows)) for place, row in enumerate(rows, 1))

    def input(self, row: Row, place: int = 1, total: int = 1) -> RowView:
        common = [
            Control("label", "Label", optional=True),
            Control("name", "Name", help="Prompts call it {{ input.name }}.", css="mono"),
            Control("kind", "Kind", widget="choice", choices=INPUT_KINDS),
            Control("required", "Required", widget="check"),
        ]
        rest = [
            Control("help", "Help", widget="text", rows=1, optional=True),
            Control("default", "Default", widget="text", rows=1, optional=True),
            Control("choices", "Choices, one a line", widget="text", rows=3, optional=True),
            Control("max_length", "Longest, characters", widget="number", optional=True),
            Control("example", "Example, for preview and estimate", widget="text", rows=2, optional=True,
                    help="Not part of the definition."),
        ]  # fmt: skip
        title = row["label"] or row["name"]
        view = RowView("input", row.number, row["name"], title, place, total, common, rest=rest)
        return self._named(view, row)

    def step(self, row: Row, place: int = 1, total: int = 1) -> RowView:
        kind = row["kind"] or "llm"
        common = [
            Control("title", "Title"),
            Control("key", "Key", help="Prompts call it {{ steps.key.content }}.", css="mono"),
            Control(
                "kind",
                "Kind",
                widget="choice",
                choices=tuple((name, each.label) for name, each in KINDS.items()),
            ),
            Control("after", "Starts", widget="choice", choices=AFTER),
            Control("needs", "Which steps", help="Their keys, with commas between them.", css="mono needs"),
        ]
        found = options.options_of(kind)
        rest = [
            Control(
                "notes", "Notes", widget="text", rows=2, optional=True, help="Later prompts may use them."
            )
        ]
        if row["more"]:
            rest.append(Control("more", "Other options (YAML)", widget="code", optional=True))
        view = RowView(
            "step", row.number, row["key"], row["title"] or row["key"], place, total, common, rest=rest, kind=kind,
            options=[_of_option(kind, option) for option in found if option.is_main],
            folded=[_of_option(kind, option) for option in found if not option.is_main],
        )  # fmt: skip
        own = {f"{kind}-{option.name}" for option in found}
        view.spare = [
            (f"step-{row.number}-{name}", text)
            for name, text in row.texts.items()
            if "-" in name and name not in own and text
        ]
        return self._named(view, row)

    def _named(self, view: RowView, row: Row) -> RowView:
        for control in view.controls:
            own, control.name = control.name, f"{view.group}-{row.number}-{control.name}"
            self._dress(control, row[own])
        return view


def _of_option(kind: str, option: options.Option) -> Control:
    widget = {"lines": "text", "yaml": "code"}.get(option.widget, option.widget)
    empty = option.empty[:1].upper() + option.empty[1:]
    choices = tuple((word, word or empty or "Default") for word in option.choices)
    placeholder = option.empty
    if option.name == "max_tokens":
        placeholder = f"{settings.NYXCORE_DEFAULT_MAX_TOKENS:,}"
    return Control(
        f"{kind}-{option.name}", option.label, widget=widget, help=option.help, choices=choices,
        optional=not option.required and widget not in ("check", "choice"), listed=option.listed,
        placeholder="" if widget == "code" else placeholder, rows=option.rows,
    )  # fmt: skip


def said(problem: Problem) -> str:
    """A problem beside its field: the place inside a text comes first."""
    return (
        f"Line {problem.at[0]}, column {problem.at[1]}: {problem.message}" if problem.at else problem.message
    )
