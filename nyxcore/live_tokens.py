"""The signed, expiring tokens of event streams: made where access was checked, read where no database is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core import signing

from nyxcore.events import KICKS_KEPT

SALT = "nyxcore.live"
TOKEN_AGE = 600.0  # s; setting NYXCORE_LIVE_TOKEN_AGE
MAX_CHANNELS = 20
CLOCKS_APART = 60.0  # s that the clocks of two web processes may differ


class FromTheFuture(signing.BadSignature):
    """A token of ours, made by a process whose clock is far ahead: it would outlive the memory of kicks."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a token says: who may listen to what, from when and until when (seconds of the epoch)."""

    user_id: int
    channels: tuple[str, ...]
    issued_at: float
    expires_at: float


def token_age() -> float:
    """Seconds a token is good for: never longer than a kick is remembered."""
    return min(float(getattr(settings, "NYXCORE_LIVE_TOKEN_AGE", TOKEN_AGE)), KICKS_KEPT)


def make_token(user_id: int, channels: Iterable[str], *, issued_at: float | None = None) -> str:
    """Return a token for `channels`. The caller has checked that this user may read them.

    Give as `issued_at` the time before that check, so that an access taken away in between voids the token.
    """
    now = time.time() if issued_at is None else issued_at
    return signing.dumps({"u": user_id, "c": list(channels), "t": now, "x": now + token_age()}, salt=SALT)


def read_token(token: str) -> Claim:
    """Return what `token` says; SignatureExpired or BadSignature if it is too old or not ours.

    By our clock it was made now at the latest, so that whatever ends streams from now on ends this one too.
    """
    said, now = signing.loads(token, salt=SALT, max_age=KICKS_KEPT), time.time()
    if said["x"] <= now:
        raise signing.SignatureExpired("This token has expired.")
    if said["t"] > now + CLOCKS_APART:
        raise FromTheFuture("This token is from the future: the clocks of the web servers differ.")
    return Claim(said["u"], tuple(said["c"]), min(said["t"], now), said["x"])
