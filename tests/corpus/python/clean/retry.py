"""Calls again what has failed, a limited number of times. Only for calls that may be repeated."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def with_retries(
    call: Callable[[], Result],
    *,
    retry_on: tuple[type[Exception], ...],
    attempts: int = 4,
    first_wait: float = 0.2,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """Return what `call` returns; raise its last error once all attempts are used."""
    if attempts < 1:
        raise ValueError("attempts must be at least 1")
    for attempt in range(attempts):
        try:
            return call()
        except retry_on:
            if attempt == attempts - 1:
                raise
            sleep(first_wait * 2**attempt * random.uniform(0.5, 1.0))  # spread, nothing secret
    raise AssertionError("unreachable")
