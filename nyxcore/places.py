"""How many calls this process makes to the provider at once: NYXCORE_PROVIDER_PARALLEL at most, fewer after a 429.

As in networks: a refusal halves the number, each answer raises it a little, back to where it was. After a refusal
nobody asks at all for as long as the provider wants to be left alone; what waits meanwhile holds no thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from nyxcore.llm.base import LLMError, Stopped, StopSignal
from nyxcore.states import Reason

log = logging.getLogger(__name__)
PAUSE = 1.0  # s after a 429 that names no time
LONGEST_PAUSE = 300.0  # s; then one call finds out whether it still holds


class Places:
    """The places of one process. Times are of time.monotonic()."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._changed = threading.Condition()
        self._taken = 0
        self.reset()

    def reset(self) -> None:
        """Forget every refusal."""
        self.limit = float(self.most)
        self._lowered_at = self._paused_until = 0.0

    @property
    def paused(self) -> bool:
        """Whether the provider wants to be left alone now."""
        return time.monotonic() < self._paused_until

    @property
    def enough(self) -> bool:
        """Whether who has a place may make one more call with it: no more are taken than there are now."""
        return self._taken <= int(self.limit) and not self.paused

    def take(self, timeout: float = 0.0) -> bool:
        """Whether there was a place within `timeout` seconds; whoever got it gives it back."""
        with self._changed:
            taken = self._changed.wait_for(lambda: self._taken < int(self.limit) and not self.paused, timeout)
            self._taken += taken
            return taken

    def give_back(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify()

    def answered(self) -> None:
        """As many answers as there are places make one place more."""
        if self.limit < self.most:
            with self._changed:
                self.limit = min(self.most, self.limit + 1 / self.limit)
                self._changed.notify()

    def refused(self, error: LLMError, began: float) -> None:
        """A call that began then was refused for too many calls. Those that were under way together count once."""
        limited = error.reason == Reason.RATE_LIMITED
        if not limited and error.reason != Reason.OVERLOADED:
            return
        with self._changed:
            if began >= self._lowered_at:
                self.limit, self._lowered_at = float(max(1, int(self.limit) // 2)), time.monotonic()
            pause = min(error.retry_after or (PAUSE if limited else 0.0), LONGEST_PAUSE)
            self._paused_until = max(self._paused_until, time.monotonic() + pause)
        log.warning("%s: %d calls at once from here, none for %.0f s", error.reason, self.limit, pause)


PLACES = Places(settings.NYXCORE_PROVIDER_PARALLEL)


@contextmanager
def place(stop: StopSignal) -> Iterator[None]:
    """One of the places for the time of the block; a stop ends the wait for it, too."""
    while not PLACES.take(timeout=0.5):
        if stop.is_set():
            raise Stopped("The step was stopped before its call began.", reason=stop.cause)
    try:
        yield
    finally:
        PLACES.give_back()


@contextmanager
def place_if_free() -> Iterator[bool]:
    """The same for those who have nothing in hand yet: whether there was one, without waiting."""
    taken = PLACES.take()
    try:
        yield taken
    finally:
        if taken:
            PLACES.give_back()
