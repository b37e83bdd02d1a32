"""`complete()`: settings name the provider, the registry's rows count."""

from __future__ import annotations

import logging

import pytest

from nyxcore import llm
from nyxcore.llm import LLMError, Message, Request, models
from tests.nyxcore.llm.conftest import KEY
from tests.nyxcore.llm.wire import answer


@pytest.fixture(autouse=True)
def _fresh_providers():
    llm.reset_providers()
    yield
    llm.reset_providers()


@pytest.fixture
def claude_on_wire(settings, wire):
    """Settings that send the default provider's calls to the scripted server."""
    options = {"api_key": KEY, "base_url": wire.url}
    backend = "nyxcore.llm.anthropic.AnthropicProvider"
    settings.LLM_PROVIDERS = {"anthropic": {"BACKEND": backend, "OPTIONS": options}}
    settings.NYXCORE_LLM = "anthropic"
    settings.NYXCORE_DEFAULT_MODEL = ""
    return wire


def request(**fields):
    return Request(
        **{"model": "claude-opus-5-5", "messages": (Message("user", "Hi."),), "max_tokens": 20, **fields}
    )


def test_the_practice_model_answers_without_a_key(settings):
    settings.NYXCORE_LLM = "practice"
    heard = []
    completion = llm.complete(request(), on_text=heard.append)
    assert completion.model == "practice"
    assert "".join(heard) == completion.text
    assert llm.is_practice()


def test_nobody_has_to_listen(settings):
    settings.NYXCORE_LLM = "practice"
    assert llm.complete(request()).text


def test_another_provider_can_be_used_by_name(settings):
    settings.NYXCORE_LLM = "anthropic"
    assert not llm.is_practice()
    assert llm.complete(request(), using="practice").model == "practice"


def test_an_unknown_provider_is_named(settings):
    settings.NYXCORE_LLM = "claud"
    with pytest.raises(LLMError, match="claud") as caught:
        llm.complete(request())
    assert not caught.value.retryable


def test_a_provider_is_made_once(settings):
    settings.NYXCORE_LLM = "practice"
    assert llm.get_provider() is llm.get_provider("practice")


@pytest.mark.django_db
def test_without_a_model_the_default_one_is_asked(claude_on_wire):
    claude_on_wire.play(*answer("x"))
    llm.complete(request(model=""))
    assert claude_on_wire.body["model"] == models.DEFAULTS["anthropic"]


def test_without_any_model_the_setting_is_named(settings):
    settings.NYXCORE_LLM, settings.NYXCORE_DEFAULT_MODEL = "openai", ""
    with pytest.raises(LLMError, match="NYXCORE_DEFAULT_MODEL"):
        llm.complete(request(model=""))


@pytest.mark.django_db
def test_a_rows_limit_clamps_max_tokens_on_the_wire(claude_on_wire):
    from nyxcore.models import LanguageModel

    LanguageModel.objects.create(id="claude-opus-5-5", provider="anthropic", max_output_tokens=500)
    claude_on_wire.play(*answer("x"))
    llm.complete(request(max_tokens=9_000))
    assert claude_on_wire.body["max_tokens"] == 500


@pytest.mark.django_db
def test_a_wrong_key_is_a_sentence_for_people(claude_on_wire):
    claude_on_wire.refuse(401, {"type": "authentication_error", "message": "invalid"})
    with pytest.raises(LLMError) as caught:
        llm.complete(request())
    assert caught.value.message == (
        f"Anthropic at {claude_on_wire.url} did not accept the key (401 authentication_error). "
        "Check ANTHROPIC_API_KEY, then retry."
    )


def test_the_log_line_holds_neither_prompt_nor_answer(settings, caplog):
    settings.NYXCORE_LLM = "practice"
    with caplog.at_level(logging.INFO, logger="nyxcore.llm"):
        completion = llm.complete(request(messages=(Message("user", "A secret plan."),)))
    assert "stop=max_tokens" in caplog.text
    assert "secret" not in caplog.text
    assert completion.text[:20] not in caplog.text


@pytest.mark.django_db
def test_the_registry_is_read_once_a_minute(django_assert_num_queries):
    with django_assert_num_queries(1):
        models.get("claude-opus-5-5")
        models.clamp_max_tokens("claude-opus-5-5", 1)


def test_the_registry_falls_back_to_seeds_when_the_database_is_away(monkeypatch, caplog):
    from django.db import OperationalError

    from nyxcore.models import LanguageModel

    def gone():
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(LanguageModel.objects, "all", gone)
    assert models.get("claude-opus-5-5") == models.SEEDS["claude-opus-5-5"]
    assert "seed values" in caplog.text
