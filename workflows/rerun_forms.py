"""Running again from a step: the form with what may be changed before, and the list that is shown with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django import forms
from django.conf import settings
from django.forms.boundfield import BoundField

from nyxcore.llm import models as registry
from nyxcore.states import Reason, Status
from workflows import services, specs
from workflows.forms import PREFIX, input_field, model_choices
from workflows.kinds import KINDS
from workflows.models import Step, Workflow
from workflows.prompts import names, steps_named

EDITABLE = 60  # steps whose fields come with the page; a longer run is edited in its settings or as a copy
OPTIONS = ("prompt", "model", "max_tokens", "effort")


@dataclass(frozen=True)
class Fields:
    """What of one step can be changed. `changed`: stands open, since something was typed or is wrong there."""

    step: Step
    short: list[BoundField]
    long: list[BoundField]
    changed: bool
    remark: str = ""  # what speaks for a change


@dataclass
class Edits:
    configs: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


class RerunForm(forms.Form):
    """Edits of the input, of the steps that run again, and of stored outputs that they use; none has to be made."""

    seen = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, workflow: Workflow, plan: services.RerunPlan, data: Any = None) -> None:
        self.workflow = workflow
        self.again = [step for step in plan.again if step.kind == "llm"][:EDITABLE]
        self.sources = _used(plan)[:EDITABLE]
        self.left_out = sum(step.kind == "llm" for step in plan.again) - len(self.again)
        self.inputs = [specs.InputField.model_validate(one) for one in workflow.inputs]
        self.kept_from_input = [step for step in plan.reused if _reads_input(step)]
        super().__init__(data, initial={"seen": workflow.version}, auto_id="id_rerun_%s")
        for one in self.inputs:
            self.fields[PREFIX + one.name] = input_field(one)
            self.fields[PREFIX + one.name].initial = workflow.input.get(one.name, "")
        for step in self.again:
            self._add_config(step)
        for step in self.sources:
            self.fields[f"output-{step.key}"] = forms.CharField(
                initial=step.output, strip=False, required=False, label="Stored text",
                widget=forms.Textarea(attrs={"rows": 10, "class": "code", "spellcheck": "false"}),
                help_text="What the steps that run again are given. The text as it is now stays among the attempts.",
            )  # fmt: skip

    def _add_config(self, step: Step) -> None:
        config, standing = step.config, self.workflow.default_model or registry.default_model()
        models = model_choices(empty=f"As the workflow: {standing}", current=[str(config.get("model", ""))])
        info = registry.get(str(config.get("model") or standing))
        limit = info.max_output_tokens if info else 0
        efforts = [("", "The model's own"), *((effort, effort) for effort in registry.EFFORTS)]
        self.fields |= {
            f"model-{step.key}": forms.ChoiceField(
                choices=models, initial=config.get("model", ""), required=False, label="Model"
            ),
            f"max_tokens-{step.key}": forms.IntegerField(
                min_value=1, initial=config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS,
                label="Max tokens", help_text=f"Up to {limit:,} with this model." if limit else "",
            ),
            f"effort-{step.key}": forms.ChoiceField(
                choices=efforts, initial=config.get("effort", ""), required=False, label="Effort"
            ),
            f"prompt-{step.key}": forms.CharField(
                strip=False, initial=config.get("prompt", ""), label="Prompt",
                widget=forms.Textarea(attrs={"rows": 12, "class": "code", "spellcheck": "false"}),
                help_text="As it stands in the step, before input and earlier outputs are filled in.",
            ),
        }  # fmt: skip

    def of_again(self) -> list[Fields]:
        return [self._fields(step, ("model", "max_tokens", "effort"), ("prompt",)) for step in self.again]

    def of_input(self) -> list[BoundField]:
        return [self[PREFIX + one.name] for one in self.inputs]

    @property
    def input_changed(self) -> bool:
        return self._changed([PREFIX + one.name for one in self.inputs])

    def of_sources(self) -> list[Fields]:
        return [self._fields(step, (), ("output",)) for step in self.sources]

    def _fields(self, step: Step, short: Sequence[str], long: Sequence[str]) -> Fields:
        changed = self._changed([f"{option}-{step.key}" for option in (*short, *long)])
        return Fields(
            step, [self[f"{o}-{step.key}"] for o in short], [self[f"{o}-{step.key}"] for o in long], changed,
            _remark(step) if short else "",
        )  # fmt: skip

    def _changed(self, names: Sequence[str]) -> bool:
        return self.is_bound and any(self._differs(name) or self[name].errors for name in names)

    def _differs(self, name: str) -> bool:
        """Whether a field was changed; browsers send line breaks as CRLF."""
        value = self.cleaned_data.get(name, "") if hasattr(self, "cleaned_data") else ""
        return bool(_plain(value) != _plain(self.fields[name].initial))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors:
            self._check_definition()
        return data

    def _check_definition(self) -> None:
        """The whole workflow must stay valid with the changes; each problem stands beside its field."""
        edits = self.edits()
        for key, text in edits.outputs.items():
            if not text.strip():
                self.add_error(f"output-{key}", "An empty text helps no later step.")
        if edits.inputs:
            self._check_input(edits.inputs)
        if not edits.configs:
            return
        spec = services.edited_spec(self.workflow, edits.configs)
        try:
            specs.validate(spec)
        except specs.SpecError as error:
            keys = [step.key for step in spec.steps]
            for problem in error.problems:
                self._add_problem(problem, keys)

    def _check_input(self, edits: dict[str, str]) -> None:
        try:
            specs.validate_input(services.spec_of(self.workflow), self.workflow.input | edits)
        except specs.SpecError as error:
            for problem in error.problems:
                name = f"{PREFIX}{problem.path[-1]}"
                self.add_error(name if name in self.fields else None, problem.message)

    def _add_problem(self, problem: specs.Problem, keys: Sequence[str]) -> None:
        path = problem.path
        place = f"Line {problem.at[0]}, column {problem.at[1]}: " if problem.at else ""
        key = keys[path[1]] if len(path) > 1 and isinstance(path[1], int) and path[1] < len(keys) else ""
        name = f"{path[-1]}-{key}" if path and key else ""
        found = name in self.fields
        self.add_error(name if found else None, f"{place}{problem.message}" if found else str(problem))

    def edits(self) -> Edits:
        """What differs from how it stands."""
        found = Edits()
        for step in self.again:
            for option in OPTIONS:
                name = f"{option}-{step.key}"
                if name in self.cleaned_data and self._differs(name):
                    found.configs.setdefault(step.key, {})[option] = _plain(self.cleaned_data[name])
        for step in self.sources:
            name = f"output-{step.key}"
            if name in self.cleaned_data and self._differs(name):
                found.outputs[step.key] = _plain(self.cleaned_data[name])
        for one in self.inputs:
            name = PREFIX + one.name
            if name in self.cleaned_data and self._differs(name):
                found.inputs[one.name] = _plain(self.cleaned_data[name])
        return found


def _plain(value: Any) -> Any:
    return value.replace("\r\n", "\n").replace("\x00", "") if isinstance(value, str) else value


def _remark(step: Step) -> str:
    if step.status != Status.CUT_OFF or step.reason != Reason.CUT_MAX_TOKENS:
        return ""
    room = int(step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)
    return f"Its answer was cut off. With the same room of {room:,} tokens it may be cut off again."


def _templates(step: Step) -> list[str]:
    if step.kind not in KINDS:
        return []
    kind = KINDS[step.kind]
    return list(kind.templates(kind.Config.model_validate(step.config)).values())


def _reads_input(step: Step) -> bool:
    return any(name.split(".")[0] == "input" for text in _templates(step) for name in names(text))


def _used(plan: services.RerunPlan) -> list[Step]:
    """The steps that keep their output and whose output a step that runs again is given."""
    named: set[str] = set()
    for step in plan.again:
        named |= steps_named(_templates(step))
        named |= {str(step.config["shows"])} if step.config.get("shows") else set()
    return [step for step in plan.reused if step.key in named]
