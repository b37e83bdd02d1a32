"""The adapter for OpenAI and compatible addresses over the wire: the same ends, in the other dialect."""

from __future__ import annotations

import json
import threading

import pytest
from llmock.scenarios import Reply

from nyxcore.llm.base import LLMError, Message, Stopped, classify
from nyxcore.llm.openai import OpenAIProvider
from tests.nyxcore.llm.conftest import KEY, gpt
from tests.nyxcore.llm.wire import DONE, DROP, SILENCE, chunk, totals


def test_a_whole_answer_completes_with_usage(ask_gpt_mock, llmock):
    llmock.reply("one two three")
    completion = ask_gpt_mock()
    assert (completion.text, completion.stop_reason) == ("one two three", "end_turn")
    assert completion.usage.output_tokens > 0
    assert not completion.usage.estimated
    assert "".join(ask_gpt_mock.heard) == completion.text


def test_length_is_cut_off_at_max_tokens(ask_gpt_mock, llmock):
    llmock.add(Reply(text="half a sen", finish_reason="length"))
    completion = ask_gpt_mock()
    assert (completion.text, completion.stop_reason) == ("half a sen", "max_tokens")
    assert classify(completion) == ("cut_off", "cut_off:max_tokens")


def test_length_without_text_is_cut_off_by_thinking(ask_gpt, wire):
    wire.play(chunk(reasoning="hm, hm"), chunk(finish="length"), DONE)
    assert classify(ask_gpt()) == ("cut_off", "cut_off:thinking")


def test_a_content_filter_is_a_refusal(ask_gpt_mock, llmock):
    llmock.add(Reply(text="no", finish_reason="content_filter"))
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable, error.partial) == ("refused", False, "no")


def test_a_refusal_in_words_is_a_refusal(ask_gpt, wire):
    wire.play(chunk(refusal="I can't "), chunk(refusal="help."), chunk(finish="stop"), DONE)
    error = ask_gpt.fails()
    assert error.reason == "refused"
    assert "I can't help." in error.message


def test_a_missing_finish_reason_is_a_transport_failure(ask_gpt_mock, llmock):
    llmock.reply("one two three").truncate(after_chunks=3)
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "early_end")
    assert error.partial == "one two "
    assert error.usage.estimated


def test_done_without_a_finish_reason_is_a_transport_failure(ask_gpt, wire):
    wire.play(chunk("half"), DONE)
    assert ask_gpt.fails().code == "early_end"


def test_running_totals_are_no_totals_when_the_stream_breaks(ask_gpt, wire):
    wire.play(chunk("half", usage={"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}), DROP)
    usage = ask_gpt.fails().usage
    assert usage.estimated
    assert usage.input_tokens == 9


def test_an_empty_answer_is_worth_a_retry(ask_gpt, wire):
    wire.play(chunk(""), chunk(finish="stop"), DONE)
    error = ask_gpt.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "empty_answer")


def test_a_tool_call_is_no_answer(ask_gpt, wire):
    wire.play(chunk("x"), chunk(finish="tool_calls"), DONE)
    assert ask_gpt.fails().code == "tool_use"


def test_a_drop_keeps_the_text(ask_gpt_mock, llmock):
    llmock.reply("one two three").disconnect(after_chunks=3)
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable, error.partial) == ("transport", True, "one two ")


def test_a_corrupt_chunk_is_a_transport_failure(ask_gpt_mock, llmock):
    llmock.reply("one two three").corrupt(after_chunks=2)
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable) == ("transport", True)


def test_a_stall_ends_the_call(llmock):
    ask = gpt(llmock.base_url("openai"), read_timeout=0.3)
    llmock.reply("one two three").stall(after_chunks=2, seconds=5)
    error = ask.fails()
    assert (error.reason, error.retryable, error.partial) == ("transport", True, "one ")


def test_html_with_status_200_names_the_address_setting(ask_gpt, wire):
    wire.play(b"<html>hello</html>", content_type="text/html")
    error = ask_gpt.fails()
    assert (error.reason, error.retryable) == ("transport", True)
    assert "OPENAI_BASE_URL" in error.message


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "bad_request", False),
        (401, "auth", False),
        (403, "auth", False),
        (404, "bad_request", False),
        (413, "bad_request", False),
        (429, "rate_limited", True),
        (500, "transport", True),
        (503, "overloaded", True),
    ],
)
def test_a_status_decides_and_is_asked_once(ask_gpt_mock, llmock, status, reason, retryable):
    llmock.fail(status)
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable) == (reason, retryable)
    assert len(llmock.requests) == 1


def test_a_rate_limit_carries_the_wait(ask_gpt_mock, llmock):
    llmock.rate_limit(retry_after=65)
    assert ask_gpt_mock.fails().retry_after == 65


def test_an_empty_balance_is_not_a_rate_limit(ask_gpt_mock, llmock):
    llmock.fail(429, code="insufficient_quota", retry_after=5)
    error = ask_gpt_mock.fails()
    assert (error.reason, error.retryable, error.retry_after) == ("billing", False, None)


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        ({"type": "server_error", "message": "m"}, "transport", True),
        ({"type": "x", "code": "insufficient_quota", "message": "m"}, "billing", False),
        ({"type": "x", "code": "rate_limit_exceeded", "message": "m"}, "rate_limited", True),
        ({"message": "m", "code": 500}, "transport", True),
        ("out of memory", "transport", True),
    ],
)
def test_an_error_inside_a_stream_is_decided_by_its_words_for_machines(
    ask_gpt, wire, error, reason, retryable
):
    wire.play(chunk("half"), b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    failure = ask_gpt.fails()
    assert (failure.reason, failure.retryable, failure.partial) == (reason, retryable, "half")


def test_cached_tokens_are_counted_apart_and_every_field_is_kept(ask_gpt, wire):
    details = {
        "prompt_tokens_details": {"cached_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    usage = totals(prompt_tokens=100, completion_tokens=20, total_tokens=120, **details)
    wire.play(chunk("x"), chunk(finish="stop"), usage, DONE, headers={"x-request-id": "req_7"})
    completion = ask_gpt()
    counted = completion.usage
    assert (counted.input_tokens, counted.cache_read_tokens) == (70, 30)
    assert (counted.output_tokens, counted.thinking_tokens) == (20, 4)
    assert counted.raw["total_tokens"] == 120
    assert completion.request_id == "req_7"


def test_usage_that_never_arrives_is_estimated(ask_gpt, wire):
    wire.play(chunk("some words"), chunk(finish="stop"), DONE)
    usage = ask_gpt().usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0


def body_of(ask, wire, **request):
    wire.play(chunk("x"), chunk(finish="stop"), DONE)
    ask(**request)
    return wire.body


def test_the_body_has_no_sampling_field_and_ends_with_a_user_message(ask_gpt, wire):
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "go on"))
    body = body_of(ask_gpt, wire, system="Be brief.", messages=turns)
    assert not {"temperature", "top_p"} & body.keys()
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["stream_options"] == {"include_usage": True}


def test_a_compatible_server_gets_max_tokens_clamped_and_no_effort(ask_gpt, wire):
    body = body_of(ask_gpt, wire, model="claude-haiku-4-5", max_tokens=500_000, effort="high")
    assert body["max_tokens"] == 64_000
    assert not {"max_completion_tokens", "reasoning_effort"} & body.keys()


def test_openai_itself_gets_the_newer_names():
    request = {"model": "gpt-next", "max_tokens": 50, "effort": "high"}
    provider = OpenAIProvider(KEY, "https://api.openai.com/v1/", model_info=lambda model: None)
    from nyxcore.llm.base import Request

    body = provider._body(Request(messages=(Message("user", "a"),), **request), None)
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (50, "high")
    assert "max_tokens" not in body


def test_a_schema_is_sent_as_a_response_format(ask_gpt, wire):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    sent = body_of(ask_gpt, wire, schema=schema)["response_format"]
    assert sent == {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def test_a_local_server_needs_no_key(wire, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    ask = gpt(wire.url)
    ask.provider = OpenAIProvider("", wire.url, model_info=lambda model: None)
    assert body_of(ask, wire)["model"] == "claude-opus-5-5"


def test_openai_itself_needs_a_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(LLMError, match="OPENAI_API_KEY"):
        OpenAIProvider("", "https://api.openai.com/v1").client()


def test_a_key_that_the_server_echoes_is_not_shown(ask_gpt, wire):
    wire.refuse(400, {"message": f"Incorrect key {KEY}", "type": "invalid_request_error"})
    error = ask_gpt.fails()
    assert KEY not in f"{error!r} {vars(error)} {error.__cause__} {error.__context__}"


def test_a_stop_ends_a_silent_stream_at_once(ask_gpt, wire):
    wire.play(chunk("half"), SILENCE)
    heard = threading.Event()
    error, seconds = ask_gpt.stopped_when(heard, on_text=lambda text: heard.set())
    assert isinstance(error, Stopped)
    assert seconds < 0.5
    assert error.partial == "half"
    assert wire.hung_up.wait(2)


def test_a_stop_ends_a_call_that_has_no_answer_yet(ask_gpt, wire):
    wire.play(silent=True)
    error, seconds = ask_gpt.stopped_when(wire.reached)
    assert isinstance(error, Stopped)
    assert seconds < 0.5


def test_the_models_are_listed_by_id(ask_gpt_mock):
    listed = ask_gpt_mock.provider.list_models()
    assert listed
    assert all(model.id and model.max_output_tokens == 0 for model in listed)
