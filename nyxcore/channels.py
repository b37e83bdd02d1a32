"""Who may listen to which channel: whoever may see the row that it belongs to.

A channel is named `<prefix>-<pk>`. Each app registers its prefixes with the manager that its views use, so a
page and its stream can never disagree about access.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

_NAME = re.compile(r"([a-z]{1,30})-([1-9][0-9]{0,17})", re.ASCII)


class Visible(Protocol):
    """A manager or queryset that knows what a user may see."""

    def visible_to(self, user: Any, /) -> Any: ...


_sources: dict[str, Callable[[], Visible]] = {}


def register(prefix: str, source: Callable[[], Visible]) -> None:
    """Let `<prefix>-<pk>` be the channel of the rows of `source()`; called from AppConfig.ready."""
    if not _NAME.fullmatch(f"{prefix}-1"):
        raise ValueError(f"A channel prefix is lower-case letters, not {prefix!r}.")
    _sources[prefix] = source


def parse(channel: str) -> tuple[str, int] | None:
    """Return (prefix, pk) of a well-formed name with a registered prefix, else None."""
    match = _NAME.fullmatch(channel)
    if match is None or match[1] not in _sources:
        return None
    return match[1], int(match[2])


def readable(user: Any, channel: str) -> bool:
    """True if `user` is signed in, active, and may see the row of `channel`."""
    found = parse(channel)
    if found is None or not (user.is_authenticated and user.is_active):
        return False
    prefix, pk = found
    return bool(_sources[prefix]().visible_to(user).filter(pk=pk).exists())
