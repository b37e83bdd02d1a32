"""What a run will cost, told before."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.estimate import estimate
from analysis.plain import Chunk, Estimate, FileFacts, Piece
from nyxcore.llm import models

MODEL = "claude-sonnet-5-5"
FILES = [FileFacts("a.py", "b", 1, tokens=9_000), FileFacts("b.py", "b", 1, tokens=7, read=False)]


@pytest.fixture(autouse=True)
def _no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_rows", dict)  # the seed values and list prices


def told(number: int = 10, **settings: Any) -> Estimate:
    chunks = [Chunk((Piece("a.py", "b", n, n),), 12_000) for n in range(1, number + 1)]
    return estimate(FILES, chunks, **({"model": MODEL, "analyzers": 3} | settings))


def test_the_range_is_a_range() -> None:
    found = told(documents=1)
    assert found.low is not None
    assert found.expected is not None
    assert found.high is not None
    assert 0 < found.low < found.expected < found.high


def test_calls_are_counted_by_phase() -> None:
    assert told(documents=2).calls == {"overview": 1, "chunks": 30, "verify": 30, "documents": 14}
    assert told(verify=False).calls == {"overview": 1, "chunks": 30}


def test_only_what_is_read_counts() -> None:
    assert (told().files, told().tokens) == (1, 9_000)


def test_reused_answers_cost_nothing() -> None:
    fresh, half, none = told(), told(reused=15), told(reused=30, overview=False)
    assert fresh.expected is not None
    assert half.expected is not None
    assert half.expected < fresh.expected * 0.6
    assert half.calls["chunks"] == 15
    assert (none.calls, none.low, none.high) == ({}, 0.0, 0.0)


def test_an_unknown_price_is_unknown_and_never_zero() -> None:
    found = told(model="nobodys-model")
    assert (found.low, found.expected, found.high) == (None, None, None)
    assert "not known" in found.basis
    assert found.calls["chunks"] == 30


def test_an_unknown_price_of_the_second_model_alone_is_unknown_too() -> None:
    assert told(verify_model="nobodys-model").expected is None
    assert told(verify_model="nobodys-model", verify=False).expected is not None


def test_the_practice_model_is_free() -> None:
    assert told(model="practice").expected == 0.0


def test_one_call_costs_what_the_list_says() -> None:
    """One chunk, one analyzer, nothing else: checked against the registry's own price of those tokens."""
    from nyxcore.llm.base import Usage

    found = told(1, analyzers=1, verify=False, overview=False)
    usage = Usage(input_tokens=12_000 + 1_500, cache_read_tokens=6_000, output_tokens=3_000)
    price = models.cost(MODEL, usage)
    assert price is not None
    assert found.expected == pytest.approx(float(price))


def test_the_basis_is_told_in_words() -> None:
    assert told().basis.startswith("10 chunks of together 120,000 tokens")


def test_one_is_told_as_one() -> None:
    basis = told(1).basis
    assert basis.startswith("1 chunk of together 12,000 tokens")
    assert "findings to verify: 1 per call" in basis


def test_an_empty_repository_costs_nothing() -> None:
    found = told(0)
    assert (found.calls, found.expected) == ({}, 0.0)
