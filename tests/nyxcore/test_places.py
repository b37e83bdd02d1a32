"""How many calls a process makes at once, after refusals and after answers."""

from __future__ import annotations

import time

import pytest

from nyxcore.llm.base import LLMError, Stopped, StopSignal
from nyxcore.places import LONGEST_PAUSE, PLACES, Places, place
from nyxcore.states import Reason

LIMITED = LLMError("Slow down.", Reason.RATE_LIMITED, retryable=True)
OVERLOADED = LLMError("Busy.", Reason.OVERLOADED, retryable=True)


def refuse(places: Places, error: LLMError = OVERLOADED) -> None:
    places.refused(error, time.monotonic())


def test_there_are_as_many_places_as_are_allowed() -> None:
    places = Places(2)
    assert [places.take(), places.take(), places.take()] == [True, True, False]
    places.give_back()
    assert places.take()


def test_a_refusal_halves_the_places_down_to_one() -> None:
    places = Places(8)
    limits = [refuse(places) or places.limit for _ in range(5)]
    assert limits == [4, 2, 1, 1, 1]


def test_calls_that_were_under_way_together_lower_once() -> None:
    places = Places(8)
    began = time.monotonic()
    for _ in range(8):
        places.refused(OVERLOADED, began)
    assert places.limit == 4


def test_answers_bring_the_places_back_and_no_more() -> None:
    places = Places(4)
    refuse(places)
    for _ in range(3):
        places.answered()
    assert 3 <= places.limit < 4
    for _ in range(20):
        places.answered()
    assert places.limit == 4


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(None, 0.5, 1), (30.0, 29, 30), (90_000.0, 299, LONGEST_PAUSE)]
)
def test_after_a_429_nobody_asks_for_as_long_as_the_provider_says(
    asked: float | None, least: float, most: float
) -> None:
    places = Places(4)
    refuse(places, LLMError("Slow down.", Reason.RATE_LIMITED, retryable=True, retry_after=asked))
    assert not places.take()
    assert least < places._paused_until - time.monotonic() <= most
    places._paused_until -= most
    assert places.take()


@pytest.mark.parametrize("reason", [Reason.BILLING, Reason.TRANSPORT, Reason.BAD_REQUEST])
def test_other_errors_take_no_places_away(reason: Reason) -> None:
    places = Places(4)
    refuse(places, LLMError("No.", reason))
    assert (places.limit, places.paused) == (4, False)


def test_a_stop_ends_the_wait_for_a_place() -> None:
    PLACES.refused(LIMITED, time.monotonic())
    stop = StopSignal()
    stop.set("user")
    with pytest.raises(Stopped), place(stop):
        pass


def test_a_place_is_kept_for_another_call_only_while_there_are_enough() -> None:
    places = Places(4)
    assert all(places.take() for _ in range(4))
    assert places.enough
    places.refused(OVERLOADED, time.monotonic())
    assert not places.enough
    for _ in range(2):
        places.give_back()
    assert places.enough
    places.refused(LIMITED, time.monotonic())
    places.give_back()
    assert not places.enough  # the provider wants to be left alone
