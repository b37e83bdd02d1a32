"""The rules of a definition that a schema cannot say: names that fit together, prompts that can be filled."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from workflows import prompts
from workflows.inputs import wrong_value
from workflows.kinds import KINDS
from workflows.kinds.base import KindConfig
from workflows.kinds.llm import model_problem
from workflows.problems import Path, Problem, did_you_mean
from workflows.promptcheck import place_of
from workflows.reports import in_words, problems_of

if TYPE_CHECKING:
    from workflows.specs import InputField, StepSpec, WorkflowSpec

# Input kinds whose values the definition's author has written; free text never becomes an instruction.
AUTHORS_OWN = ("choice", "number")
_SINGLE_BRACES = re.compile(r"(?<!\{)\{\s*((?:input|steps)\.[\w.]+)\s*\}(?!\})")


def resolved_needs(spec: WorkflowSpec) -> dict[str, tuple[str, ...]]:
    """Return the needs of each step by key, the default (the step before) written out."""
    needs: dict[str, tuple[str, ...]] = {}
    before: tuple[str, ...] = ()
    for step in spec.steps:
        needs[step.key] = before if step.needs is None else tuple(step.needs)
        before = (step.key,)
    return needs


class Report:
    """Collects problems, and says where they are."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self.steps = [step.key for step in spec.steps]
        self.inputs = [field.name for field in spec.inputs]
        self.problems: list[Problem] = []

    def add(self, path: Path, message: str, at: tuple[int, int] | None = None) -> None:
        self.problems.append(Problem(in_words(path, self.steps, self.inputs), message, path=path, at=at))


def check_inputs(spec: WorkflowSpec, report: Report) -> None:
    """Names are unique, options fit the kind of field, a default is a value that the field takes."""
    seen: set[str] = set()
    for index, field in enumerate(spec.inputs):
        if field.name in seen:
            report.add(("inputs", index, "name"), f"The name {field.name} is taken by an earlier input.")
        seen.add(field.name)
        for option, message in _wrong_options(field):
            report.add(("inputs", index, option), message)


def _wrong_options(field: InputField) -> Iterator[tuple[str, str]]:
    if field.kind == "choice":
        if not field.choices:
            yield "choices", "A choice needs choices."
        elif len(set(field.choices)) < len(field.choices):
            yield "choices", "The same choice stands there twice."
    elif field.choices:
        yield "choices", f"Only a field of kind choice has choices; this one is {field.kind}."
    if field.max_length is not None and field.kind in AUTHORS_OWN:
        yield "max_length", f"A field of kind {field.kind} has no max_length."
    if field.default and (message := wrong_value(field, field.default)):
        yield "default", f"The default {message}"


def check_graph(spec: WorkflowSpec, report: Report) -> bool:
    """Keys are unique; needs name steps that stand before: no circles. Return whether all is well."""
    before = len(report.problems)
    position: dict[str, int] = {}
    for index, step in enumerate(spec.steps):
        if step.key in position:
            report.add(
                ("steps", index, "key"), f"The key {step.key} is taken by step {position[step.key] + 1}."
            )
        position.setdefault(step.key, index)
    for index, step in enumerate(spec.steps):
        for place, need in enumerate(step.needs or ()):
            if message := _wrong_need(step, index, place, need, position):
                report.add(("steps", index, "needs", place), message)
    return len(report.problems) == before


def _wrong_need(step: StepSpec, index: int, place: int, need: str, position: Mapping[str, int]) -> str:
    if need not in position:
        return f"There is no step {need}.{did_you_mean(need, position.keys() - {step.key})}"
    if need == step.key:
        return "A step cannot need itself."
    if position[need] > index:
        return f"{need} comes later (step {position[need] + 1}); a step needs steps that stand before it."
    return f"{need} is named twice." if need in (step.needs or [])[:place] else ""


def complete_steps(spec: WorkflowSpec, report: Report) -> tuple[list[StepSpec], dict[int, KindConfig]]:
    """Return the steps with their configs completed by their kinds, and the configs by position."""
    needs = resolved_needs(spec)
    steps: list[StepSpec] = []
    configs: dict[int, KindConfig] = {}
    for index, step in enumerate(spec.steps):
        config = _read_config(index, step, report)
        if config is None:
            steps.append(step)
            continue
        previous = spec.steps[index - 1].key if index else ""
        config = KINDS[step.kind].complete(config, needs=needs[step.key], previous=previous)
        for option, message in KINDS[step.kind].problems(config):
            report.add(("steps", index, "config", option), message)
        configs[index] = config
        steps.append(step.model_copy(update={"config": config.model_dump(mode="json", exclude_unset=True)}))
    return steps, configs


def _read_config(index: int, step: StepSpec, report: Report) -> KindConfig | None:
    kind = KINDS.get(step.kind)
    if kind is None:
        report.add(
            ("steps", index, "kind"), f"There is no step kind {step.kind}.{did_you_mean(step.kind, KINDS)}"
        )
        return None
    path: Path = ("steps", index, "config")
    try:
        config: KindConfig = kind.Config.model_validate(step.config)
    except ValidationError as error:
        for problem in problems_of(error, kind.Config, step.config, path):
            report.add(problem.path, _of_other_kind(step.kind, problem) or problem.message)
        return None
    return config


def _of_other_kind(kind: str, problem: Problem) -> str:
    """Return a better message for an option that another kind has: it would be ignored here."""
    option = str(problem.path[-1])
    owners = [name for name, other in KINDS.items() if option in other.Config.model_fields]
    if not problem.message.startswith("Unknown key") or not owners:
        return ""
    return f"{option} is an option of kind {' and '.join(owners)}; a step of kind {kind} would ignore it."


def check_models(spec: WorkflowSpec, configs: Mapping[int, KindConfig], report: Report) -> None:
    """Models are known to the active provider, and nothing is asked beyond their limits."""
    if message := model_problem(spec.default_model):
        report.add(("default_model",), message)
        return
    for index, config in configs.items():
        for option, message in KINDS[spec.steps[index].kind].model_problems(
            config, default_model=spec.default_model
        ):
            report.add(("steps", index, "config", option), message)


def check_prompts(spec: WorkflowSpec, configs: Mapping[int, KindConfig], report: Report) -> None:
    """Every name in every prompt can be filled when its step runs."""
    scopes = _Scopes(spec)
    for index, config in configs.items():
        kind = KINDS[spec.steps[index].kind]
        for place, template in kind.templates(config).items():
            inputs, earlier, refused = scopes.of(index, instructions=place in kind.instructions)
            own = template == getattr(config, place, None)
            for problem in prompts.check(
                template, place=place, inputs=inputs, earlier=earlier, refused=refused
            ):
                report.add(("steps", index, "config", place), problem.message, problem.at if own else None)


class _Scopes:
    """What the prompts of each step may name. Sets of steps are the bits of an int, which is cheap."""

    def __init__(self, spec: WorkflowSpec) -> None:
        self.keys = [step.key for step in spec.steps]
        self.analyses = {step.key for step in spec.steps if step.kind == "analysis"}
        self.position = {key: index for index, key in enumerate(self.keys)}
        self.fields = {field.name: field.kind for field in spec.inputs}
        self.own_fields = {name for name, kind in self.fields.items() if kind in AUTHORS_OWN}
        self.reach: list[int] = []
        for needed in resolved_needs(spec).values():
            bits = 0
            for key in needed:
                bits |= self.reach[self.position[key]] | 1 << self.position[key]
            self.reach.append(bits)

    def of(self, index: int, *, instructions: bool) -> tuple[set[str], set[str], Refused]:
        """Return (input fields, step keys, names refused with the reason) for a place of this step."""
        refused = Refused(self, index, instructions)
        if instructions:
            return self.own_fields, set(), refused
        reached = {key for i, key in enumerate(self.keys) if self.reach[index] >> i & 1}
        return set(self.fields), reached, refused


@dataclass(frozen=True)
class Refused(Mapping[str, str]):
    """Names that exist but cannot be used in a place, with the reason; worked out when it is asked for."""

    scopes: _Scopes
    index: int
    instructions: bool

    def __getitem__(self, name: str) -> str:
        if (reason := self._reason(name)) is None:
            raise KeyError(name)
        return reason

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names if self._reason(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _name in self)

    @cached_property
    def _names(self) -> list[str]:
        fields = [f"input.{name}" for name in self.scopes.fields]
        return ["input", "repo", *fields, *(f"steps.{key}" for key in self.scopes.keys)]

    def _reason(self, name: str) -> str | None:
        root, _, rest = name.partition(".")
        if root == "repo":
            return self._no_repository()
        key, _, part = rest.partition(".")
        if part:
            return None if key in self.scopes.analyses else "only a step that analyses a source has that"
        if self.instructions:
            return _UNTRUSTED if self._is_untrusted(root, rest) else None
        at = self.scopes.position.get(rest) if root == "steps" else None
        if at is None or self.scopes.reach[self.index] >> at & 1:
            return None
        if at == self.index:
            return "it is this step itself"
        if at > self.index:
            return f"it comes later, as step {at + 1}"
        return f"this step does not depend on it; add {rest} to its needs"

    def _no_repository(self) -> str | None:
        if self.instructions:
            return _UNTRUSTED
        reach = self.scopes.reach[self.index]
        if any(reach >> self.scopes.position[key] & 1 for key in self.scopes.analyses):
            return None
        return "no step that this one depends on analyses a source"

    def _is_untrusted(self, root: str, rest: str) -> bool:
        if root == "steps":
            return not rest or rest in self.scopes.position
        return not rest or (rest in self.scopes.fields and rest not in self.scopes.own_fields)


_UNTRUSTED = (
    "standing instructions take no text of users or models, because it could give orders; "
    "put it into the prompt, between marks such as <document> and </document>"
)


def find_warnings(spec: WorkflowSpec) -> list[Problem]:
    """Return what is allowed but probably not meant: a step that sees nothing, an input that nobody reads."""
    report = Report(spec)
    needs = resolved_needs(spec)
    used: set[str] = set()
    for index, step in enumerate(spec.steps):
        templates: dict[str, str] = KINDS[step.kind].templates(_config(step))
        named = {place: prompts.names(template) for place, template in templates.items()}
        used |= set().union(*named.values())
        path: Path = ("steps", index, "config", "prompt")
        if KINDS[step.kind].paid:
            _warn_of_blindness(report, path, named.get("prompt", set()), needs[step.key])
        for place, template in templates.items():
            for match in _SINGLE_BRACES.finditer(template):
                at = place_of(template, match.start())
                message = f"{match[0]} stays as it is; a name has two braces: {{{{ {match[1]} }}}}."
                report.add(("steps", index, "config", place), message, at)
    for index, field in enumerate(spec.inputs):
        if not {"input", f"input.{field.name}"} & used:
            report.add(("inputs", index, "name"), f"No prompt uses the input {field.name}.")
    return report.problems


def _warn_of_blindness(report: Report, path: Path, named: Collection[str], needs: tuple[str, ...]) -> None:
    if not named:
        report.add(
            path, "The prompt names neither input nor an earlier output; the model sees only these words."
        )
    elif needs and not any(name.startswith("steps.") for name in named):
        report.add(path, f"The step waits for {', '.join(needs)} but its prompt uses no earlier output.")


def _config(step: StepSpec) -> Any:
    return KINDS[step.kind].Config.model_validate(step.config)
