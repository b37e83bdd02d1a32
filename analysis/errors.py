"""What goes wrong while a source is read, in sentences for people."""

from __future__ import annotations

from nyxcore.llm.base import Stopped, StopSignal


class SourceError(Exception):
    """A source that cannot be read. `message` says what happened, where, and how to mend it.

    `code` is a short word for tests and counts; `retryable` says whether the same again may work.
    """

    def __init__(self, message: str, code: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable


def heed(stop: StopSignal | None) -> None:
    """Raise Stopped where the signal is set; for every loop whose length the source decides."""
    if stop is not None and stop.is_set():
        raise Stopped("Reading the source was stopped.", reason=stop.cause)
