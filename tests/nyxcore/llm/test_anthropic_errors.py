"""Anthropic's adapter over the wire: what the vendor refuses, and the sentences that people get."""

from __future__ import annotations

import socket
import time

import pytest

from nyxcore.llm.anthropic import AnthropicProvider
from nyxcore.llm.base import LLMError
from tests.nyxcore.llm.conftest import KEY, claude
from tests.nyxcore.llm.wire import answer, block, event, start, text

# --- errors that the vendor sends


@pytest.mark.parametrize(
    ("status", "reason", "retryable"),
    [
        (400, "bad_request", False),
        (401, "auth", False),
        (402, "billing", False),
        (403, "auth", False),
        (404, "bad_request", False),
        (408, "transport", True),
        (409, "transport", True),
        (413, "bad_request", False),
        (422, "bad_request", False),
        (429, "rate_limited", True),
        (500, "transport", True),
        (502, "transport", True),
        (503, "overloaded", True),
        (504, "transport", True),
        (529, "overloaded", True),
    ],
)
def test_a_status_decides(ask_mock, llmock, status, reason, retryable):
    llmock.fail(status)
    error = ask_mock.fails()
    assert (error.reason, error.retryable, error.usage) == (reason, retryable, None)
    assert str(status) in error.message
    assert len(llmock.requests) == 1


def test_a_prompt_that_is_too_long_is_a_bad_request(ask_mock, llmock):
    llmock.context_overflow()
    error = ask_mock.fails()
    assert (error.reason, error.retryable) == ("bad_request", False)
    assert "maximum context length" in error.message


def test_a_rate_limit_returns_at_once_with_the_wait(ask_mock, llmock):
    llmock.rate_limit(retry_after=65)
    began = time.monotonic()
    error = ask_mock.fails()
    assert time.monotonic() - began < 5
    assert (error.reason, error.retryable, error.retry_after) == ("rate_limited", True, 65)
    assert "65 s" in error.message


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "enforced_spend_limit_reached"),
        (429, "contract_spend_limit_reached"),
        (402, "linked_organization_spend_limit_reached"),
        (429, "another_spend_limit_reached"),
    ],
)
def test_a_spend_limit_is_not_retried(ask, wire, status, code):
    error = {"type": "rate_limit_error", "message": "m", "details": {"error_code": code}}
    wire.refuse(status, error, retry_after=65)
    failure = ask.fails()
    assert (failure.reason, failure.retryable, failure.code) == ("billing", False, code)
    assert failure.retry_after is None


def test_a_ramp_limit_is_a_rate_limit(ask, wire):
    details = {"error_code": "ramp_limit_exceeded"}
    wire.refuse(429, {"type": "rate_limit_error", "message": "m", "details": details}, retry_after=20)
    error = ask.fails()
    assert (error.reason, error.retryable, error.retry_after) == ("rate_limited", True, 20)


def test_the_request_id_of_an_error_is_kept(ask, wire):
    wire.refuse(529, {"type": "overloaded_error", "message": "m"}, request_id="req_9")
    assert ask.fails().request_id == "req_9"


def test_an_error_page_of_a_proxy_is_decided_by_its_status(ask, wire):
    wire.play(b"<html>Bad gateway</html>", status=502, content_type="text/html")
    error = ask.fails()
    assert (error.reason, error.retryable) == ("transport", True)


@pytest.mark.parametrize(
    ("kind", "reason", "retryable"),
    [
        ("overloaded_error", "overloaded", True),
        ("api_error", "transport", True),
        ("timeout_error", "transport", True),
        ("rate_limit_error", "rate_limited", True),
        ("invalid_request_error", "bad_request", False),
        ("authentication_error", "auth", False),
        ("permission_error", "auth", False),
        ("billing_error", "billing", False),
        ("never_heard_of", "transport", True),
    ],
)
def test_an_error_inside_a_stream_is_decided_by_its_type(ask, wire, kind, reason, retryable):
    error = event("error", error={"type": kind, "message": "Words that change."})
    wire.play(start(), block(), text("half"), error)
    failure = ask.fails()
    assert (failure.reason, failure.retryable, failure.code) == (reason, retryable, kind)
    assert failure.partial == "half"
    assert failure.usage.estimated


def test_an_error_event_without_json_is_a_transport_failure(ask, wire):
    wire.play(start(), b"event: error\ndata: upstream went away\n\n")
    error = ask.fails()
    assert (error.reason, error.retryable) == ("transport", True)


def test_an_unreachable_address_says_where_and_which_setting():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        error = claude(url).fails()
    assert (error.reason, error.retryable, error.usage) == ("transport", True, None)
    assert url in error.message
    assert "ANTHROPIC_BASE_URL" in error.message


def test_a_server_that_hangs_up_without_an_answer_is_a_transport_failure(wire):
    wire.play(hang_up=True)
    error = claude(wire.url).fails()
    assert (error.reason, error.retryable, error.usage) == ("transport", True, None)
    assert "before it answered" in error.message


# --- words for people, and no key in them


def test_a_wrong_key_names_the_setting(ask_mock, llmock):
    llmock.fail(401, message=f"invalid x-api-key {KEY[:12]}")
    error = ask_mock.fails()
    assert "ANTHROPIC_API_KEY" in error.message
    assert KEY[:12] not in error.message


def test_an_unknown_model_is_named(ask_mock, llmock):
    llmock.fail(404)
    assert "'claude-nonsense'" in ask_mock.fails(model="claude-nonsense").message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 529])
def test_a_key_that_the_server_echoes_is_not_shown(ask, wire, status):
    wire.refuse(status, {"type": "api_error", "message": f"Bad header: Bearer {KEY} and {KEY}!"})
    error = ask.fails()
    assert KEY not in f"{error!r} {vars(error)} {error.__cause__} {error.__context__}"


def test_a_key_echoed_inside_a_stream_is_not_shown(ask, wire):
    wire.play(start(), event("error", error={"type": "api_error", "message": f"key {KEY}"}))
    assert KEY not in ask.fails().message


def test_no_key_fails_before_anything_is_sent(wire, monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    provider = AnthropicProvider("", wire.url)
    with pytest.raises(LLMError, match="ANTHROPIC_API_KEY") as caught:
        provider.client()
    assert caught.value.reason == "auth"
    assert not wire.requests


@pytest.mark.parametrize("key", ["sk-two\nlines-0123", "sk-ümlaut-0123", "sk with space"])
def test_a_key_with_a_wrong_character_is_refused_without_quoting_it(wire, key):
    with pytest.raises(LLMError) as caught:
        AnthropicProvider(key, wire.url).client()
    assert caught.value.reason == "auth"
    assert key not in str(caught.value)


def test_a_line_break_behind_the_key_does_no_harm(wire):
    wire.play(*answer("x"))
    ask = claude(wire.url)
    ask.provider = AnthropicProvider(KEY + "\n", wire.url, model_info=lambda model: None)
    assert ask().text == "x"


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://example.org", "http://"])
def test_an_address_that_is_none_names_its_setting(address):
    with pytest.raises(LLMError, match="ANTHROPIC_BASE_URL"):
        AnthropicProvider(KEY, address).client()


def test_a_password_in_the_address_is_not_shown(wire):
    wire.refuse(500, {"type": "api_error", "message": "m"})
    error = claude(wire.url.replace("://", "://user:hunter2@")).fails()
    assert "hunter2" not in error.message
    assert f"127.0.0.1:{wire.server_port}" in error.message
