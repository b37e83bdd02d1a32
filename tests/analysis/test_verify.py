"""The second look and the overview: what is asked, and how the answers are read."""

from __future__ import annotations

import json

import jsonschema
import pytest

from analysis import overview, verify
from analysis.analyzers import RULES
from analysis.plain import FileFacts, Judgement, Overview, Place, Symbol
from analysis.prompting import BadAnswer
from tests.analysis.findings import finding

LINES = [f"filler_{number} = {number}" for number in range(1, 201)]
LINES[99] = "result = helper(rows[len(rows)])"
TEXT = "\n".join(LINES)
OTHER = (
    "def helper(row):\n    if row is None:\n        return 0\n    return row.price\n\n\n"
    "def unrelated():\n    pass\n"
)
ONE = finding(TEXT, "result = helper(rows[len(rows)])", evidence=(Place("b.py", "return row.price", 1),))
FILES = {
    "a.py": FileFacts("a.py", "a", 1, "python"),
    "b.py": FileFacts(
        "b.py",
        "b",
        1,
        "python",
        symbols=(Symbol("helper", "function", 1, 4), Symbol("unrelated", "function", 7, 8)),
    ),
}
TEXTS = {"a.py": TEXT, "b.py": OTHER}


def asked(**options):
    return verify.ask(ONE, TEXT, verify.callees(ONE, TEXTS, FILES), "m4rk", **options)


def test_the_excerpt_stands_in_sixty_lines_on_each_side_with_numbers():
    prompt = asked().prompt
    assert "   40| filler_40 = 40\n" in prompt
    assert "  160| filler_160 = 160\n" in prompt
    assert "filler_39 =" not in prompt
    assert "filler_161 =" not in prompt


def test_what_the_excerpt_calls_is_shown():
    prompt = asked().prompt
    assert "File: b.py\n    1| def helper(row):" in prompt
    assert "unrelated" not in prompt


def test_a_name_that_is_defined_twice_elsewhere_is_not_guessed():
    twice = {
        **FILES,
        "c.py": FileFacts("c.py", "c", 1, "python", symbols=(Symbol("helper", "function", 1, 1),)),
    }
    assert verify.callees(ONE, {**TEXTS, "c.py": "def helper(): ..."}, twice) == []


def test_evidence_is_shown_where_it_was_found():
    assert "    4|     return row.price" in asked(texts=TEXTS).prompt.split("kind=evidence")[1]


def test_the_rule_is_told_and_the_claim_is_data():
    ask = asked(rule=RULES["correctness/off-by-one"])
    assert RULES["correctness/off-by-one"].text in ask.system
    assert ONE.raw.title not in ask.system
    assert "filler" not in ask.system
    assert ask.prompt.count("<data-m4rk") == ask.prompt.count("</data-m4rk>") == 3


@pytest.mark.parametrize("verdict", ["confirmed", "unsure", "refuted"])
def test_a_verdict_is_read_with_its_reason(verdict):
    answer = json.dumps({"reason": " Line 3 guards it. ", "verdict": verdict})
    assert verify.parse(answer) == Judgement(verdict, "Line 3 guards it.")


@pytest.mark.parametrize(
    "answer", ['{"verdict": "maybe", "reason": "x"}', '{"verdict": "refuted", "reason": ""}', "no"]
)
def test_no_verdict_is_assumed_where_none_was_given(answer):
    with pytest.raises(BadAnswer):
        verify.parse(answer)


@pytest.mark.parametrize("schema", [verify.SCHEMA, overview.SCHEMA])
def test_the_schemas_are_valid_and_closed(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == set(schema["properties"])


# --- overview -------------------------------------------------------------------------------------------------


def test_the_overview_is_asked_with_map_and_texts_inside_the_fence():
    ask = overview.ask("EVIL map", {"README.md": "EVIL text" + "x" * 30_000}, "m4rk")
    assert "EVIL" not in ask.system
    assert "File: README.md\nEVIL text" in ask.prompt
    assert "[the rest is left out]" in ask.prompt
    assert len(ask.prompt) < 25_000


def test_an_overview_is_read_and_cut_to_size():
    answer = {"summary": "S" * 9_000, "stack": ["Python 3.11", " "] * 30, "layout": "L", "conventions": "C"}
    made = overview.parse(json.dumps(answer))
    assert (len(made.summary), made.stack, made.layout) == (overview.LONGEST, ("Python 3.11",) * 10, "L")


def test_an_overview_without_a_summary_is_refused():
    with pytest.raises(BadAnswer):
        overview.parse('{"summary": "", "stack": [], "layout": "", "conventions": ""}')


def test_other_words_for_the_same_repository_give_the_same_key():
    one = Overview("A shop.", ("Python 3.11", "Django 5.2", "PostgreSQL"), "src", "c")
    other = Overview("It sells.", ("django (5.2.1)", "python", "postgresql 18"), "lib", "d")
    assert overview.rounded_hash(one) == overview.rounded_hash(other)


def test_another_stack_gives_another_key():
    one, other = Overview(stack=("Python",)), Overview(stack=("Python", "Go"))
    assert overview.rounded_hash(one) != overview.rounded_hash(other)
