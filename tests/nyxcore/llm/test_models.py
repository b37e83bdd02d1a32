"""The registry of models: seeds, rows, limits, money."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from nyxcore import llm
from nyxcore.llm import models
from nyxcore.llm.base import Usage
from nyxcore.models import LanguageModel
from tests.nyxcore.llm.conftest import KEY

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh(settings):
    settings.NYXCORE_LLM, settings.NYXCORE_DEFAULT_MODEL = "anthropic", ""
    llm.reset_providers()
    yield
    llm.reset_providers()


def row(model_id, **fields):
    return LanguageModel.objects.create(
        **{"id": model_id, "provider": "anthropic", "label": model_id, **fields}
    )


# --- what is known


def test_the_seeds_are_known_without_a_key():
    info = models.get("claude-haiku-4-5")
    assert (info.context_tokens, info.max_output_tokens, info.efforts) == (200_000, 64_000, ())


def test_a_limit_that_nobody_checked_is_marked():
    assert [info.id for info in models.SEEDS.values() if not info.checked] == ["claude-fable-5-2"]


def test_an_unknown_model_is_none():
    assert models.get("claude-nonsense") is None


def test_a_row_overrides_its_seed_where_it_says_something():
    row("claude-fable-5-2", max_output_tokens=256_000)
    info = models.get("claude-fable-5-2")
    assert (info.max_output_tokens, info.context_tokens, info.checked) == (256_000, 1_000_000, True)
    assert info.thinking == "adaptive"


@pytest.mark.parametrize(
    ("types", "thinking"),
    [
        ({"adaptive": True, "disabled": True}, "adaptive"),
        ({"adaptive": True, "disabled": False}, "always"),
        ({"adaptive": False, "enabled": True}, "budget"),
        ({}, ""),
    ],
)
def test_abilities_are_read_from_the_row(types, thinking):
    types = {name: {"supported": supported} for name, supported in types.items()}
    effort = {"low": {"supported": True}, "max": {"supported": False}, "xhigh": None}
    row("m", capabilities={"thinking": {"types": types}, "effort": effort})
    assert (models.get("m").thinking, models.get("m").efforts) == (thinking, ("low",))


@pytest.mark.parametrize(("asked", "got"), [(1, 1), (64_000, 64_000), (64_001, 64_000)])
def test_max_tokens_is_clamped_to_the_limit(asked, got):
    assert models.clamp_max_tokens("claude-haiku-4-5", asked) == got


def test_max_tokens_of_an_unknown_model_is_not_clamped():
    assert models.clamp_max_tokens("claude-nonsense", 10**6) == 10**6


# --- what to choose from


def test_the_choices_are_the_seeds_until_the_provider_has_listed_its_models():
    assert "claude-opus-5-5" in {info.id for info in models.choices()}
    assert "practice" not in {info.id for info in models.choices()}


def test_then_they_are_what_it_listed_without_the_retired():
    row("claude-sonnet-5-5")
    row("claude-new")
    row("claude-old", lifecycle="retired")
    assert {info.id for info in models.choices()} == {"claude-new", "claude-sonnet-5-5"}


def test_the_default_model_is_always_a_choice(settings):
    settings.NYXCORE_DEFAULT_MODEL = "my-own"
    assert models.default_model() == "my-own"
    assert models.choices()[0].id == "my-own"


def test_the_practice_provider_offers_itself(settings):
    settings.NYXCORE_LLM = "practice"
    assert [info.id for info in models.choices()] == ["practice"]
    assert models.default_model() == "practice"


# --- money


def test_money_counts_every_kind_of_token():
    cached = Usage(input_tokens=1000, cache_read_tokens=1000, cache_write_tokens=1000, output_tokens=1000)
    # opus 5.5, dollars for a million: 4 in, 0.20 read, 5 written, 20 out
    assert models.cost("claude-opus-5-5", cached) == Decimal("0.0292")


def test_an_hour_of_cache_costs_more():
    usage = Usage(cache_write_tokens=1000, raw={"cache_creation": {"ephemeral_1h_input_tokens": 1000}})
    assert models.cost("claude-opus-5-5", usage) == Decimal("0.008")


def test_the_fast_speed_costs_more():
    assert models.cost("claude-opus-5-5", Usage(output_tokens=1000, raw={"speed": "fast"})) == Decimal("0.04")


def test_haiku_costs_five_times_as_much_beyond_100k():
    small, large = (models.cost("claude-haiku-5-5", Usage(input_tokens=n)) for n in (100_000, 200_000))
    assert (small, large) == (Decimal("0.01"), Decimal("0.1"))


def test_an_unknown_price_is_none():
    assert models.cost("claude-nonsense", Usage(input_tokens=1)) is None
    assert models.worst_case("claude-nonsense", 1, 1) is None


def test_the_price_of_every_seed_is_known():
    assert all(info.price_known for info in models.SEEDS.values())


def test_a_practice_answer_is_free_whatever_model_was_asked_for(settings):
    settings.NYXCORE_LLM = "practice"
    assert models.cost("practice", Usage(output_tokens=10**6)) == 0
    assert models.cost("claude-opus-5-5", Usage(output_tokens=10**6, raw={"practice": True})) == 0
    assert models.worst_case("claude-opus-5-5", 10**6, 10**6) == 0


def test_the_worst_case_covers_what_a_call_can_cost():
    worst = models.worst_case("claude-opus-5-5", 1000, 1000)
    assert worst == Decimal("0.025")
    assert worst >= models.cost("claude-opus-5-5", Usage(input_tokens=1000, output_tokens=1000))


def test_a_model_on_a_local_address_has_no_price(settings):
    options = {"api_key": KEY, "base_url": "http://127.0.0.1:11434/v1"}
    settings.LLM_PROVIDERS = {"openai": {"BACKEND": "nyxcore.llm.openai.OpenAIProvider", "OPTIONS": options}}
    settings.NYXCORE_LLM = "openai"
    assert models.cost("gpt-5", Usage(input_tokens=1000)) is None


def test_openais_own_address_has_its_prices(settings):
    options = {"api_key": KEY, "base_url": "https://api.openai.com/v1"}
    settings.LLM_PROVIDERS = {"openai": {"BACKEND": "nyxcore.llm.openai.OpenAIProvider", "OPTIONS": options}}
    settings.NYXCORE_LLM = "openai"
    assert models.cost("gpt-5", Usage(input_tokens=1_000_000)) > 0


@pytest.mark.parametrize(
    "text", ["", "word", "A whole sentence of plain English prose.", "改善这个文本", "😀" * 10]
)
def test_the_estimate_is_on_the_high_side(text):
    assert models.estimate_tokens(text) >= max(len(text.split()), len(text) / 4)


# --- refresh


def page(*listed):
    models_ = [
        {"type": "model", "created_at": "2026-01-01T00:00:00Z", "lifecycle": "active", **m} for m in listed
    ]
    return json.dumps({"data": models_, "has_more": False, "first_id": None, "last_id": None}).encode()


@pytest.fixture
def api(settings, wire):
    options = {"api_key": KEY, "base_url": wire.url}
    backend = "nyxcore.llm.anthropic.AnthropicProvider"
    settings.LLM_PROVIDERS = {"anthropic": {"BACKEND": backend, "OPTIONS": options}}
    wire.list = lambda *listed: wire.play(page(*listed), content_type="application/json")
    return wire


def test_refresh_fills_the_rows(api):
    api.list({"id": "a", "display_name": "A", "max_input_tokens": 100, "max_tokens": 50})
    assert models.refresh() == 1
    info = models.get("a")
    assert (info.label, info.context_tokens, info.max_output_tokens) == ("A", 100, 50)


def test_a_second_refresh_updates_them(api):
    api.list({"id": "a", "display_name": "A", "max_tokens": 50})
    api.list({"id": "a", "display_name": "A", "max_tokens": 70})
    models.refresh()
    models.refresh()
    assert models.clamp_max_tokens("a", 100) == 70


def test_a_model_that_is_listed_no_more_is_retired_and_kept(api):
    row("gone")
    row("elsewhere", provider="openai")
    api.list({"id": "a", "display_name": "A"})
    models.refresh()
    assert models.get("gone").lifecycle == "retired"
    assert models.get("elsewhere").lifecycle == "active"


def test_an_empty_list_retires_nothing(api):
    row("kept")
    api.list()
    assert models.refresh() == 0
    assert models.get("kept").lifecycle == "active"


def test_a_refresh_that_fails_leaves_the_rows(api):
    row("kept")
    api.refuse(500, {"type": "api_error", "message": "m"})
    with pytest.raises(llm.LLMError):
        models.refresh()
    assert LanguageModel.objects.filter(id="kept").exists()


def test_the_practice_provider_has_nothing_to_list(settings):
    settings.NYXCORE_LLM = "practice"
    assert models.refresh() == 0
