from __future__ import annotations

from typing import Any

import pytest

from nyxcore.llm import models
from nyxcore.llm.base import LLMError
from tests.workflows.kinds.scripted import Answer, ScriptedProvider
from workflows.kinds.base import StepError, StepInput
from workflows.kinds.llm import LLMConfig, LLMKind, build_request, model_problem
from workflows.prompts import Filler, StepOutput

KIND = LLMKind()
ASKED = {"model": "m", "system": "Be brief.", "prompt": "Write.", "max_tokens": 50, "effort": None}


def config(**options: Any) -> LLMConfig:
    return LLMConfig.model_validate({"prompt": "Do {{ input.text }}"} | options)


def prepare(options: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    filler = Filler({"text": "it"}, {"idea": StepOutput("an idea")})
    return KIND.prepare(config(**options), filler, **{"default_model": "", "max_tokens": None} | kwargs)


def run(earlier: str = "") -> tuple[Any, str]:
    shown: list[str] = []
    step = StepInput(config=config(), request=ASKED, earlier_text=earlier, on_text=shown.append)
    return KIND.run(step), "".join(shown)


# --- prepare: what is stored ----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_request_holds_what_will_be_sent() -> None:
    request = prepare({"system": "Be brief.", "effort": "low", "max_tokens": 100, "model": "claude-opus-5-5"})
    sizes = request.pop("sizes")
    assert request == {
        "model": "claude-opus-5-5",
        "system": "Be brief.",
        "prompt": "Do it",
        "max_tokens": 100,
        "effort": "low",
    }
    assert sizes == {"system": 9, "prompt": 5, "input.text": 2}


@pytest.mark.django_db
def test_the_workflows_model_counts_before_the_installations() -> None:
    assert prepare({}, default_model="claude-haiku-4-5")["model"] == "claude-haiku-4-5"
    assert prepare({})["model"] == models.default_model()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("own", "override", "expected"),
    [(None, None, 16_384), (100, None, 100), (100, 200, 200), (None, 300, 300)],
)
def test_max_tokens_of_the_attempt_then_of_the_step_then_the_default(
    own: int | None, override: int | None, expected: int
) -> None:
    assert prepare({"max_tokens": own}, max_tokens=override)["max_tokens"] == expected


@pytest.mark.django_db
def test_a_lowered_limit_is_visible_in_the_request() -> None:
    request = prepare({"model": "claude-haiku-4-5", "max_tokens": 100_000})
    assert (request["max_tokens"], request["max_tokens_asked"]) == (64_000, 100_000)


@pytest.mark.django_db
def test_an_empty_prompt_fails_before_the_call() -> None:
    blank = Filler({"text": " \n"}, {})
    with pytest.raises(StepError, match="empty") as caught:
        KIND.prepare(config(prompt="{{ input.text }}"), blank, default_model="", max_tokens=None)
    assert (caught.value.reason, caught.value.retryable) == ("prompt", False)


@pytest.mark.django_db
def test_a_prompt_beyond_the_context_names_its_largest_parts() -> None:
    filler = Filler({"text": "x" * 3_000_000}, {})
    with pytest.raises(StepError, match=r"claude-haiku-4-5 takes 200,000\..*input\.text 3,000,000") as caught:
        KIND.prepare(config(model="claude-haiku-4-5"), filler, default_model="", max_tokens=None)
    assert caught.value.reason == "prompt"


@pytest.mark.django_db
def test_the_text_to_continue_counts_in_the_sizes() -> None:
    assert prepare({}, earlier_text="half")["sizes"]["earlier_text"] == 4


# --- run: what comes back -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stop_reason", "text", "status", "reason"),
    [
        ("end_turn", "done", "completed", ""),
        ("max_tokens", "half", "cut_off", "cut_off:max_tokens"),
        ("max_tokens", "", "cut_off", "cut_off:thinking"),
        ("model_context_window_exceeded", "half", "cut_off", "cut_off:context"),
    ],
)
def test_only_a_good_stop_reason_completes(
    script: type[ScriptedProvider], stop_reason: str, text: str, status: str, reason: str
) -> None:
    script.answers = [Answer(text, stop_reason)]
    outcome, shown = run()
    assert (outcome.status, outcome.reason, outcome.text, shown) == (status, reason, text, text)
    assert outcome.completion.stop_reason == stop_reason


def test_the_stored_request_is_what_is_sent(script: type[ScriptedProvider]) -> None:
    script.answers = [Answer("done")]
    run()
    (sent,) = script.requests
    assert (sent.model, sent.system, sent.max_tokens) == ("m", "Be brief.", 50)
    assert [(message.role, message.content) for message in sent.messages] == [("user", "Write.")]


def test_a_continuation_keeps_turns_apart_and_ends_with_the_user() -> None:
    earlier = "x" * 300 + "the end of it"
    sent = build_request(StepInput(config=config(), request=ASKED, cause="continue", earlier_text=earlier))
    assert [message.role for message in sent.messages] == ["user", "assistant", "user"]
    assert sent.messages[1].content == earlier
    assert f"<end_of_answer>{earlier[-200:]}</end_of_answer>" in sent.messages[2].content


def test_a_continuation_that_is_tried_again_still_continues() -> None:
    step = StepInput(config=config(), request=ASKED, cause="backoff", earlier_text="half")
    assert len(build_request(step).messages) == 3


def test_an_earlier_text_without_words_is_not_continued() -> None:
    step = StepInput(config=config(), request=ASKED, cause="continue", earlier_text=" \n")
    assert len(build_request(step).messages) == 1


def test_a_continuation_gives_only_the_new_part_and_shows_the_same(script: type[ScriptedProvider]) -> None:
    script.answers = [Answer("ends with these words and goes on. " + "More. " * 200)]
    outcome, shown = run("A sentence that ends with these words")
    assert outcome.text == " and goes on. " + "More. " * 200
    assert shown == outcome.text


def test_a_continuation_that_only_repeats_is_not_called_thinking(script: type[ScriptedProvider]) -> None:
    script.answers = [Answer("ends with these words", "max_tokens")]
    outcome, shown = run("A sentence that ends with these words")
    assert (outcome.text, outcome.reason, shown) == ("", "cut_off:max_tokens", "")


def test_a_dropped_continuation_keeps_only_its_new_part(script: type[ScriptedProvider]) -> None:
    dropped = LLMError("The connection broke.", "transport", retryable=True)
    script.answers = [Answer("these words and more", error=dropped)]
    with pytest.raises(LLMError) as caught:
        run("It ends with these words")
    assert (caught.value.partial, caught.value.retryable) == (" and more", True)


# --- problems on save -----------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "default_model", "expected"),
    [
        ({"max_tokens": 64_000, "model": "claude-haiku-4-5"}, "", []),
        (
            {"max_tokens": 64_001, "model": "claude-haiku-4-5"},
            "",
            [("max_tokens", "64,001 is above the limit of claude-haiku-4-5: at most 64,000.")],
        ),
        (
            {"max_tokens": 64_001},
            "claude-haiku-4-5",
            [("max_tokens", "64,001 is above the limit of claude-haiku-4-5: at most 64,000.")],
        ),
        (
            {"effort": "high", "model": "claude-haiku-4-5"},
            "",
            [("effort", "claude-haiku-4-5 has no effort setting; leave it empty.")],
        ),
        ({"effort": "max", "model": "claude-opus-5-5"}, "", []),
        (
            {"model": "claude-opus-55"},
            "",
            [
                (
                    "model",
                    "The model claude-opus-55 is not known to the provider practice. Did you mean claude-opus-5-5?",
                )
            ],
        ),
    ],
)
def test_limits_and_abilities_of_the_model_are_kept(
    options: dict[str, Any], default_model: str, expected: list[tuple[str, str]]
) -> None:
    assert KIND.model_problems(config(**options), default_model=default_model) == expected


@pytest.mark.django_db
def test_max_tokens_is_compared_with_the_installations_model_when_none_is_named() -> None:
    ((option, message),) = KIND.model_problems(config(max_tokens=10**9), default_model="")
    assert option == "max_tokens"
    assert models.default_model() in message


@pytest.mark.django_db
def test_a_model_of_another_provider_is_refused(settings: Any) -> None:
    settings.NYXCORE_LLM = "anthropic"
    assert "belongs to the provider practice" in model_problem("practice")


@pytest.mark.django_db
def test_a_compatible_address_may_have_models_that_nobody_knows(settings: Any) -> None:
    settings.NYXCORE_LLM = "openai"
    assert model_problem("llama-9") == ""
