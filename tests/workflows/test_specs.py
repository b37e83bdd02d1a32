from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import specs, yamlfile
from workflows.fields import clean
from workflows.kinds.llm import LLMConfig
from workflows.problems import Problem, SpecError
from workflows.specs import InputField, StepSpec, WorkflowSpec, dump_yaml, parse_yaml, resolved_needs

GOOD = """\
name: Summarise
slug: summarise
version: 2
inputs:
  - name: text
    kind: longtext
  - name: style
    kind: choice
    choices: [short, no, 3]
    default: 3
budget: 2.50
steps:
  - key: facts
    title: Facts
    config:
      system: Write in a {{ input.style }} style.
      prompt: |
        <d>{{ input.text }}</d>

        List the facts.
  - key: check
    title: Check
    kind: gate
    config: {}
  - key: summary
    title: Summary
    config:
      prompt: "{{ steps.check.content }}"
      max_tokens: 100
"""


def parse(text: str) -> WorkflowSpec:
    return parse_yaml(text, check_models=False)


def refused(text: str) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value.problems


def spec(*steps: dict[str, Any], **fields: Any) -> WorkflowSpec:
    data = {"name": "W", "slug": "w", "inputs": [{"name": "text"}], "steps": list(steps)} | fields
    return specs.load(data, check_models=False)


def step(key: str, prompt: str = "{{ input.text }}", **fields: Any) -> dict[str, Any]:
    return {"key": key, "title": key, "config": {"prompt": prompt}} | fields


# --- files ----------------------------------------------------------------------------------------------------


def test_a_file_is_read_into_typed_fields() -> None:
    read = parse(GOOD)
    assert (read.name, read.version, read.budget) == ("Summarise", 2, Decimal("2.5"))
    assert read.inputs[1].choices == ["short", "no", "3"]  # words, not truth values or numbers
    assert read.inputs[1].default == "3"
    assert read.steps[0].config["prompt"] == "<d>{{ input.text }}</d>\n\nList the facts.\n"


def test_a_gates_place_completes_its_config() -> None:
    assert parse(GOOD).steps[1].config == {"shows": "facts"}


def test_writing_what_was_read_is_stable() -> None:
    written = dump_yaml(parse(GOOD))
    assert dump_yaml(parse(written)) == written
    assert parse(written) == parse(GOOD)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        # YAML itself
        ("version: 2", "version: [2", 4, "This is not valid YAML"),
        ("version: 2", "version: 2\nname: Again", 4, "The key 'name' stands here a second time (first in line 1)."),
        ("title: Facts", "title: Facts\n    title: More", 15, "The key 'title' stands here a second time"),
        ("name: Summarise", "name: &x Summarise", 1, "Anchors (&x) are not allowed; write the value out."),
        ("slug: summarise", "slug: *x", 2, "Aliases (*x) are not allowed; write the value out."),
        ("version: 2", "version: !!int 2", 3, "Tags (tag:yaml.org,2002:int) are not allowed."),
        ("name: Summarise", "name: !!python/object/apply:os.system [id]", 1, "Tags"),
        ("version: 2", "version: 2\n? [a, b]\n: 1", 4, "A key must be a word."),
        ("version: 2", "version: 2\n--- \nname: x", 4, "This is not valid YAML"),
        ("version: 2", "version: 2\ndescription: \x07", 4, "The character U+0007 cannot stand in a YAML file."),
        ("version: 2", "version: " + "[" * 40 + "]" * 40, 3, "Nested more than 16 levels deep."),
        ("version: 2", "\tversion: 2", 3, "This is not valid YAML"),
        ("version: 2", 'version: 2\ndescription: "a\\ud800"', 4, "Half of a pair of surrogates"),
        # unknown, lost and wrong fields
        ("version: 2", "verson: 2", 3, "Unknown key verson. Did you mean version?"),
        ("kind: longtext", "kin: longtext", 6, "Unknown key kin. Did you mean kind?"),
        ("title: Facts", "titel: Facts", 14, "Unknown key titel. Did you mean title?"),
        ("system: Write", "sytem: Write", 16, "Unknown key sytem. Did you mean system?"),
        ("config: {}", "config: {max_tokens: 5}", 24, "max_tokens is an option of kind llm; a step of kind gate"),
        ("max_tokens: 100", "timeout: 100", 29, "timeout is an option of kind gate; a step of kind llm would"),
        ("slug: summarise\n", "", 1, "slug is missing."),
        ('      prompt: "{{ steps.check.content }}"\n', "", 27, "prompt is missing."),
        ("name: Summarise", "name:", 1, "name must be text, not empty."),
        ("name: Summarise", "name: ''", 1, "name must not be empty."),
        ("name: Summarise", "name: 7", 1, "name must be text, not 7."),
        ("slug: summarise", "slug: Sum Up", 2, "slug must be lower-case letters and digits, parts joined by -"),
        ("version: 2", "version: '2'", 3, "version must be a whole number, not '2'."),
        ("version: 2", "version: 2.5", 3, "version must be a whole number, not 2.5."),
        ("version: 2", "version: 0", 3, "version must be at least 1, not 0."),
        ("version: 2", "on_cut_off: ask", 3, "on_cut_off must be 'stop', 'raise' or 'continue', not 'ask'."),
        ("budget: 2.50", "budget: 0", 11, "budget must be above 0, not 0."),
        ("budget: 2.50", "budget: a lot", 11, "budget must be an amount of money, not 'a lot'."),
        ("budget: 2.50", "budget: .nan", 11, "budget"),
        ("key: facts", "key: Facts!", 13, "key must be lower-case letters, digits and _"),
        ("key: facts", "key: my-facts", 13, "key must be lower-case letters, digits and _"),
        ("kind: gate", "kind: gat", 23, "There is no step kind gat. Did you mean gate?"),
        ("max_tokens: 100", "max_tokens: 0", 29, "max_tokens must be at least 1, not 0."),
        ("max_tokens: 100", "max_tokens: true", 29, "max_tokens must be a whole number, not true."),
        ("max_tokens: 100", "max_tokens: many", 29, "max_tokens must be a whole number, not 'many'."),
        ("max_tokens: 100", "effort: huge", 29, "effort must be empty, 'low', 'medium', 'high'"),
        ("max_tokens: 100", "model: two words", 29, "model must be one line"),
        ("    config: {}", "    config: []", 24, "config must be a mapping, not a list."),
        # inputs
        ("name: style", "name: text", 7, "The name text is taken by an earlier input."),
        ("choices: [short, no, 3]", "help: x", 7, "A choice needs choices."),
        ("kind: longtext", "kind: longtext\n    choices: [a]", 7, "Only a field of kind choice has choices"),
        ("default: 3", "default: 4", 10, "The default must be one of: short, no, 3."),
        ("choices: [short, no, 3]", "choices: [3, 3]", 9, "The same choice stands there twice."),
        ("default: 3", "max_length: 9", 10, "A field of kind choice has no max_length."),
        # needs
        ("key: summary", "key: facts", 25, "The key facts is taken by step 1."),
        ("title: Facts", "title: Facts\n    needs: [summary]", 15, "summary comes later (step 3)"),
        ("title: Summary", "title: Summary\n    needs: [summary]", 27, "A step cannot need itself."),
        ("title: Summary", "title: Summary\n    needs: [check, chek]", 27, "There is no step chek. Did you mean check"),
        ("title: Summary", "title: Summary\n    needs:\n      - check\n      - check", 29, "check is named twice."),
        # prompts, with the line of the place inside them
        ("input.text }}</d>", "input.txt }}</d>", 18, "There is no input field txt. Did you mean input.text?"),
        ("List the facts", "List {{ steps.facts.content }}", 20, "cannot be used here: it is this step itself."),
        ("List the facts", "List {{ steps.check.content }}", 20, "cannot be used here: it comes later, as step 2."),
        ("List the facts", "List {{ steps.chek.content }}", 20, "There is no earlier step chek."),
        ("List the facts", "List {% include 'x' %}", 20, "{% include %} is not available in prompts."),
        ("{{ input.style }}", "{{ input.text }}", 16, "standing instructions take no text of users or models"),
        ("{{ input.style }}", "{{ input }}", 16, "standing instructions take no text of users or models"),
        ("steps.check.content", "steps.facts.contents", 28, "A step has no contents. Did you mean steps.facts."),
        ("title: Summary", "title: Summary\n    needs: [facts]", 29, "does not depend on it; add check to its needs."),
        # gates
        ("config: {}", "config: {shows: fact}", 24, "There is no earlier step fact. Did you mean steps.facts"),
        ("config: {}", "config: {shows: summary}", 24, "cannot be used here: it comes later, as step 3."),
        ("kind: gate", "kind: gate\n    needs: []", 25, "Say which step's output is reviewed"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_its_line(old: str, new: str, line: int, message: str) -> None:
    assert GOOD.count(old) >= 1
    before, _, after = GOOD.partition(old)
    if old in ("key: summary", "title: Summary"):
        before, _, after = GOOD.rpartition(old)
    found = refused(before + new + after)
    assert (line, True) in [(problem.line, message in problem.message) for problem in found], found


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n- b\n", "just words", "null"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert "must be a mapping" in refused(text)[0].message


def test_a_huge_file_is_refused_unread() -> None:
    assert "at most 2,000,000" in refused("name: " + "x" * 2_000_000)[0].message


def test_a_file_of_many_brackets_is_refused_quickly() -> None:
    started = time.monotonic()
    refused("[" * 200_000)
    assert time.monotonic() - started < 5


def test_all_problems_of_a_file_are_reported_at_once() -> None:
    found = refused(
        GOOD.replace("input.text", "input.txt").replace("max_tokens: 100", "effort: low\n      foo: 1")
    )
    assert [problem.line for problem in found] == [30, 18]


def test_a_problem_tells_form_and_person_where_it_is() -> None:
    (problem,) = refused(GOOD.replace("List the facts", "List {{ x }}"))
    assert problem.path == ("steps", 0, "config", "prompt")
    assert problem.at == (3, 9)
    assert str(problem).startswith("line 20, step 1 (facts), prompt, 3:9: There is no name x.")


@pytest.mark.parametrize(
    "word", ["yes", "no", "on", "off", "0x1F", "1_000", "1:30", "2026-11-22", ".inf", "=", "<<"]
)
def test_words_stay_words(word: str) -> None:
    assert yamlfile.read(f"a: {word}").data == {"a": word}


@settings(deadline=None)
@given(st.dictionaries(st.text(min_size=1), st.text() | st.lists(st.text()) | st.integers(-(10**14), 10**14)))
def test_any_text_survives_writing_and_reading(data: dict[str, Any]) -> None:
    assert yamlfile.read(yamlfile.write(data)).data == data


# --- every field survives -------------------------------------------------------------------------------------

line_chars = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"])
lines = st.text(line_chars, min_size=1, max_size=30).filter(str.strip)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=60)
keys = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
slugs = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,4}){0,2}", fullmatch=True)
model_ids = st.just("") | st.from_regex(r"[a-z0-9.:/-]{1,20}", fullmatch=True)


@st.composite
def input_fields(draw: st.DrawFn, name: str) -> InputField:
    kind = draw(st.sampled_from(["text", "longtext", "choice", "number"]))
    choices = draw(st.lists(lines, min_size=1, max_size=4, unique=True)) if kind == "choice" else []
    default = {
        "choice": st.sampled_from(choices or [""]),
        "number": st.sampled_from(["", "3", "-2.5"]),
        "text": st.just("") | lines,
        "longtext": texts.filter(lambda text: not text or bool(text.strip())),
    }[kind]
    return InputField(
        name=name,
        label=draw(st.just("") | lines),
        kind=kind,
        required=draw(st.booleans()),
        default=draw(default),
        help=draw(texts),
        choices=choices,
        max_length=draw(st.none() | st.integers(60, 10_000)) if kind in ("text", "longtext") else None,
    )


@st.composite
def configs(draw: st.DrawFn, names: list[str], before: list[str]) -> tuple[str, dict[str, Any]]:
    places = [f"{{{{ input.{name} }}}}" for name in names] + [
        f"{{{{ steps.{key}.content }}}}" for key in before
    ]
    literal = texts.map(lambda text: text.replace("{", "(").replace("}", ")"))
    prompt = draw(literal) + draw(st.sampled_from([*places, "x"])) + draw(literal)
    if before and draw(st.booleans()):
        timeout = draw(st.none() | st.integers(1, 1000))
        return "gate", {"instructions": prompt, "shows": draw(st.sampled_from(before)), "timeout": timeout}
    config = {
        "prompt": prompt,
        "system": draw(literal),
        "model": draw(model_ids),
        "max_tokens": draw(st.none() | st.integers(1, 10**6)),
        "effort": draw(st.sampled_from(["", "low", "max"])),
        "on_cut_off": draw(st.sampled_from(["", "stop", "raise", "continue"])),
        "deadline": draw(st.none() | st.integers(1, 3600)),
    }
    kept = draw(st.sets(st.sampled_from(sorted(LLMConfig.model_fields))))
    return "llm", {name: value for name, value in config.items() if name in kept | {"prompt"}}


@st.composite
def workflow_specs(draw: st.DrawFn) -> WorkflowSpec:
    names = draw(st.lists(keys, max_size=3, unique=True))
    step_keys = draw(st.lists(keys, min_size=1, max_size=4, unique=True))
    steps = []
    for index, key in enumerate(step_keys):
        needs = draw(st.none() | st.permutations(step_keys[:index]))
        reached = step_keys[max(0, index - 1) : index] if needs is None else list(needs)
        kind, config = draw(configs(names, reached))
        steps.append(
            StepSpec(key=key, title=draw(lines), kind=kind, needs=needs, notes=draw(texts), config=config)
        )
    return WorkflowSpec(
        name=draw(lines),
        slug=draw(slugs),
        version=draw(st.integers(1, 1000)),
        description=draw(texts),
        inputs=[draw(input_fields(name)) for name in names],
        default_model=draw(model_ids),
        on_cut_off=draw(st.sampled_from(["stop", "raise", "continue"])),
        budget=draw(st.none() | st.decimals("0.0001", "99999999", places=4)),
        steps=steps,
    )


@settings(max_examples=150, deadline=None)
@given(workflow_specs())
def test_every_field_survives_a_round_trip(made: WorkflowSpec) -> None:
    valid = specs.validate(made, check_models=False)
    assert valid == made  # nothing that was said is changed or dropped
    written = dump_yaml(made)
    assert parse(written) == made
    assert dump_yaml(parse(written)) == written


@settings(max_examples=50, deadline=None)
@given(workflow_specs())
def test_every_field_survives_storage_as_json(made: WorkflowSpec) -> None:
    stored = json.loads(json.dumps(made.model_dump(mode="json")))
    assert specs.load(stored, check_models=False) == made


@pytest.mark.parametrize("model", [WorkflowSpec, StepSpec, InputField], ids=lambda model: model.__name__)
def test_the_round_trip_covers_every_field(model: type[WorkflowSpec]) -> None:
    """A field added to the schema must be drawn above too; a fixed value would prove nothing."""
    drawn = {
        WorkflowSpec: "name slug version description inputs default_model on_cut_off budget steps",
        StepSpec: "key title kind needs notes config",
        InputField: "name label kind required default help choices max_length",
    }[model]  # type: ignore[index]
    assert set(model.model_fields) == set(drawn.split())


# --- rules between steps --------------------------------------------------------------------------------------


def test_the_default_need_is_the_step_before() -> None:
    made = spec(step("a"), step("b"), step("c", needs=[]), step("d", needs=["a", "c"]))
    assert resolved_needs(made) == {"a": (), "b": ("a",), "c": (), "d": ("a", "c")}


def test_outputs_can_be_named_through_the_needs_of_needs() -> None:
    made = spec(step("a"), step("b"), step("c", "{{ steps.a.content }}{{ steps.b.content }}"))
    assert specs.outputs_used("llm", made.steps[2].config) == {"a", "b"}


def test_a_gate_uses_the_output_that_it_shows() -> None:
    made = spec(step("a"), {"key": "g", "title": "G", "kind": "gate", "config": {}})
    assert specs.outputs_used("gate", made.steps[1].config) == {"a"}


def test_a_parallel_step_cannot_be_named() -> None:
    with pytest.raises(SpecError, match="does not depend on it; add b to its needs"):
        spec(step("a"), step("b"), step("c", "{{ steps.b.content }}", needs=["a"]))


def test_more_than_a_thousand_steps_are_refused() -> None:
    with pytest.raises(SpecError, match="steps has 1,001 entries; at most 1,000"):
        spec(*(step(f"s{number}") for number in range(1001)))


def test_no_steps_are_refused() -> None:
    with pytest.raises(SpecError, match="steps must not be empty"):
        spec()


def test_a_thousand_chained_steps_are_validated_quickly() -> None:
    chain = [step("s0"), *(step(f"s{n}", f"{{{{ steps.s{n - 1}.content }}}}") for n in range(1, 1000))]
    started = time.monotonic()
    made = spec(*chain)
    assert len(parse(dump_yaml(made)).steps) == 1000
    assert time.monotonic() - started < 15


def test_validation_does_not_change_what_it_is_given() -> None:
    made = WorkflowSpec.model_validate(
        {
            "name": "W",
            "slug": "w",
            "steps": [step("a", "x"), {"key": "g", "title": "G", "kind": "gate", "config": {}}],
        }
    )
    specs.validate(made, check_models=False)
    assert made.steps[1].config == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "max_tokens: 100",
            "max_tokens: 64001",
            30,
            "64,001 is above the limit of claude-haiku-4-5: at most 64,000.",
        ),
        (
            "max_tokens: 100",
            "model: claude-x",
            30,
            "The model claude-x is not known to the provider practice.",
        ),
        (
            "claude-haiku-4-5",
            "claude-haiku-9",
            4,
            "not known to the provider practice. Did you mean claude-haiku-",
        ),
    ],
)
def test_what_the_model_cannot_do_is_refused_on_save(old: str, new: str, line: int, message: str) -> None:
    good = GOOD.replace("inputs:", "default_model: claude-haiku-4-5\ninputs:")
    parse_yaml(good)
    with pytest.raises(SpecError) as caught:
        parse_yaml(good.replace(old, new))
    assert message in caught.value.problems[0].message
    assert caught.value.problems[0].line == line


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": [step("a", "Go.")], "inputs": []}, "names neither input nor an earlier output"),
        ({"steps": [step("a"), step("b")]}, "The step waits for a but its prompt uses no earlier output."),
        (
            {"steps": [step("a", "x {input.text} {{ input.text }}")]},
            "a name has two braces: {{ input.text }}.",
        ),
        (
            {"steps": [step("a")], "inputs": [{"name": "text"}, {"name": "goal"}]},
            "No prompt uses the input goal.",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(fields: dict[str, Any], message: str) -> None:
    made = (
        spec(**{"inputs": [{"name": "text"}]} | fields)
        if "steps" not in fields
        else spec(*fields.pop("steps"), **fields)
    )
    assert [message in problem.message for problem in specs.warnings(made)] == [True]


# --- input ----------------------------------------------------------------------------------------------------

FIELDS = [
    {"name": "text", "kind": "longtext", "label": "Your text", "max_length": 10},
    {"name": "topic", "required": False, "default": "none"},
    {"name": "style", "kind": "choice", "choices": ["a", "b"], "required": False},
    {"name": "count", "kind": "number", "required": False},
]
FORM = spec(step("a", "{{ input }}"), inputs=FIELDS)


def enter(max_bytes: int = 1000, **data: Any) -> dict[str, str]:
    return specs.validate_input(FORM, data, max_bytes=max_bytes)


def test_every_field_gets_a_text() -> None:
    assert enter(text="Hi") == {"text": "Hi", "topic": "none", "style": "", "count": ""}


def test_text_is_stored_as_the_database_can_hold_it() -> None:
    assert enter(text="a\x00b\r\nc\rd\ud800")["text"] == "ab\nc\nd?"


@pytest.mark.parametrize(("value", "stored"), [(3, "3"), (2.5, "2.5"), (" -4 ", "-4"), ("1e3", "1e3")])
def test_numbers_are_kept_as_they_were_written(value: Any, stored: str) -> None:
    assert enter(text="x", count=value)["count"] == stored


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        ({}, "text", "Your text is required."),
        ({"text": " \n "}, "text", "Your text is required."),
        ({"text": "x" * 11}, "text", "Your text has 11 characters; at most 10."),
        ({"text": ["x"]}, "text", "Your text must be text, not list."),
        ({"text": True}, "text", "Your text must be text, not bool."),
        ({"text": "x", "topc": "y"}, "topc", "There is no input field topc. Did you mean topic?"),
        ({"text": "x", "topic": "two\nlines"}, "topic", "Topic must be one line."),
        ({"text": "x", "style": "c"}, "style", "Style must be one of: a, b."),
        ({"text": "x", "count": "many"}, "count", "Count must be a number."),
        ({"text": "x", "count": "nan"}, "count", "Count must be a number."),
        ({"text": "x", "topic": "ü" * 500}, "input", "The input has 1,001 bytes; at most 1,000 are allowed"),
    ],
)
def test_wrong_input_names_its_field(data: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        enter(**data)
    (problem,) = caught.value.problems
    assert problem.where == field
    assert problem.message.startswith(message)


def test_the_limit_of_the_whole_input_comes_from_the_settings(settings: Any) -> None:
    settings.NYXCORE_MAX_INPUT = 5
    with pytest.raises(SpecError, match="at most 5 are allowed"):
        specs.validate_input(FORM, {"text": "123456"})


def test_clean_is_done_once() -> None:
    assert clean(clean("a\r\r\nb\x00")) == clean("a\r\r\nb\x00") == "a\n\nb"
