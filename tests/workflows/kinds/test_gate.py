from __future__ import annotations

import pytest

from workflows.kinds.base import StepError, StepInput
from workflows.kinds.gate import GateConfig, GateKind
from workflows.prompts import Filler, StepOutput

KIND = GateKind()
FILLER = Filler({"text": "T"}, {"draft": StepOutput("the draft")})


def test_the_reviewed_output_is_stored_with_the_request() -> None:
    config = GateConfig(instructions="Look at {{ input.text }}", shows="draft", timeout=60)
    request = KIND.prepare(config, FILLER)
    assert request["content"] == "the draft"
    assert request["instructions"] == "Look at T"
    assert (request["shows"], request["timeout"]) == ("draft", 60)


def test_a_gate_waits_with_the_reviewed_text_as_its_output() -> None:
    config = GateConfig(shows="draft")
    outcome = KIND.run(StepInput(config=config, request=KIND.prepare(config, FILLER)))
    assert (outcome.status, outcome.text, outcome.look_again) == ("waiting", "the draft", None)
    assert outcome.completion is None


def test_a_gate_with_a_limit_is_looked_at_when_it_is_over() -> None:
    assert KIND.look({"timeout": 60}, waited=0) == 60
    assert KIND.look({"timeout": 60}, waited=45) == 15


def test_a_gate_without_a_limit_waits_for_ever() -> None:
    assert KIND.look({"timeout": None}, waited=1e9) is None


def test_a_gate_fails_when_its_limit_is_over() -> None:
    with pytest.raises(StepError, match="within 2 hours") as caught:
        KIND.look({"timeout": 7200}, waited=7200)
    assert (caught.value.reason, caught.value.retryable) == ("deadline", False)


@pytest.mark.parametrize(
    ("needs", "previous", "shown"),
    [
        (("a", "b"), "b", "b"),  # the step before
        (("a",), "b", "a"),  # the only one it needs
        (("a", "b"), "c", ""),  # nobody can tell
        ((), "b", ""),
    ],
)
def test_the_default_is_the_step_before(needs: tuple[str, ...], previous: str, shown: str) -> None:
    config = KIND.complete(GateConfig(), needs=needs, previous=previous)
    assert config.shows == shown
    assert bool(KIND.problems(config)) == (not shown)


def test_a_named_step_stays() -> None:
    assert KIND.complete(GateConfig(shows="x"), needs=("a",), previous="a").shows == "x"


def test_a_gate_that_shows_nothing_cannot_be_prepared() -> None:
    with pytest.raises(StepError, match="names no step"):
        KIND.prepare(GateConfig(), FILLER)
