"""Who may listen, the token view, and what ends a stream from inside Django."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.signing import BadSignature
from django.http import Http404, HttpResponse
from django.shortcuts import resolve_url

from nyxcore import channels, events, live, live_tokens, live_views


class Rows:
    """Rows 1 to 3; each user sees the one with the user's own key, staff all."""

    def __init__(self, pks: tuple[int, ...] = (1, 2, 3)) -> None:
        self.pks = pks

    def visible_to(self, user: Any) -> "Rows":
        return self if user.is_staff else Rows(tuple(pk for pk in self.pks if pk == user.pk))

    def filter(self, pk: int) -> "Rows":
        return Rows(tuple(one for one in self.pks if one == pk))

    def exists(self) -> bool:
        return bool(self.pks)


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(channels, "_sources", {})
    channels.register("thing", Rows)


def person(pk: int = 1, **kwargs: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{"pk": pk, "is_authenticated": True, "is_active": True, "is_staff": False} | kwargs
    )


def test_own_row_is_readable_and_a_strangers_is_not():
    assert channels.readable(person(1), "thing-1")
    assert not channels.readable(person(1), "thing-2")
    assert channels.readable(person(1, is_staff=True), "thing-2")


def test_nobody_reads_without_an_active_account():
    assert not channels.readable(AnonymousUser(), "thing-1")
    assert not channels.readable(person(1, is_active=False), "thing-1")


@pytest.mark.parametrize(
    "name",
    ["", "thing", "thing-", "thing-0", "thing-01", "thing--1", "thing-1 ", "thing-1\n", "Thing-1", "thing-1-2",
     "other-1", "thing-٣", "thing-" + "9" * 30, "*", "thing-*", "thing-1,thing-2", "kicks"],
)  # fmt: skip
def test_names_that_are_no_channel(name):
    assert channels.parse(name) is None
    assert not channels.readable(person(1, is_staff=True), name)


def test_a_prefix_must_be_lower_case_letters():
    with pytest.raises(ValueError, match="prefix"):
        channels.register("a-b", Rows)


# --- tokens


def test_token_names_user_channels_and_times(settings):
    settings.NYXCORE_LIVE_TOKEN_AGE = 100
    claim = live_tokens.read_token(live.make_token(5, ["thing-1"], issued_at=None))
    assert (claim.user_id, claim.channels) == (5, ("thing-1",))
    assert claim.expires_at - claim.issued_at == 100


def test_token_lives_no_longer_than_kicks_are_remembered(settings):
    settings.NYXCORE_LIVE_TOKEN_AGE = 10**6
    assert live_tokens.token_age() == events.KICKS_KEPT


def test_changed_token_is_refused():
    token = live.make_token(5, ["thing-1"])
    body, rest = token.split(":", 1)
    for forged in (token + "x", body[:-2] + "xx:" + rest, "", ":::"):
        with pytest.raises(BadSignature):
            live_tokens.read_token(forged)


# --- the token view


@pytest.fixture
def ask(rf):
    """Call the view as `who`."""

    def call(who: Any, *names: str, method: str = "get") -> HttpResponse:
        request = getattr(rf, method)("/events/token/", {"channel": list(names)})
        request.user = who
        return live_views.token(request)

    return call


def test_token_view_gives_a_token_for_a_readable_channel(ask):
    response = ask(person(1), "thing-1")
    said = json.loads(response.content)
    claim = live_tokens.read_token(said["token"])
    assert (claim.user_id, claim.channels) == (1, ("thing-1",))
    assert said["expires_in"] == live_tokens.token_age()
    assert "no-store" in response["cache-control"]


@pytest.mark.parametrize(
    "names", [[], ["thing-2"], ["other-1"], ["thing-1", "thing-999"], ["thing-1"] * 21, ["*"]]
)
def test_token_view_answers_404_for_every_other_channel(ask, names):
    with pytest.raises(Http404):
        ask(person(1), *names)


def test_token_view_asks_strangers_to_sign_in(ask):
    response = ask(AnonymousUser(), "thing-1")
    assert (response.status_code, response["location"].split("?")[0]) == (
        302,
        resolve_url(settings.LOGIN_URL),
    )


def test_token_view_refuses_other_methods(ask):
    assert ask(person(1), "thing-1", method="post").status_code == 405


# --- kicks


@pytest.fixture
def kicked(monkeypatch):
    """What is kicked, as (user, channel)."""
    found = []
    live.connect_signals()
    monkeypatch.setattr(live, "_kick_now", lambda user_id, channel: found.append((user_id, channel)))
    return found


@pytest.mark.django_db(transaction=True)
def test_logout_kicks(client, user, kicked):
    client.force_login(user)
    client.logout()
    assert (user.pk, None) in kicked


@pytest.mark.django_db(transaction=True)
def test_a_changed_or_deleted_account_kicks_and_a_login_does_not(client, user, kicked):
    client.force_login(user)
    assert kicked == []
    user.is_active = False
    user.save()
    assert kicked == [(user.pk, None)]
    pk = user.pk
    get_user_model().objects.get(pk=pk).delete()
    assert kicked == [(pk, None)] * 2


@pytest.mark.django_db(transaction=True)
def test_a_kick_is_queued_for_the_other_processes():
    live.kick(4, "thing-1")
    item = events.queue.get(0)
    assert item.is_kick
    assert (item.data["user"], item.data["channel"]) == (4, "thing-1")
