"""What commands of every app have alike: bad input, owners, amounts, and the waiting for a run.

Whatever is wrong with what a person gave ends with exit code 2.
"""

from __future__ import annotations

import difflib
import os
import signal
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from types import FrameType
from typing import Any, TypeVar

from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import InterfaceError, OperationalError, connection

from nyxcore import ui

BAD_INPUT = 2
INTERRUPTED, TIMED_OUT = 130, 124
ADMIN = "admin"
LOOK_EVERY = 0.25  # s
PATIENCE = 120.0  # s that PostgreSQL may be away
T = TypeVar("T")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was probably meant to be, or ""."""
    by_fold = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a second sentence for an unknown word: the nearest known one, or all if they are few."""
    names = sorted(known)
    close = nearest(word, names)
    if close:
        return f" Did you mean {close}?"
    if 0 < len(names) <= 8:
        return f" Known: {', '.join(names)}."
    return ""


# --- what a person gives ---


class BadInput(CommandError):
    """What the person gave cannot be used; the message says what and why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, returncode=BAD_INPUT)


def find_owner(name: str) -> Any:
    """The user of that name; without one `admin`, else the first superuser, made if there is no user at all."""
    users = get_user_model().objects
    if name:
        found = users.filter(username=name).first()
        if found is None:
            known = users.order_by("pk").values_list("username", flat=True)[:1000]
            raise BadInput(f"There is no user {name}.{did_you_mean(name, known)}")
        return found
    if not users.exists():
        call_command("bootstrap", stdout=sys.stderr)
    admins = users.filter(is_superuser=True, is_active=True).order_by("pk")
    found = admins.filter(username=ADMIN).first() or admins.first()
    if found is None:
        raise BadInput("There is no superuser; name the owner of the run with --owner.")
    return found


def money(word: str) -> Decimal:
    """A positive amount of US dollars, for argparse."""
    try:
        amount = Decimal(word)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or not 0 < amount < 10**8 or amount != round(amount, 4):
        raise ArgumentTypeError(f"an amount above 0 with at most four decimals, not {word!r}")
    return amount


def seconds(word: str) -> float:
    """A positive number of seconds, for argparse."""
    try:
        amount = float(word)
    except ValueError:
        amount = 0.0
    if not 0 < amount < 10**9:
        raise ArgumentTypeError(f"a number of seconds above 0, not {word!r}")
    return amount


# --- waiting ---


class GaveUp(BaseException):
    """The waiting ends before the run does."""

    def __init__(self, why: str, code: int) -> None:
        self.why, self.code = why, code


@contextmanager
def told_to_end() -> Iterator[None]:
    """SIGTERM, and a terminal that is closed, end the waiting as Ctrl-C does."""

    def end(number: int, frame: FrameType | None) -> None:
        raise GaveUp("Told to end", 128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def with_patience(action: Callable[[], T]) -> T:
    """Do `action`; while PostgreSQL is away, as when `up` starts it again, wait for it."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError):
            connection.close()
            if time.monotonic() > until:
                raise
            time.sleep(1)


# --- telling ---


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Teller:
    """Writes lines to a stream. A reader that goes away does not stop the run."""

    def __init__(self, stream: Any) -> None:
        self.stream = getattr(stream, "_out", stream)  # Django's wrapper adds colours and line ends

    def say(self, line: str) -> None:
        try:
            self.stream.write(f"{flat(line)}\n")
            self.stream.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


def flat(text: str) -> str:
    """`text` as one line that cannot garble the terminal."""
    return ui.printable(text).replace("\n", " ")
