from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows import prompts
from workflows.problems import Problem
from workflows.prompts import Filler, PromptError, StepOutput, check, fill

INPUTS = {"text", "goal"}
EARLIER = {"idea", "research"}
LATER = {"steps.plan": "it comes later, as step 4", "steps.me": "it is this step itself"}
IDEA = {"idea": StepOutput("an idea", parts=("one", "two"), notes="a note")}


def problems(template: str) -> list[Problem]:
    return check(template, place="prompt", inputs=INPUTS, earlier=EARLIER, refused=LATER)


def filled(template: str, text: str = "T") -> str:
    return fill(template, input={"text": text, "goal": ""}, steps=IDEA).text


# --- what fills -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Do {{ input.text }}.", "Do T."),
        ("{{ steps.idea.content }} / {{ steps.idea.notes }}", "an idea / a note"),
        ("{{ steps['idea']['content'] }}", "an idea"),
        ('{{ steps.idea.parts|join(", ") }}', "one, two"),
        ("{{ steps.idea.parts|first }}{{ steps.idea.parts|last }}{{ steps.idea.parts|length }}", "onetwo2"),
        ("{% for part in steps.idea.parts %}{{ loop.index }}. {{ part }};{% endfor %}", "1. one;2. two;"),
        ("{% if input.goal %}G{% elif input.text == 'T' %}E{% else %}N{% endif %}", "E"),
        ("{% if input.goal or not input.text %}yes{% else %}no{% endif %}", "no"),
        ("{{ input.goal if input.goal else 'none' }}", "none"),
        ("{{ input.text ~ '!' }}{{ input.text|lower|upper|trim }}", "T!T"),
        ("{{ input }}", "<text>\nT\n</text>"),
        ("{% raw %}{{ input.text }} {% if %}{% endraw %}", "{{ input.text }} {% if %}"),
        ("a{# not sent #}b", "ab"),
        ("one\n{% if input.text %}\ntwo\n{% endif %}\nthree\n", "one\ntwo\nthree\n"),
        ("<b> & 'quoted' {single} {{ input.text }}", "<b> & 'quoted' {single} T"),
        ("no names, last line kept\n", "no names, last line kept\n"),
    ],
)
def test_a_good_prompt_is_accepted_and_filled(template: str, expected: str) -> None:
    assert problems(template) == []
    assert filled(template) == expected


@settings(deadline=None)
@given(st.text())
def test_what_is_filled_in_stays_as_it_is(text: str) -> None:
    assert filled("<d>{{ input.text }}</d>", text) == f"<d>{text}</d>"


@pytest.mark.parametrize(
    "text", ["{{ 7 * 7 }}", "{% for x in y %}", "{# gone? #}", "<script>&amp;", "{{ input.text }}"]
)
def test_text_that_looks_like_a_template_is_never_rendered(text: str) -> None:
    assert filled("{{ input.text }}", text) == text


@pytest.mark.parametrize("name", ["items", "keys", "values", "get", "index", "count"])
def test_fields_may_bear_the_names_of_methods(name: str) -> None:
    template = f"{{{{ input.{name} }}}} {{{{ steps.{name}.content }}}}"
    assert check(template, place="p", inputs={name}, earlier={name}) == []
    assert fill(template, input={name: "A"}, steps={name: StepOutput("B")}).text == "A B"


def test_an_output_without_parts_is_its_own_part() -> None:
    template = "{% for part in steps.a.parts %}[{{ part }}]{% endfor %}"
    assert fill(template, input={}, steps={"a": StepOutput("whole")}).text == "[whole]"
    assert fill(template, input={}, steps={"a": StepOutput("")}).text == ""


def test_sizes_tell_the_characters_of_each_part() -> None:
    result = fill(
        "{{ input.text }}{{ steps.idea.content }}{{ steps.idea.parts|first }}",
        input={"text": "four"},
        steps=IDEA,
    )
    assert result.sizes == {"input.text": 4, "steps.idea.content": 7, "steps.idea.parts": 6}


def test_a_filler_counts_over_all_places_of_a_step() -> None:
    filler = Filler({"text": "four"}, IDEA)
    assert filler("system", "{{ input.text }}") + filler("prompt", "{{ steps.idea.notes }}") == "foura note"
    assert filler.sizes == {"input.text": 4, "steps.idea.notes": 6}


def test_names_are_those_that_the_prompt_uses() -> None:
    template = (
        "{{ input.text }}{% if input.goal %}{{ steps.a.content|trim }}{% endif %}"
        "{% for p in steps.b.parts %}{{ p }}{% endfor %}"
    )
    assert prompts.names(template) == {"input.text", "input.goal", "steps.a.content", "steps.b.parts"}
    assert prompts.steps_named([template, "{{ steps.c.notes }}", "{{ input }}"]) == {"a", "b", "c"}


# --- what is refused on save ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "line", "column", "message"),
    [
        # names
        ("{{ text }}", 1, 4, "There is no name text. Did you mean input.text?"),
        ("a\n  b {{ input.txet }}", 2, 8, "There is no input field txet. Did you mean input.text?"),
        ("{{ inputs.text }}", 1, 4, "There is no name inputs.text. Did you mean input?"),
        ("{{ idea }}", 1, 4, "There is no name idea. Did you mean steps.idea.content?"),
        ("{{ input.text.upper }}", 1, 4, "input.text.upper: an input field has nothing below it; write input.text."),
        ("{{ steps.ida.content }}", 1, 4, "There is no earlier step ida. Did you mean steps.idea.content?"),
        ("{{ steps }}", 1, 4, "Say which step and which part of it: steps.<key>.content."),
        ("{{ steps.idea }}", 1, 4, "Say which part of the step: steps.idea.content, .parts or .notes."),
        ("{{ steps.idea.contnt }}", 1, 4, "A step has no contnt. Did you mean steps.idea.content?"),
        ("{{ steps.idea.content.x }}", 1, 4, "steps.idea.content.x: nothing stands below steps.idea.content."),
        ("\n\n{{ steps.plan.content }}", 3, 4, "steps.plan.content cannot be used here: it comes later, as step 4."),
        ("{{ steps.me.content }}", 1, 4, "steps.me.content cannot be used here: it is this step itself."),
        ("{% if x %}{% endif %}", 1, 7, "There is no name x. Names begin with input. or steps."),
        ("{{ 'é' ~ input.txet }}", 1, 10, "There is no input field txet. Did you mean input.text?"),
        ("{{ input['txet'] }}", 1, 4, "There is no input field txet. Did you mean input.text?"),
        ("{{ loop.index }}", 1, 4, "There is no name loop.index."),
        # ways out of the sandbox
        ("{{ input.__class__ }}", 1, 4, "There is no input field __class__."),
        ("{{ ''.__class__ }}", 1, 4, "Only names like input.field"),
        ("{{ steps.idea.content.__init__.__globals__ }}", 1, 4, "nothing stands below"),
        ("{{ input['text']['x'] }}", 1, 4, "an input field has nothing below it"),
        ("{{ input[input.text] }}", 1, 4, "Only names like input.field"),
        ("{{ input|attr('x') }}", 1, 10, "The filter attr is not available."),
        ("{{ self._TemplateReference__context }}", 1, 4, "There is no name self._TemplateReference__context."),
        ("{{ cycler() }}", 1, 4, "Calls are not available in prompts."),
        ("{{ input.text.format(1) }}", 1, 4, "Calls are not available in prompts."),
        # statements
        ("x {% include 'y' %}", 1, 6, "{% include %} is not available in prompts."),
        ("{% import 'y' as z %}", 1, 4, "{% import %} is not available"),
        ("{% from 'y' import z %}", 1, 4, "{% from %} is not available"),
        ("{% extends 'y' %}", 1, 4, "{% extends %} is not available"),
        ("{% block x %}{% endblock %}", 1, 4, "{% block %} is not available"),
        ("{% macro x() %}{% endmacro %}", 1, 4, "{% macro %} is not available"),
        ("{% call x() %}{% endcall %}", 1, 4, "{% call %} is not available"),
        ("{% filter upper %}{% endfilter %}", 1, 4, "{% filter %} is not available"),
        ("{% with a = 1 %}{% endwith %}", 1, 4, "{% with %} is not available"),
        ("{% set a = 1 %}", 1, 4, "{% set %} is not available"),
        ("{% set a %}{% endset %}", 1, 4, "{% set %} is not available"),
        ("{% autoescape true %}{% endautoescape %}", 1, 4, "{% autoescape %} is not available"),
        ("{% do x %}", 1, 4, "Encountered unknown tag 'do'. Only {% if %}"),
        # what could grow
        ("{% for i in range(10000000) %}x{% endfor %}", 1, 13, "A loop can only go over the parts of an output"),
        ("{% for c in input.text %}x{% endfor %}", 1, 13, "A loop can only go over the parts of an output"),
        ("{% for a in steps.idea.parts %}{% for b in steps.idea.parts %}{% endfor %}{% endfor %}", 1, 35, "A loop"),
        ("{% for a in steps.idea.parts recursive %}{% endfor %}", 1, 4, "A recursive loop is not available."),
        ("{% for input in steps.idea.parts %}{% endfor %}", 1, 8, "The loop needs one name of its own"),
        ("{% for a, b in steps.idea.parts %}{% endfor %}", 1, 9, "The loop needs one name of its own"),
        ("{{ 'x' * 1000000000 }}", 1, 4, "Arithmetic is not available in prompts."),
        ("{{ 'x'|center(1000000000) }}", 1, 8, "The filter center is not available."),
        ("{{ input.text|replace('', 'xxxx') }}", 1, 15, "The filter replace is not available."),
        ("{{ input.text|truncate(3) }}", 1, 15, "Write truncate with a number of characters"),
        ("{{ steps.idea.parts|join(input.text) }}", 1, 21, "Write join with one short text"),
        ("{{ input.text|upper(1) }}", 1, 15, "The filter upper takes no arguments."),
        # what would not read as meant
        ("{{ steps.idea.parts }}", 1, 4, 'A list of parts must be joined: steps.idea.parts|join("\\n\\n").'),
        ("{{ steps.idea.parts ~ 'x' }}", 1, 4, "A list of parts must be joined first"),
        ("{{ steps.idea.parts|upper }}", 1, 21, "The filter upper takes a text, not a list of parts."),
        ("{{ input.text|first }}", 1, 15, "The filter first takes a list of parts, not a text."),
        ("{{ input.text|uper }}", 1, 15, "The filter uper is not available. Did you mean upper?"),
        ("{{ input.goal if input.text }}", 1, 4, "An inline if needs an else."),
        ("{% if input.text is defined %}{% endif %}", 1, 18, "Tests (is ...) are not available"),
        ("{{ [1, 2] }}", 1, 4, "This expression is not available in prompts."),
        # broken syntax
        ("one\n{{ input.text }", 2, 15, "Unexpected '}'."),
        ("{{ input.text", 1, 10, "Unexpected end of template"),
        ("{{ input.text ! }}", 1, 15, "Unexpected char '!'"),
        ("{% if input.text %}", 1, 18, "Unexpected end of template."),
        ("x {# open", 1, 5, "Missing end of comment tag."),
        ("{{ }}", 1, 4, "Expected an expression, got 'end of print statement'."),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", 1, 1, "Blocks or brackets are nested too deeply."),
        ("{{ 1" + "0" * 5000 + " }}", 1, 1, "A number in this template is too long."),
    ],
)  # fmt: skip
def test_a_bad_prompt_is_refused_with_its_place(template: str, line: int, column: int, message: str) -> None:
    found = problems(template)
    assert found, "accepted"
    assert message in found[0].message
    assert found[0].at == (line, column)
    assert found[0].where == "prompt"


@pytest.mark.parametrize(
    "template",
    [
        "{% if input.text %}" * 30 + "{% endif %}" * 30,
        "{{ " + " and ".join(["input.text"] * 100) + " }}",
        "{{ input.text" + "|trim" * 100 + " }}",
    ],
)
def test_deep_nesting_is_refused(template: str) -> None:
    assert "deep" in problems(template)[0].message


def test_a_very_long_chain_of_names_is_refused_without_harm() -> None:
    assert problems("{{ input" + ".a" * 50_000 + " }}")


def test_every_mistake_is_reported() -> None:
    found = problems("{{ a }}\n{{ b }}\n{% if c %}{{ d }}{% endif %}")
    assert [problem.at for problem in found] == [(1, 4), (2, 4), (3, 7), (3, 14)]


def test_columns_count_characters_after_other_line_ends() -> None:
    assert problems("a\r\nb {{ x }}")[0].at == (2, 6)


@settings(deadline=None)
@given(st.text(alphabet="{}%# \n.|()'\"abi~-+", max_size=40))
def test_check_never_raises(template: str) -> None:
    problems(template)


@settings(deadline=None)
@given(st.text(alphabet="{}%# \nx-", max_size=30))
def test_what_check_accepts_can_be_filled(template: str) -> None:
    if not problems(template):
        filled(template)


# --- what fails at run time -----------------------------------------------------------------------------------


def test_a_missing_output_fails_with_its_name() -> None:
    with pytest.raises(PromptError, match=r"steps\.plan has no value") as caught:
        fill("{{ steps.plan.content }}", input={}, steps={})
    assert (caught.value.reason, caught.value.retryable) == ("prompt", False)


def test_a_missing_input_fails_with_its_name() -> None:
    with pytest.raises(PromptError, match=r"input\.text has no value"):
        fill("{{ input.text }}", input={}, steps={})


def test_a_name_in_a_branch_not_taken_is_not_missed() -> None:
    template = "{% if input.text %}{{ steps.plan.content }}{% endif %}ok"
    assert fill(template, input={"text": ""}, steps={}).text == "ok"


def test_a_filled_prompt_has_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "MAX_FILLED", 1000)
    template = "{% for part in steps.a.parts %}{{ input.text }}{% endfor %}"
    with pytest.raises(PromptError, match=r"more than 1,000 characters\. Largest parts.*input\.text 100"):
        fill(template, input={"text": "x" * 100}, steps={"a": StepOutput("", parts=("p",) * 50)})


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{{ input.values }}", "{{ steps.idea.content.__class__ }}"]
)
def test_the_sandbox_holds_even_without_the_check(template: str) -> None:
    with pytest.raises(PromptError):
        filled(template)
