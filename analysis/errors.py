"""What goes wrong while a source is read, in sentences for people."""

from __future__ import annotations


class SourceError(Exception):
    """A source that cannot be read. `message` says what happened, where, and how to mend it.

    `code` is a short word for tests and counts; `retryable` says whether the same again may work.
    """

    def __init__(self, message: str, code: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.retryable = retryable
