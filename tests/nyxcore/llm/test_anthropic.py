"""Anthropic's adapter over the wire: every way an answer can end, or not."""

from __future__ import annotations

import json

import pytest
from llmock.scenarios import Reply

from nyxcore.llm.base import classify
from tests.nyxcore.llm.conftest import claude
from tests.nyxcore.llm.wire import DROP, END, PING, answer, block, event, start, stop, text, thought

# --- answers


def test_a_whole_answer_completes(ask_mock, llmock):
    llmock.reply("one two three")
    completion = ask_mock()
    assert (completion.text, completion.stop_reason) == ("one two three", "end_turn")
    assert classify(completion) == ("completed", "")


def test_text_arrives_in_pieces_that_make_up_the_answer(ask_mock, llmock):
    llmock.reply("one two three")
    completion = ask_mock()
    assert len(ask_mock.heard) == 3
    assert "".join(ask_mock.heard) == completion.text


def test_a_stop_sequence_completes(ask, wire):
    wire.play(*answer("done", "stop_sequence"))
    assert classify(ask()) == ("completed", "")


def test_an_answer_cut_at_max_tokens_is_cut_off_and_keeps_its_text(ask_mock, llmock):
    llmock.add(Reply(text="half a sen", finish_reason="length"))
    completion = ask_mock()
    assert completion.text == "half a sen"
    assert classify(completion) == ("cut_off", "cut_off:max_tokens")


def test_a_full_context_window_is_another_kind_of_cut(ask, wire):
    wire.play(*answer("half", "model_context_window_exceeded"))
    assert classify(ask()) == ("cut_off", "cut_off:context")


def test_only_thinking_is_cut_off_by_thinking(ask, wire):
    wire.play(start(), block(0, "thinking"), thought("hm, " * 50), stop("max_tokens"), END)
    completion = ask()
    assert completion.text == ""
    assert classify(completion) == ("cut_off", "cut_off:thinking")


def test_text_behind_thinking_is_found_by_type(ask, wire):
    thinking = [block(0, "thinking"), thought("hm")]
    wire.play(start(), *thinking, block(1), text("yes", 1), stop("end_turn"), END)
    assert ask().text == "yes"
    assert ask.heard == ["yes"]


def test_several_text_blocks_are_joined(ask, wire):
    wire.play(start(), block(0, text="a"), text("b"), block(1), text("c", 1), stop("end_turn"), END)
    assert ask().text == "abc"


def test_pings_are_no_text(ask, wire):
    wire.play(start(), PING, block(), PING, text("x"), stop("end_turn"), END)
    assert ask().text == "x"


def test_what_the_database_cannot_store_is_replaced(ask, wire):
    wire.play(*answer("a\0b\ud83dc😀"))
    assert ask().text == "a�b�c😀"


def test_an_answer_complete_before_the_connection_breaks_counts(ask, wire):
    wire.play(*answer("whole")[:-1], DROP)
    assert ask().text == "whole"


def test_every_usage_field_and_the_request_id_are_kept(ask, wire):
    sent = {
        "cache_read_input_tokens": 7,
        "cache_creation_input_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
        "service_tier": "standard",
        "speed": "fast",
        "inference_geo": "eu",
        "brand_new_field": 3,
    }
    details = {"output_tokens_details": {"thinking_tokens": 5}}
    body = [start(**sent), block(), text("x"), stop("end_turn", **details), END]
    wire.play(*body, headers={"request-id": "req_42"})
    completion = ask()
    usage = completion.usage
    assert completion.request_id == "req_42"
    assert (usage.input_tokens, usage.output_tokens, usage.thinking_tokens) == (25, 12, 5)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (7, 9)
    assert {name: usage.raw[name] for name in sent} == sent
    assert not usage.estimated
    json.dumps(usage.raw)


def test_later_usage_overwrites_and_what_it_leaves_out_stays(ask, wire):
    wire.play(start(cache_read_input_tokens=7), block(), text("x"), stop("end_turn", input_tokens=30), END)
    usage = ask().usage
    assert (usage.input_tokens, usage.cache_read_tokens) == (30, 7)


def test_the_model_that_answered_is_named(ask, wire):
    wire.play(*answer("x"))
    assert ask(model="claude-opus-alias").model == "claude-opus-5-5"


# --- ends that are no answer


def test_a_clean_early_end_is_not_success(ask_mock, llmock):
    llmock.reply("one two three four").truncate(after_chunks=5)
    error = ask_mock.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "early_end")
    assert error.partial
    assert "one two three four".startswith(error.partial)


def test_a_message_stop_without_a_stop_reason_is_not_success(ask, wire):
    wire.play(start(), block(), text("half"), stop(None), END)
    error = ask.fails()
    assert (error.reason, error.retryable, error.partial) == ("transport", True, "half")


def test_a_drop_in_the_middle_keeps_text_and_usage(ask_mock, llmock):
    llmock.reply("one two three four").disconnect(after_chunks=5)
    error = ask_mock.fails()
    assert (error.reason, error.retryable) == ("transport", True)
    assert error.partial == "one two "
    assert error.usage.estimated
    assert error.usage.output_tokens > 0


def test_the_prompts_tokens_are_known_after_a_drop(ask, wire):
    wire.play(start(), block(), text("half"), DROP)
    assert ask.fails().usage.input_tokens == 25


def test_a_stall_beyond_the_read_timeout_ends_the_call(llmock):
    ask = claude(llmock.base_url("anthropic"), read_timeout=0.3)
    llmock.reply("one two three").stall(after_chunks=4, seconds=5)
    error = ask.fails()
    assert (error.reason, error.retryable, error.partial) == ("transport", True, "one ")
    assert "sent nothing for 0.3 s" in error.message


def test_silence_before_the_answer_ends_the_call_and_counts_the_prompt(wire):
    wire.play(silent=True)
    error = claude(wire.url, read_timeout=0.3).fails()
    assert (error.reason, error.retryable) == ("transport", True)
    assert error.usage.estimated


def test_a_corrupt_chunk_is_a_transport_failure(ask_mock, llmock):
    llmock.reply("one two three").corrupt(after_chunks=4)
    error = ask_mock.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "JSONDecodeError")
    assert error.partial == "one "


@pytest.mark.parametrize(
    "garbage",
    [
        event("content_block_delta", index=3, delta=None),
        event("message_start"),
        b"event: message_delta\ndata: [1]\n\n",
        b"event: message_delta\ndata: \xff\xfe\n\n",
    ],
    ids=["no delta", "no message", "a list", "no text"],
)
def test_events_of_the_wrong_shape_are_a_transport_failure(ask, wire, garbage):
    wire.play(start(), block(), text("half"), garbage)
    error = ask.fails()
    assert (error.reason, error.retryable, error.partial) == ("transport", True, "half")


def test_html_with_status_200_is_a_transport_failure(ask, wire):
    wire.play(b"<html>Sign in to the guest network</html>", content_type="text/html; charset=utf-8")
    error = ask.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "no_events")
    assert "text/html" in error.message
    assert "ANTHROPIC_BASE_URL" in error.message


def test_an_empty_end_turn_is_a_failure_worth_a_retry(ask, wire):
    wire.play(*answer("  \n"))
    error = ask.fails()
    assert (error.reason, error.retryable, error.code) == ("transport", True, "empty_answer")
    assert error.usage.output_tokens == 12


def test_a_refusal_tells_category_and_explanation(ask, wire):
    details = {"type": "refusal", "category": "cyber", "explanation": "This looks like malware."}
    wire.play(*answer("I will", "refusal", details=details))
    error = ask.fails()
    assert (error.reason, error.retryable, error.code, error.partial) == ("refused", False, "cyber", "I will")
    assert "This looks like malware." in error.message


def test_a_refusal_without_details_is_refused_too(ask_mock, llmock):
    llmock.add(Reply(text="no", finish_reason="content_filter"))
    error = ask_mock.fails()
    assert (error.reason, error.retryable) == ("refused", False)


def test_a_tool_call_is_no_answer(ask_mock, llmock):
    llmock.call_tool("search", {"q": "x"})
    error = ask_mock.fails()
    assert (error.reason, error.retryable, error.code) == ("bad_request", False, "tool_use")


@pytest.mark.parametrize("reason", ["pause_turn", "some_new_reason"])
def test_a_stop_reason_that_is_not_on_the_list_is_no_success(ask, wire, reason):
    wire.play(*answer("text", reason))
    error = ask.fails()
    assert (error.retryable, error.code, error.partial) == (False, reason, "text")
