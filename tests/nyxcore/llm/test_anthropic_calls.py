"""Anthropic's adapter over the wire: what is sent, how a call is stopped, one client for all."""

from __future__ import annotations

import json
import threading

import pytest

from nyxcore.llm.base import LLMError, Message, Stopped, StopSignal, classify
from tests.nyxcore.llm.conftest import KEY, claude
from tests.nyxcore.llm.wire import END, SILENCE, answer, block, start, stop, text

# --- what is sent


def body_of(ask, wire, **request):
    wire.play(*answer("x"))
    ask(**request)
    return wire.body


def test_no_sampling_field_is_sent(ask_mock, llmock):
    ask_mock()
    assert not {"temperature", "top_p", "top_k"} & llmock.requests[-1].body.keys()


def test_the_body_streams_and_ends_with_a_user_message(ask_mock, llmock):
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "go on"))
    ask_mock(messages=turns)
    body = llmock.requests[-1].body
    assert body["stream"] is True
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_max_tokens_is_clamped_to_the_models_limit(ask, wire):
    assert body_of(ask, wire, model="claude-haiku-4-5", max_tokens=500_000)["max_tokens"] == 64_000


def test_max_tokens_of_an_unknown_model_is_sent_as_it_is(ask, wire):
    assert body_of(ask, wire, model="claude-next", max_tokens=500_000)["max_tokens"] == 500_000


def test_a_large_max_tokens_is_not_refused_by_the_sdk(ask, wire):
    assert body_of(ask, wire, max_tokens=128_000)["max_tokens"] == 128_000


def test_the_system_prompt_and_the_cache_mark_are_sent(ask, wire):
    body = body_of(ask, wire, system="Be brief.")
    assert body["system"] == "Be brief."
    assert body["cache_control"] == {"type": "ephemeral"}


def test_without_cache_no_mark_is_sent(ask, wire):
    assert "cache_control" not in body_of(ask, wire, cache=False)


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-sonnet-5-5"])
def test_thinking_is_summarized_where_the_model_has_it(ask, wire, model):
    assert body_of(ask, wire, model=model)["thinking"] == {"type": "adaptive", "display": "summarized"}


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-next"])
def test_thinking_is_left_alone_elsewhere(ask, wire, model):
    assert "thinking" not in body_of(ask, wire, model=model)


def test_effort_is_sent_to_a_model_that_has_it(ask, wire):
    assert body_of(ask, wire, effort="low")["output_config"] == {"effort": "low"}


def test_effort_is_left_out_for_a_model_without_it(ask, wire):
    assert "output_config" not in body_of(ask, wire, model="claude-haiku-4-5", effort="low")


def test_a_schema_is_sent_as_an_output_format(ask, wire):
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}
    format_ = body_of(ask, wire, schema=schema)["output_config"]["format"]
    assert format_["type"] == "json_schema"
    assert format_["schema"]["additionalProperties"] is False
    assert "minimum" not in format_["schema"]["properties"]["n"]


def test_an_answer_to_a_schema_that_was_cut_is_cut_off_not_a_parse_error(ask, wire):
    wire.play(*answer('{"n": ', "max_tokens"))
    completion = ask(schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    assert classify(completion) == ("cut_off", "cut_off:max_tokens")


def test_the_explicit_key_wins_over_the_environment(ask, wire, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-a-developer")
    body_of(ask, wire)
    sent = json.dumps(wire.requests[-1][1])
    assert KEY in sent
    assert "token-of-a-developer" not in sent


def test_text_that_cannot_be_sent_is_the_prompts_fault(ask, wire):
    assert ask.fails("lone \ud800 surrogate").reason == "prompt"
    assert not wire.requests


# --- stopping


def test_a_stop_ends_a_silent_stream_at_once(ask, wire):
    wire.play(start(), block(), text("half"), SILENCE)
    heard = threading.Event()
    error, seconds = ask.stopped_when(heard, on_text=lambda text: heard.set())
    assert isinstance(error, Stopped)
    assert seconds < 0.5
    assert (error.reason, error.retryable, error.partial) == ("user", False, "half")
    assert error.usage.estimated
    assert error.usage.input_tokens == 25


def test_a_stop_hangs_up_on_the_vendor(ask, wire):
    wire.play(start(), SILENCE)
    ask.stopped_when(wire.reached)
    assert wire.hung_up.wait(2)


def test_a_stop_ends_a_call_that_has_no_answer_yet(ask, wire):
    wire.play(silent=True)
    error, seconds = ask.stopped_when(wire.reached)
    assert isinstance(error, Stopped)
    assert seconds < 0.5
    assert error.usage.estimated
    assert wire.hung_up.wait(2)


def test_a_stop_ends_a_stream_that_writes(ask_mock, llmock):
    llmock.reply("word " * 500).pace(10)
    heard = threading.Event()
    error, seconds = ask_mock.stopped_when(heard, on_text=lambda text: heard.set())
    assert isinstance(error, Stopped)
    assert seconds < 0.5
    assert error.partial.startswith("word ")


def test_after_a_stop_no_text_follows_even_when_it_has_arrived(ask, wire):
    signal = StopSignal()
    wire.play(b"".join([start(), block(), text("a"), text("b"), stop("end_turn"), END]))
    error = ask.fails(signal=signal, on_text=lambda text: signal.set("user"))
    assert (type(error), error.partial) == (Stopped, "a")


def test_a_signal_set_before_the_call_sends_nothing(ask, wire):
    signal = StopSignal()
    signal.set("handover")
    error = ask.fails(signal=signal)
    assert (type(error), error.reason, error.usage) == (Stopped, "handover", None)
    assert not wire.requests


def test_a_signal_set_after_the_call_disturbs_nobody(ask, wire):
    signal = StopSignal()
    wire.play(*answer("x"))
    wire.play(*answer("y"))
    ask(signal=signal)
    signal.set("user")
    assert ask().text == "y"


def test_stopping_one_call_leaves_the_other_alone(ask, wire):
    wire.play(start(), SILENCE)
    wire.play(*answer("other"))
    other = []

    def ask_twice():
        assert wire.reached.wait(10)
        other.append(claude(wire.url)().text)

    thread = threading.Thread(target=ask_twice)
    thread.start()
    ask.stopped_when(wire.reached)
    thread.join()
    assert other == ["other"]


def test_a_listener_that_fails_ends_the_call_with_its_own_error(ask, wire):
    wire.play(start(), block(), text("x"), SILENCE)

    def burst(piece):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        ask(on_text=burst)
    assert wire.hung_up.wait(2)


# --- one client


def test_threads_share_one_client(wire):
    provider = claude(wire.url).provider
    found = []
    threads = [threading.Thread(target=lambda: found.append(provider.client())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(client) for client in found}) == 1


def test_many_calls_run_at_once_on_one_provider(ask_mock, llmock):
    llmock.reply("one two three", times=None)
    texts = []
    threads = [threading.Thread(target=lambda: texts.append(ask_mock().text)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["one two three"] * 12


def test_the_models_list_carries_limits_and_abilities(ask, wire):
    model = {
        "type": "model",
        "id": "claude-next",
        "display_name": "Claude Next",
        "created_at": "2026-11-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 2_000_000,
        "max_tokens": 256_000,
        "capabilities": {"thinking": {"supported": True, "types": {"adaptive": {"supported": True}}}},
    }
    page = {"data": [model], "has_more": False, "first_id": "a", "last_id": "b"}
    wire.play(json.dumps(page).encode(), content_type="application/json")
    listed = ask.provider.list_models()[0]
    assert (listed.id, listed.label, listed.lifecycle) == ("claude-next", "Claude Next", "active")
    assert (listed.context_tokens, listed.max_output_tokens) == (2_000_000, 256_000)
    assert listed.capabilities["thinking"]["types"]["adaptive"]["supported"]


def test_a_models_list_without_limits_is_read(ask_mock):
    listed = ask_mock.provider.list_models()
    assert "claude-opus-4-6" in {model.id for model in listed}
    assert {model.max_output_tokens for model in listed} == {0}


def test_a_models_list_that_is_refused_is_our_error(ask, wire):
    wire.refuse(401, {"type": "authentication_error", "message": "m"})
    with pytest.raises(LLMError, match="ANTHROPIC_API_KEY"):
        ask.provider.list_models()
