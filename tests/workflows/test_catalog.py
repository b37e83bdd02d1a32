from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from nyxcore.llm import models
from workflows import catalog, prompts, specs
from workflows.problems import SpecError
from workflows.promptcheck import FURTHER, REPO
from workflows.prompts import StepOutput
from workflows.specs import StepSpec, WorkflowSpec

ALL = catalog.load_all()
QUESTIONS = [
    pytest.param(spec, step, id=f"{slug}-{step.key}")
    for slug, spec in ALL.items()
    for step in spec.steps
    if step.kind == "llm"
]


def further(step: StepSpec) -> dict[str, str]:
    """What an analysis offers beside its output."""
    return {name: f"@@{name}@@" for name in (*FURTHER, *REPO)} if step.kind == "analysis" else {}


def filled(spec: WorkflowSpec, step: StepSpec) -> str:
    """The step's prompt with a marker in place of everything that others have written."""
    data = {field.name: f"@@{field.name}@@" for field in spec.inputs if field.kind != "choice"}
    data |= {field.name: field.choices[0] for field in spec.inputs if field.kind == "choice"}
    outputs = {other.key: StepOutput(f"@@{other.key}@@", further=further(other)) for other in spec.steps}
    return prompts.fill(step.config["prompt"], input=data, steps=outputs).text


def test_the_five_templates_bear_their_names() -> None:
    assert {slug: spec.name for slug, spec in ALL.items()} == {
        "improve": "Improve",
        "extend-improve": "Extend & Improve",
        "deep-build": "Deep Build Pipeline",
        "repository-review": "Repository review and repair plan",
        "security-review": "Security Review",
    }


@pytest.mark.parametrize("slug", ["improve", "extend-improve"])
def test_the_text_templates_begin_with_the_text(slug: str) -> None:
    assert [field.name for field in ALL[slug].inputs if field.required] == ["text"]
    assert ALL[slug].inputs[0].name == "text"


@pytest.mark.parametrize("slug", ALL)
def test_a_file_is_written_as_an_export_would_write_it(slug: str) -> None:
    text = (catalog.FOLDER / f"{slug}.yaml").read_text(encoding="utf-8")
    assert specs.dump_yaml(ALL[slug]) == text


@pytest.mark.parametrize("slug", ALL)
def test_a_template_has_no_warnings(slug: str) -> None:
    assert specs.warnings(ALL[slug]) == []


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ALL)
def test_a_template_keeps_the_limits_of_the_default_model(slug: str) -> None:
    assert specs.validate(ALL[slug]) == ALL[slug]


# --- token limits ---------------------------------------------------------------------------------------------


def test_every_own_token_limit_has_its_reason_in_one_place() -> None:
    own = {
        (slug, step.key): step.config["max_tokens"]
        for slug, spec in ALL.items()
        for step in spec.steps
        if "max_tokens" in step.config
    }
    assert own == {place: room.max_tokens for place, room in catalog.ROOM.items()}
    assert all(len(room.reason) > 40 for room in catalog.ROOM.values())


def test_the_default_is_that_of_the_settings(settings: Any) -> None:
    assert catalog.DEFAULT_MAX_TOKENS == settings.NYXCORE_DEFAULT_MAX_TOKENS == 16_384


def test_every_known_model_has_the_room_that_templates_ask_for() -> None:
    largest = max(room.max_tokens for room in catalog.ROOM.values())
    assert largest <= min(info.max_output_tokens for info in models.SEEDS.values())


def test_long_form_steps_have_the_room_that_they_once_lacked() -> None:
    for place in [("improve", "improve"), ("extend-improve", "extend"), ("extend-improve", "improve")]:
        assert catalog.ROOM[place].max_tokens >= 16_384


# --- prompts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "step"), QUESTIONS)
def test_every_prompt_is_filled_whole(spec: WorkflowSpec, step: StepSpec) -> None:
    text = filled(spec, step)
    assert "@@" in text
    assert not re.search(r"\{\{|\}\}|\{%|%\}|\n\n\n\n", text)


@pytest.mark.parametrize(("spec", "step"), QUESTIONS)
def test_what_others_wrote_stands_between_marks(spec: WorkflowSpec, step: StepSpec) -> None:
    text = filled(spec, step)
    marked = re.findall(r'<(\w+)(?: from="\w+")?>\n@@\w+@@\n</\1>', text)
    assert len(marked) == text.count("@@") / 2


@pytest.mark.parametrize(("spec", "step"), QUESTIONS)
def test_every_step_has_a_role_and_knows_that_marked_text_gives_no_orders(
    spec: WorkflowSpec, step: StepSpec
) -> None:
    assert step.config["system"].startswith("You are ")
    assert re.search(r"Orders that\s+stand in it", step.config["system"])
    assert prompts.names(step.config["system"]) == set()


@pytest.mark.parametrize(("spec", "step"), QUESTIONS)
def test_every_step_is_told_the_goal(spec: WorkflowSpec, step: StepSpec) -> None:
    names = prompts.names(step.config["prompt"])
    goals = {"input.goal", "input.idea", "steps.idea.content", "input.context"}
    assert names & goals


def test_optional_inputs_that_are_empty_leave_no_marks() -> None:
    for spec in ALL.values():
        data = {field.name: "T" if field.required else "" for field in spec.inputs}
        outputs = {step.key: StepOutput("O", further=further(step)) for step in spec.steps}
        for step in spec.steps:
            if step.kind == "llm":
                text = prompts.fill(step.config["prompt"], input=data, steps=outputs).text
                assert not re.search(r"<(\w+)>\s*</\1>", text)


@pytest.mark.parametrize(
    ("slug", "key"),
    [
        ("improve", "review"),
        ("extend-improve", "gaps"),
        ("deep-build", "features"),
        ("deep-build", "review"),
        ("deep-build", "improve"),
        ("deep-build", "extend_improve"),
        ("deep-build", "prompts"),
        ("security-review", "access"),
        ("security-review", "challenge"),
        ("security-review", "report"),
    ],
)
def test_lists_are_counted_so_that_nothing_is_lost(slug: str, key: str) -> None:
    step = next(step for step in ALL[slug].steps if step.key == key)
    assert re.search(r"numbers?\b", step.config["prompt"])
    assert re.search(
        r"One line|one line|must\s+be\s+equal|must add up|their\s+number|its number", step.config["prompt"]
    )


# --- the shape of the graphs ----------------------------------------------------------------------------------


def test_the_security_review_looks_from_four_sides_at_once() -> None:
    needs = specs.resolved_needs(ALL["security-review"])
    sides = [key for key, needed in needs.items() if needed == ("surface",)]
    assert len(sides) == 4
    assert needs["challenge"] == tuple(sides)


def test_the_deep_build_has_its_steps_in_order() -> None:
    assert [step.key for step in ALL["deep-build"].steps] == [
        "idea", "research", "risks", "features", "review", "improve", "approve", "extend_improve", "prompts",
    ]  # fmt: skip


def test_what_a_person_approved_is_what_is_built() -> None:
    steps = {step.key: step for step in ALL["deep-build"].steps}
    assert steps["approve"].config["shows"] == "improve"
    for key in ("extend_improve", "prompts"):
        used = prompts.names(steps[key].config["prompt"])
        assert "steps.approve.content" in used
        assert not used & {"steps.features.content", "steps.improve.content"}


# --- loading --------------------------------------------------------------------------------------------------


def test_callers_get_copies() -> None:
    spec = catalog.get("improve")
    assert spec is not None
    spec.steps[0].config["prompt"] = "changed"
    again = catalog.get("improve")
    assert again is not None
    assert again.steps[0].config["prompt"] != "changed"


def test_an_unknown_template_is_none() -> None:
    assert catalog.get("nothing") is None


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    good = "name: A\nslug: a\nsteps:\n  - key: a\n    title: A\n    config:\n      prompt: x\n"
    (tmp_path / "a.yaml").write_text(good)
    (tmp_path / "b.yaml").write_text(good)
    (tmp_path / "c.yaml").write_text(good.replace("prompt: x", "promt: x"))
    with pytest.raises(SpecError) as caught:
        catalog.load_folder(tmp_path)
    told = [str(problem) for problem in caught.value.problems]
    assert told[0] == "b.yaml: The slug a must be the file's name."
    assert "line 7, c.yaml, step 1 (a), promt: Unknown key promt. Did you mean prompt?" in told
