"""The plain parts: requests, the stop signal, the verdict on an answer, waits and sentences."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from nyxcore.llm import faults
from nyxcore.llm.base import (
    Completion,
    LLMError,
    Message,
    Request,
    Stopped,
    StopSignal,
    Usage,
    classify,
    vendor_schema,
)


@pytest.mark.parametrize("roles", [(), ("assistant",), ("user", "assistant")])
def test_a_request_that_does_not_end_with_the_user_is_refused(roles):
    with pytest.raises(ValueError, match="user message"):
        Request(model="m", messages=tuple(Message(role, "x") for role in roles), max_tokens=1)


def test_a_request_for_no_tokens_is_refused():
    with pytest.raises(ValueError, match="max_tokens"):
        Request(model="m", messages=(Message("user", "x"),), max_tokens=0)


@pytest.mark.parametrize(
    ("text", "stop", "verdict"),
    [
        ("x", "end_turn", ("completed", "")),
        ("x", "stop_sequence", ("completed", "")),
        ("x", "max_tokens", ("cut_off", "cut_off:max_tokens")),
        (" \n", "max_tokens", ("cut_off", "cut_off:thinking")),
        ("x", "model_context_window_exceeded", ("cut_off", "cut_off:context")),
        ("", "model_context_window_exceeded", ("cut_off", "cut_off:context")),
    ],
)
def test_the_stop_reason_decides(text, stop, verdict):
    assert classify(Completion(text, stop, "m", Usage())) == verdict


@pytest.mark.parametrize("stop", ["tool_use", "refusal", "", "None"])
def test_no_other_stop_reason_is_ever_a_verdict(stop):
    with pytest.raises(KeyError):
        classify(Completion("x", stop, "m", Usage()))


def test_an_error_is_a_sentence():
    assert str(LLMError("What happened.", "transport", True)) == "What happened."


def test_stopped_is_an_error_that_nobody_retries():
    assert not Stopped("m", "user").retryable


def test_the_first_cause_stays():
    signal = StopSignal()
    signal.set("user")
    signal.set("deadline")
    assert signal.cause == "user"


def test_a_callback_runs_when_the_signal_is_set():
    signal, ran = StopSignal(), []
    with signal.on_set(lambda: ran.append(signal.cause)):
        signal.set("user")
    assert ran == ["user"]


def test_a_callback_runs_at_once_when_the_signal_was_set():
    signal, ran = StopSignal(), []
    signal.set("user")
    with signal.on_set(lambda: ran.append(1)):
        assert ran == [1]


def test_a_callback_never_runs_after_its_block():
    signal, ran = StopSignal(), []
    with signal.on_set(lambda: ran.append(1)):
        pass
    signal.set("user")
    assert ran == []


def test_a_callback_that_fails_does_not_keep_the_others_from_running(caplog):
    signal, ran = StopSignal(), []
    with signal.on_set(lambda: 1 / 0), signal.on_set(lambda: ran.append(1)):
        signal.set("user")
    assert ran == [1]
    assert "stop callback failed" in caplog.text


def test_a_waiter_wakes_when_the_signal_is_set():
    signal = StopSignal()
    threading.Timer(0.05, signal.set, ["user"]).start()
    assert signal.wait(5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "65"}, 65),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "1e300"}, faults.LONGEST_WAIT),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:29:00 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 60),
        ({"retry-after": "Wed, 21 Oct 2026 07:29:00 GMT", "date": "Wed, 21 Oct 2026 07:30:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
    ],
)
def test_a_wait_is_read_as_seconds_from_now(headers, seconds):
    assert faults.retry_after(headers) == seconds


def test_the_vendors_words_are_quoted_on_one_short_line():
    quote = faults.redact("two\nlines " + "x" * 1000, "")
    assert quote.startswith("two lines")
    assert len(quote) == faults.LONGEST_QUOTE


@pytest.mark.parametrize(
    "leak", ["my-own-secret", "sk-proj-abcdef123456", "Bearer abc.def", "sk-ab***********wxyz"]
)
def test_keys_are_taken_out_of_quotes(leak):
    assert leak not in faults.redact(f"Incorrect key: {leak}, sorry.", "my-own-secret")


@pytest.mark.parametrize(
    "module", ["nyxcore.llm", "nyxcore.llm.anthropic", "nyxcore.llm.openai", "nyxcore.llm.models"]
)
def test_no_vendor_package_is_imported_before_it_is_needed(module):
    code = f"import sys, {module}; heavy = {{'anthropic', 'openai', 'genai_prices', 'httpx2', 'django.conf'}}"
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}; print(sorted(heavy & sys.modules.keys()))"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert shown.stdout.strip() == "[]"


def test_words_for_the_practice_model_do_not_leave_for_a_vendor():
    schema = {
        "type": "object",
        "properties": {"x-practice": {"type": "string", "x-practice": "quote"}},
        "anyOf": [{"x-practice": "none", "type": "array", "items": {"x-practice": "path", "type": "string"}}],
    }
    assert vendor_schema(schema) == {
        "type": "object",
        "properties": {"x-practice": {"type": "string"}},
        "anyOf": [{"type": "array", "items": {"type": "string"}}],
    }
