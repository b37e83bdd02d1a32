"""What people enter. Rules of a definition stay in specs.py; here they become errors beside their fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.forms.boundfield import BoundField

from nyxcore import ui
from nyxcore.llm import models as registry
from nyxcore.states import Reason
from workflows import services, specs
from workflows.limits import Fit
from workflows.models import OnCutOff, Step, Workflow
from workflows.specs import InputField, Problem, WorkflowSpec

PREFIX = "input-"  # keeps an input field called "name" apart from the workflow's own name


def model_choices(*, empty: str, current: Iterable[str] = ()) -> list[tuple[str, str]]:
    """The models to choose from, with those that are set already though no longer offered."""
    offered = [(info.id, info.label) for info in registry.choices()]
    known = {model for model, _label in offered}
    others = [(model, model) for model in dict.fromkeys(current) if model and model not in known]
    return [("", empty), *offered, *others]


def default_choice() -> str:
    model = registry.default_model()
    info = registry.get(model)
    return f"Default ({info.label if info else model or 'none set'})"


class BudgetField(forms.DecimalField):
    """US dollars, empty for no limit."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            required=False, min_value=Decimal("0.01"), max_digits=12, decimal_places=4, label="Budget, USD",
            help_text="The run pauses before a call that could exceed it. Empty: no limit.", **kwargs,
        )  # fmt: skip
        self.widget.attrs["step"] = "any"


class NewWorkflowForm(forms.Form):
    """The input fields of a template, and how the run behaves."""

    name = forms.CharField(required=False, max_length=200, help_text="Empty: the template's name.")
    default_model = forms.ChoiceField(required=False, label="Model", help_text="For steps that name none.")
    on_cut_off = forms.ChoiceField(
        label="When an answer hits its token limit",
        choices=OnCutOff.choices,
        help_text="A step may say otherwise.",
    )
    budget = BudgetField()

    def __init__(self, spec: WorkflowSpec, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spec = spec
        self.fields["default_model"].choices = model_choices(  # type: ignore[attr-defined]
            empty=default_choice(), current=[spec.default_model]
        )
        self.initial = {
            "default_model": spec.default_model,
            "on_cut_off": spec.on_cut_off,
            "budget": spec.budget,
        } | {PREFIX + field.name: field.default for field in spec.inputs}
        for field in spec.inputs:
            self.fields[PREFIX + field.name] = input_field(field)

    def input_fields(self) -> Iterator[BoundField]:
        return (self[PREFIX + field.name] for field in self.spec.inputs)

    def data_of_inputs(self) -> dict[str, str]:
        return {field.name: self.cleaned_data[PREFIX + field.name] for field in self.spec.inputs}

    def add_problems(self, problems: Sequence[Problem]) -> None:
        """Put each problem beside the field it is about, the others above the form."""
        for problem in problems:
            name = ""
            if len(problem.path) == 2 and problem.path[0] == "input":
                name = f"{PREFIX}{problem.path[1]}"
            elif len(problem.path) == 1:
                name = str(problem.path[0])
            self.add_error(name if name in self.fields else None, problem.message if name else str(problem))


def input_field(field: InputField) -> forms.Field:
    """The control for one input field. What its text may be is judged by specs.validate_input, once and for all."""
    common: dict[str, Any] = {"required": field.required, "label": field.title, "help_text": field.help}
    common["error_messages"] = {"required": f"{field.title} is required."}
    if field.kind == "choice":
        empty = [] if field.required else [("", "")]
        return forms.ChoiceField(choices=[*empty, *((word, word) for word in field.choices)], **common)
    widget: forms.Widget = forms.TextInput()
    if field.kind == "longtext":
        widget = forms.Textarea(attrs={"rows": 12})
    elif field.kind == "number":
        widget = forms.TextInput(attrs={"inputmode": "decimal"})
    return forms.CharField(widget=widget, strip=False, max_length=field.max_length, **common)


# --- what helps one step --------------------------------------------------------------------------------------


class RemedyForm(forms.Form):
    """A fold below a step. `name` is the last word of the address that it is posted to."""

    name = ""
    title = ""
    button = ""
    primary = False
    opened = False  # stands open, since it is what helps

    def short_fields(self) -> list[BoundField]:
        """Those that fit beside each other in one row."""
        return [field for field in self if not isinstance(field.field.widget, forms.Textarea)]

    def long_fields(self) -> list[BoundField]:
        return [field for field in self if isinstance(field.field.widget, forms.Textarea)]


class RetryForm(RemedyForm):
    name = "retry"
    title = "Change and retry"
    button = "Retry with these changes"

    max_tokens = forms.IntegerField(min_value=1, label="Max tokens")
    model = forms.ChoiceField(required=False)
    effort = forms.ChoiceField(required=False)
    prompt = forms.CharField(
        strip=False, widget=forms.Textarea(attrs={"rows": 14, "class": "code", "spellcheck": "false"}),
        help_text="As it stands in this step, before input and earlier outputs are filled in.",
    )  # fmt: skip

    def __init__(self, step: Step, workflow: Workflow, data: Any = None) -> None:
        self.step, self.workflow = step, workflow
        self.was = {
            "max_tokens": step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS,
            "model": step.config.get("model", ""),
            "effort": step.config.get("effort", ""),
            "prompt": step.config.get("prompt", ""),
        }
        super().__init__(data, initial=self.was, auto_id=f"id_retry_{step.pk}_%s")
        self.standing_model = workflow.default_model or registry.default_model()
        empty = f"As the workflow: {self.standing_model}" if self.standing_model else default_choice()
        self.fields["model"].choices = model_choices(empty=empty, current=[self.was["model"]])  # type: ignore[attr-defined]
        efforts = [("", "The model's own")] + [(effort, effort) for effort in registry.EFFORTS]
        self.fields["effort"].choices = efforts  # type: ignore[attr-defined]
        if step.reason == Reason.CUT_THINKING:
            self.fields["effort"].help_text = "A lower one leaves more of the room for the answer."
        limit = self._limit(str(self.was["model"]))
        if limit:
            self.fields["max_tokens"].help_text = f"Up to {limit:,} with this model."

    def _limit(self, model: str) -> int:
        info = registry.get(model or self.standing_model)
        return info.max_output_tokens if info else 0

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        limit = self._limit(data.get("model", ""))
        asked = data.get("max_tokens")
        if limit and asked and asked > limit:
            name = data.get("model") or self.standing_model
            self.add_error("max_tokens", f"{asked:,} is above the limit of {name}: at most {limit:,}.")
        if not self.errors:
            self._check_definition()
        return data

    def _check_definition(self) -> None:
        """The whole workflow must stay valid with the changes: prompt names, limits, efforts."""
        spec = services.spec_of(self.workflow)
        for index, step in enumerate(spec.steps):
            if step.key == self.step.key:
                spec.steps[index] = step.model_copy(update={"config": step.config | self.changes()})
        try:
            specs.validate(spec)
        except specs.SpecError as error:
            for problem in error.problems:
                field = str(problem.path[-1]) if problem.path else ""
                place = f"Line {problem.at[0]}, column {problem.at[1]}: " if problem.at else ""
                self.add_error(field if field in self.fields else None, f"{place}{problem.message}")

    def changes(self) -> dict[str, Any]:
        """What differs from the step as it stands."""
        data = self.cleaned_data | {"prompt": self.cleaned_data["prompt"].replace("\r\n", "\n")}
        return {name: value for name, value in data.items() if value != self.was[name]}


class SkipForm(RemedyForm):
    name = "skip"
    title = "Skip this step"
    button = "Skip"

    replacement = forms.CharField(
        required=False, strip=False, label="Text in its place", widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Needed where a later prompt uses this step's output.",
    )  # fmt: skip


class ApproveForm(RemedyForm):
    name = "approve"
    title = "Edit, then approve"
    button = "Approve the edited text"

    text = forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 18, "class": "code"}))


class SendBackForm(RemedyForm):
    name = "send-back"
    title = "Send back with a comment"
    button = "Send back"

    comment = forms.CharField(
        max_length=20_000, widget=forms.Textarea(attrs={"rows": 5}), label="What should be different",
        help_text="The step is asked again, with its answer and this comment.",
    )  # fmt: skip


# --- settings -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StepRow:
    """One line of the settings' table."""

    position: int
    title: str
    busy: bool  # runs, so that it cannot be changed now
    model: BoundField
    max_tokens: BoundField
    on_cut_off: BoundField
    limit: int | None
    past: Fit | None  # what answers of this step used in runs of the same template


class SettingsForm(forms.Form):
    """Name, model, behaviour and budget of a workflow, and model, room and behaviour of each of its steps."""

    name = forms.CharField(max_length=200)
    default_model = forms.ChoiceField(required=False, label="Default model")
    on_cut_off = forms.ChoiceField(label="When an answer hits its token limit", choices=OnCutOff.choices)
    budget = BudgetField()

    def __init__(
        self, workflow: Workflow, steps: Sequence[Step], data: Any = None, past: Sequence[Fit] = ()
    ) -> None:
        self.past = {fit.step: fit for fit in past}
        self.steps = [step for step in steps if step.kind == "llm"]
        initial: dict[str, Any] = {
            "name": workflow.name, "default_model": workflow.default_model,
            "on_cut_off": workflow.on_cut_off, "budget": workflow.budget,
        }  # fmt: skip
        super().__init__(data, initial=initial)
        self.standing_model = workflow.default_model or registry.default_model()
        used = [workflow.default_model, *(str(step.config.get("model", "")) for step in self.steps)]
        self.fields["default_model"].choices = model_choices(empty=default_choice(), current=used)  # type: ignore[attr-defined]
        choices = model_choices(empty="As the workflow", current=used)
        for step in self.steps:
            busy = step.status == "running"
            shown = ui.printable(step.title)
            self.fields[f"model-{step.key}"] = forms.ChoiceField(
                required=False, choices=choices, initial=step.config.get("model", ""), disabled=busy,
                widget=forms.Select(attrs={"aria-label": f"Model of {shown}"}),
            )  # fmt: skip
            self.fields[f"max_tokens-{step.key}"] = forms.IntegerField(
                min_value=1, initial=step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS,
                disabled=busy, widget=forms.NumberInput(attrs={"aria-label": f"Max tokens of {shown}"}),
            )  # fmt: skip
            self.fields[f"on_cut_off-{step.key}"] = forms.ChoiceField(
                required=False, choices=[("", "As the workflow"), *OnCutOff.choices], disabled=busy,
                initial=step.config.get("on_cut_off", ""),
                widget=forms.Select(attrs={"aria-label": f"When an answer of {shown} is cut off"}),
            )  # fmt: skip

    def step_rows(self) -> Iterator[StepRow]:
        for step in self.steps:
            info = registry.get(str(step.config.get("model") or self.standing_model))
            yield StepRow(
                step.position, step.title, step.status == "running", self[f"model-{step.key}"],
                self[f"max_tokens-{step.key}"], self[f"on_cut_off-{step.key}"],
                (info.max_output_tokens or None) if info else None, self.past.get(step.key),
            )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        standing = data.get("default_model") or registry.default_model()
        for step in self.steps:
            model = data.get(f"model-{step.key}") or standing
            info, asked = registry.get(model), data.get(f"max_tokens-{step.key}")
            if info and info.max_output_tokens and asked and asked > info.max_output_tokens:
                message = f"Above the limit of {model}: at most {info.max_output_tokens:,}."
                self.add_error(f"max_tokens-{step.key}", message)
        return data

    def changes(self) -> dict[str, Any]:
        """The arguments of services.update_settings."""
        data = self.cleaned_data
        changed: dict[str, Any] = {
            name: data[name]
            for name in ("name", "default_model", "on_cut_off", "budget")
            if name in self.changed_data
        }
        steps: dict[str, dict[str, Any]] = {}
        for step in self.steps:
            for option in ("model", "max_tokens", "on_cut_off"):
                if f"{option}-{step.key}" in self.changed_data:
                    steps.setdefault(step.key, {})[option] = data[f"{option}-{step.key}"]
        return changed | ({"steps": steps} if steps else {})
