from __future__ import annotations

import re
from pathlib import Path

import pytest

from workflows import prompts, specs
from workflows.kinds import KINDS

PAGE = (Path(__file__).parents[3] / "docs" / "step-kinds.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("name", KINDS)
def test_every_option_of_a_kind_is_documented(name: str) -> None:
    documented = set(re.findall(r"^\| `(\w+)` \|", section(name), re.MULTILINE))
    assert documented == set(KINDS[name].Config.model_fields)


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_explains_itself(name: str) -> None:
    kind = KINDS[name]
    assert kind.name == name
    assert kind.label
    assert kind.description.endswith(".")
    assert all(field.description for field in kind.Config.model_fields.values())


@pytest.mark.parametrize("name", KINDS)
def test_places_that_are_filled_bear_the_names_of_options(name: str) -> None:
    kind = KINDS[name]
    least = {"llm": {"prompt": "x"}, "gate": {"shows": "a"}, "analysis": {"source": "https://host.example/x"}}
    config = kind.Config.model_validate(least[name])
    assert set(kind.templates(config)) <= set(kind.Config.model_fields)


def test_every_field_of_a_workflow_is_documented() -> None:
    fields = section("A workflow in a file")
    for model in (specs.WorkflowSpec, specs.StepSpec, specs.InputField):
        for field in model.model_fields:
            assert f"`{field}`" in fields, field


def test_every_filter_is_documented() -> None:
    assert {name for name in prompts.FILTERS if f"`{name}" not in section("Prompts")} == set()


def test_the_example_is_a_valid_workflow() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    spec = specs.parse_yaml(example, check_models=False)
    assert specs.warnings(spec) == []
    assert specs.dump_yaml(spec) == example
