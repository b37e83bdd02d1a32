"""The definition of a workflow: one schema for form, file and engine."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from workflows import prompts, speccheck, yamlfile
from workflows.fields import KEY, SLUG, Line, ModelId, Strict, Text
from workflows.inputs import validate_input
from workflows.kinds import KINDS
from workflows.problems import Problem, SpecError
from workflows.reports import problems_of
from workflows.speccheck import resolved_needs

MAX_STEPS = 1_000
MAX_INPUTS = 100

__all__ = [
    "InputField",
    "Problem",
    "SpecError",
    "StepSpec",
    "WorkflowSpec",
    "dump_yaml",
    "load",
    "outputs_used",
    "parse_yaml",
    "resolved_needs",
    "validate",
    "validate_input",
    "warnings",
]


def _as_text(value: Any) -> Any:
    """A number written without quotes is a choice or a default like any other."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return str(value)


def _as_money(value: Any) -> Any:
    """Money comes as a number from a file and as text from JSON; 2.50 and 2.5 are the same amount."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        return value
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return value
    return Decimal(format(amount.normalize(), "f")) if amount.is_finite() else value


Word = Annotated[Line, BeforeValidator(_as_text)]
Money = Annotated[Decimal, BeforeValidator(_as_money), Field(gt=0, max_digits=12, decimal_places=4)]


class InputField(Strict):
    """One thing that a person enters when a workflow is created."""

    name: Annotated[str, Field(pattern=KEY, max_length=60)]
    label: Annotated[Line, Field(max_length=200)] = ""
    kind: Literal["text", "longtext", "choice", "number"] = "text"
    required: bool = True
    default: Annotated[Text, BeforeValidator(_as_text), Field(max_length=100_000)] = ""
    help: Annotated[Text, Field(max_length=2_000)] = ""
    choices: Annotated[list[Annotated[Word, Field(min_length=1, max_length=200)]], Field(max_length=200)] = []
    max_length: Annotated[int, Field(ge=1, le=100_000_000)] | None = None

    @property
    def title(self) -> str:
        return self.label or self.name.replace("_", " ").capitalize()


class StepSpec(Strict):
    key: Annotated[str, Field(pattern=KEY, max_length=60)]
    title: Annotated[Line, Field(min_length=1, max_length=200)]
    kind: Annotated[str, Field(max_length=40)] = "llm"
    needs: list[str] | None = None
    notes: Annotated[Text, Field(max_length=20_000)] = ""
    config: dict[str, Any]


class WorkflowSpec(Strict):
    name: Annotated[Line, Field(min_length=1, max_length=200, pattern=r"\S")]
    slug: Annotated[str, Field(pattern=SLUG, max_length=100)]
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    description: Annotated[Text, Field(max_length=20_000)] = ""
    inputs: Annotated[list[InputField], Field(max_length=MAX_INPUTS)] = []
    default_model: ModelId = ""
    on_cut_off: Literal["stop", "raise", "continue"] = "stop"
    budget: Money | None = None
    steps: Annotated[list[StepSpec], Field(min_length=1, max_length=MAX_STEPS)]


def parse_yaml(text: str, *, check_models: bool = True) -> WorkflowSpec:
    """Return the validated definition in a file; raise SpecError with the line of every problem."""
    document = yamlfile.read(text)
    if not isinstance(document.data, dict):
        raise SpecError([Problem("", "The file must be a mapping that begins with name, slug and steps.", 1)])
    try:
        spec = _load(document.data)
        return validate(spec, check_models=check_models)
    except SpecError as error:
        raise SpecError([_with_line(problem, document) for problem in error.problems]) from None


def load(data: Mapping[str, Any], *, check_models: bool = True) -> WorkflowSpec:
    """Return the validated definition in plain data, such as a form or a stored JSON gives."""
    return validate(_load(data), check_models=check_models)


def _load(data: Mapping[str, Any]) -> WorkflowSpec:
    try:
        return WorkflowSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(problems_of(error, WorkflowSpec, data)) from None


def _with_line(problem: Problem, document: yamlfile.Document) -> Problem:
    if problem.line:
        return problem
    line = (
        document.line_in_text(problem.path, problem.at[0]) if problem.at else document.line_of(problem.path)
    )
    return Problem(problem.where, problem.message, line, problem.path, problem.at)


def dump_yaml(spec: WorkflowSpec) -> str:
    """Return the definition as YAML: fields in the schema's order, what has its default value left out."""
    data = spec.model_dump(exclude_defaults=True, exclude={"steps"})
    data |= {"name": spec.name, "slug": spec.slug, "version": spec.version}
    if spec.budget is not None:
        data["budget"] = int(spec.budget) if spec.budget == int(spec.budget) else float(spec.budget)
    data["steps"] = [_step_data(step) for step in spec.steps]
    order = list(WorkflowSpec.model_fields)
    return yamlfile.write({key: data[key] for key in sorted(data, key=order.index)})


def _step_data(step: StepSpec) -> dict[str, Any]:
    data = step.model_dump(exclude_defaults=True)
    options = list(KINDS[step.kind].Config.model_fields) if step.kind in KINDS else []
    known = {name: step.config[name] for name in options if name in step.config}
    return data | {"config": known | step.config}


def validate(spec: WorkflowSpec, *, check_models: bool = True) -> WorkflowSpec:
    """Return the definition, each step's config completed by its kind; raise SpecError with all problems.

    `check_models` compares models and token limits with the registry. Templates that are only shown leave
    that out: their limits count against the model that a workflow made of them uses.
    """
    report = speccheck.Report(spec)
    speccheck.check_inputs(spec, report)
    whole = speccheck.check_graph(spec, report)
    steps, configs = speccheck.complete_steps(spec, report)
    if check_models:
        speccheck.check_models(spec, configs, report)
    if whole:  # else every prompt that names a mistaken key would be reported again
        speccheck.check_prompts(spec, configs, report)
    if report.problems:
        raise SpecError(report.problems)
    return spec.model_copy(update={"steps": steps})


def warnings(spec: WorkflowSpec) -> list[Problem]:
    """Return what a valid definition allows but probably does not mean."""
    return speccheck.find_warnings(spec)


def further_used(kind: str, config: dict[str, Any]) -> bool:
    """Whether a step's prompts name what only some kinds of steps offer."""
    templates = KINDS[kind].templates(KINDS[kind].Config.model_validate(config))
    return prompts.further_named(templates.values())


def outputs_used(kind: str, config: dict[str, Any]) -> set[str]:
    """Return the keys of the steps whose outputs a step's prompts name."""
    templates = KINDS[kind].templates(KINDS[kind].Config.model_validate(config))
    return prompts.steps_named(templates.values())
