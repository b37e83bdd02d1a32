"""Providers pointed at servers on this machine. None of this needs a database or a key."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import pytest

from nyxcore.llm import models
from nyxcore.llm.anthropic import AnthropicProvider
from nyxcore.llm.base import LLMError, Message, Request, StopSignal
from nyxcore.llm.openai import OpenAIProvider
from tests.nyxcore.llm.wire import Wire

KEY = "sk-ant-secret-0123456789abcdef"


@pytest.fixture(scope="session")
def wire_server():
    server = Wire()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def wire(wire_server):
    wire_server.forget()
    return wire_server


@dataclass
class Asker:
    """Asks one provider and keeps what was streamed."""

    provider: object
    heard: list = field(default_factory=list)

    def __call__(self, prompt="Say hello.", *, signal=None, on_text=None, **request):
        request = {"model": "claude-opus-5-5", "max_tokens": 1000, **request}
        request.setdefault("messages", (Message("user", prompt),))
        self.heard.clear()
        return self.provider.complete(
            Request(**request), on_text=on_text or self.heard.append, stop=signal or StopSignal()
        )

    def fails(self, *args, **request) -> LLMError:
        with pytest.raises(LLMError) as caught:
            self(*args, **request)
        return caught.value

    def stopped_when(self, reached, *args, **request):
        """Ask; set the signal from another thread once `reached` is set. Returns (error, seconds it took)."""
        signal, at = StopSignal(), []

        def stop_it():
            assert reached.wait(10)
            at.append(time.monotonic())
            signal.set("user")

        thread = threading.Thread(target=stop_it)
        thread.start()
        error = self.fails(*args, signal=signal, **request)
        ended = time.monotonic()
        thread.join()
        return error, ended - at[0]


def claude(url, **options):
    return Asker(AnthropicProvider(KEY, url, **{"model_info": models.seed, **options}))


def gpt(url, **options):
    return Asker(OpenAIProvider(KEY, url, **{"model_info": models.seed, **options}))


@pytest.fixture
def ask(wire):
    """Anthropic's adapter against the scripted server."""
    return claude(wire.url)


@pytest.fixture
def ask_mock(llmock):
    """Anthropic's adapter against LLMock."""
    return claude(llmock.base_url("anthropic"))


@pytest.fixture
def ask_gpt(wire):
    """OpenAI's adapter against the scripted server."""
    return gpt(wire.url + "/v1")


@pytest.fixture
def ask_gpt_mock(llmock):
    """OpenAI's adapter against LLMock."""
    return gpt(llmock.base_url("openai"))
