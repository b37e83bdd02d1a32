"""The practice model keeps the rules of a real one and says that it is none."""

from __future__ import annotations

import json
import threading
import time
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from nyxcore.llm.base import Message, Request, Stopped, StopSignal, classify
from nyxcore.llm.practice import FIRST_LINE, LONGEST_ANSWER, PracticeProvider
from tests.nyxcore.llm.conftest import Asker

DOCUMENT = "\n\n".join(
    f"Paragraph {n} tells how migrating birds find their way over water." for n in range(300)
)


@pytest.fixture
def ask():
    return Asker(PracticeProvider(tokens_per_second=1_000_000))


def test_it_says_that_it_is_no_language_model(ask):
    first = ask(max_tokens=16_384).text.splitlines()[0]
    assert first == FIRST_LINE
    assert "no language model" in first


def test_the_same_prompt_gets_the_same_answer(ask):
    assert ask("a", max_tokens=9_999).text == ask("a", max_tokens=9_999).text


def test_another_prompt_gets_another_answer(ask):
    assert ask("a", max_tokens=9_999).text != ask("b", max_tokens=9_999).text


def test_what_is_streamed_is_the_answer(ask):
    completion = ask(max_tokens=9_999)
    assert "".join(ask.heard) == completion.text
    assert classify(completion) == ("completed", "")


def test_max_tokens_cuts_the_answer(ask):
    completion = ask(max_tokens=50)
    assert completion.usage.output_tokens == 50
    assert classify(completion) == ("cut_off", "cut_off:max_tokens")


def test_a_cut_answer_can_be_continued_to_the_same_end(ask):
    whole = ask("Tell me.", max_tokens=9_999).text
    begun = ask("Tell me.", max_tokens=100).text
    turns = (Message("user", "Tell me."), Message("assistant", begun), Message("user", "Go on."))
    assert begun + ask(messages=turns, max_tokens=9_999).text == whole


@pytest.mark.parametrize("verb", ["Improve", "Extend and improve", "Rewrite"])
def test_an_improved_text_grows_with_its_input(ask, verb):
    completion = ask(f"{verb} this text:\n\n{DOCUMENT}", max_tokens=16_384)
    assert len(completion.text) > len(DOCUMENT)
    assert completion.stop_reason == "end_turn"


def test_even_a_huge_text_stays_below_the_long_templates_limit(ask):
    completion = ask(f"Improve this:\n\n{DOCUMENT * 20}", max_tokens=16_384)
    assert completion.stop_reason == "end_turn"
    assert completion.usage.output_tokens < LONGEST_ANSWER * 1.2


def test_other_answers_stay_short(ask):
    assert ask(f"List the features.\n\n{DOCUMENT}", max_tokens=16_384).usage.output_tokens < 2_000


def test_it_bears_the_same_name_whatever_model_is_asked_for(ask):
    assert ask(model="claude-opus-5-5").model == "practice"


def test_it_streams_at_the_speed_it_is_given():
    ask = Asker(PracticeProvider(tokens_per_second=100))
    began = time.monotonic()
    ask(max_tokens=40)
    assert 0.3 < time.monotonic() - began < 1.5
    assert len(ask.heard) > 3


def test_a_stop_ends_it_and_keeps_the_text():
    ask, heard = Asker(PracticeProvider(tokens_per_second=20)), threading.Event()
    error, seconds = ask.stopped_when(heard, on_text=lambda text: heard.set(), max_tokens=5_000)
    assert isinstance(error, Stopped)
    assert seconds < 0.2
    assert FIRST_LINE.startswith(error.partial[:20])
    assert error.usage.estimated


def test_a_signal_that_is_set_already_gets_no_text():
    signal = StopSignal()
    signal.set("handover")
    error = Asker(PracticeProvider()).fails(signal=signal)
    assert (error.reason, error.partial) == ("handover", "")


class Part(BaseModel):
    path: str = Field(min_length=3, max_length=40)
    line: int = Field(ge=10, le=20)
    share: float = Field(gt=0, lt=1)
    level: Literal["error", "warning"]
    parts: list[Part] = []
    inside: Part | None = None


class Answer(BaseModel):
    title: str
    slug: str = Field(pattern=r"^[a-z]+$")
    parts: list[Part] = Field(min_length=3, max_length=5)
    sure: bool
    best: Part
    note: str | None


def test_a_schema_gets_json_that_fits_it(ask):
    text = ask(schema=Answer.model_json_schema(), max_tokens=16_384).text
    assert len(Answer.model_validate_json(text).parts) >= 3


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"const": 7}, 7),
        ({"enum": ["only"]}, "only"),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"], "maximum": 0}, 0),
        ({"type": "integer", "exclusiveMinimum": 5, "multipleOf": 5}, 10),
        ({"type": "number", "minimum": 0, "maximum": 0.5, "multipleOf": 1}, 0),
        ({"oneOf": [{"type": "null"}, {"const": "x"}]}, "x"),
        (
            {"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}}]},
            {"a": 1, "b": 2},
        ),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, [1, 2]),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"$defs": {"x/y": {"const": 3}}, "$ref": "#/$defs/x~1y"}, 3),
    ],
)
def test_each_part_of_a_schema_is_met(ask, schema, value):
    assert json.loads(ask(schema=schema).text) == value


def test_a_cut_answer_to_a_schema_is_cut_off(ask):
    completion = ask(schema=Answer.model_json_schema(), max_tokens=5)
    assert classify(completion) == ("cut_off", "cut_off:max_tokens")


def test_text_of_any_language_is_welcome(ask):
    request = Request(
        model="practice", messages=(Message("user", "改善 \ud800 {a} 100 %"),), max_tokens=2_000
    )
    done = ask.provider.complete(request, on_text=lambda text: None, stop=StopSignal())
    assert done.text.startswith(FIRST_LINE)


QUOTING = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "x-practice": "path"},
            "excerpt": {"type": "string", "x-practice": "quote"},
            "line": {"type": "integer", "x-practice": "line"},
            "title": {"type": "string", "maxLength": 30, "x-practice": "title"},
            "more": {"type": "array", "items": {"type": "string"}, "x-practice": "none"},
        },
        "required": ["path", "excerpt", "line", "title", "more"],
    },
}
SHOWN = "File: src/birds.py\n    1| import math\n    2| # a comment\n    3| distance = math.hypot(x, y)\n"


def test_an_annotated_schema_is_answered_with_numbered_lines_of_the_prompt(ask):
    answer = json.loads(ask(SHOWN, schema=QUOTING).text)
    told = {(one["path"], one["line"], one["excerpt"]) for one in answer}
    assert told == {("src/birds.py", 1, "import math"), ("src/birds.py", 3, "distance = math.hypot(x, y)")}


def test_what_it_makes_up_beside_a_quote_says_that_it_is_practice(ask):
    one = json.loads(ask(SHOWN, schema=QUOTING).text)[0]
    assert one["title"].startswith("Practice: ")
    assert len(one["title"]) <= 30
    assert one["more"] == []


def test_without_lines_to_quote_nothing_is_quoted(ask):
    assert json.loads(ask("Nothing to see.", schema=QUOTING).text) == []


def test_a_listed_path_is_taken_where_no_code_is_shown(ask):
    schema = {"type": "array", "items": {"type": "string", "x-practice": "path"}}
    assert json.loads(ask("- src/a.py (12)\n", schema=schema).text) == ["src/a.py"]
    tree = "./\n  Makefile\nsrc/deep/\n  a.py: f, g\n  x, y and 3 more\n"
    assert set(json.loads(ask(tree, schema=schema).text)) == {"Makefile", "src/deep/a.py"}


def test_a_path_that_is_named_as_such_is_taken_before_one_that_looks_like_one(ask):
    prompt = SHOWN.replace("File: src/birds.py", '[a1.b2 path="src/my birds.py" lines=1-3]')
    assert {one["path"] for one in json.loads(ask(prompt, schema=QUOTING).text)} == {"src/my birds.py"}
