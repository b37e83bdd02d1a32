"""From a vendor's error to our decision: reason, whether to try again, and a sentence for people.

Decisions look at status, type and code, never at the message: its wording may change any day.
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

LONGEST_WAIT = 86_400.0  # a Retry-After beyond a day is taken as a day
LONGEST_QUOTE = 300  # characters of the vendor's own words

# The account must be mended by a person, although some of these come as 429.
BILLING_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
BILLING_SUFFIX = "spend_limit_reached"

BY_STATUS = {
    400: ("bad_request", False),
    401: ("auth", False),
    402: ("billing", False),
    403: ("auth", False),
    404: ("bad_request", False),
    408: ("transport", True),
    409: ("transport", True),
    413: ("bad_request", False),
    429: ("rate_limited", True),
    503: ("overloaded", True),
    529: ("overloaded", True),
}
# For errors inside a stream, whose status is 200.
BY_TYPE = {
    "api_error": ("transport", True),
    "timeout_error": ("transport", True),
    "conflict_error": ("transport", True),
    "server_error": ("transport", True),
    "rate_limit_error": ("rate_limited", True),
    "rate_limit_exceeded": ("rate_limited", True),
    "invalid_request_error": ("bad_request", False),
    "not_found_error": ("bad_request", False),
    "request_too_large": ("bad_request", False),
    "authentication_error": ("auth", False),
    "permission_error": ("auth", False),
}


@dataclass(frozen=True)
class Place:
    """Where a provider lives and which settings say so, for the sentences."""

    vendor: str
    address: str
    key_setting: str
    address_setting: str
    secret: str = ""

    def __str__(self) -> str:
        return f"{self.vendor} at {self.address}"


@dataclass(frozen=True)
class Fault:
    """An error as the vendor reports it."""

    status: int
    type: str = ""
    code: str = ""
    message: str = ""
    retry_after: float | None = None
    request_id: str = ""

    @property
    def name(self) -> str:
        """How the sentence calls it: "429 enforced_spend_limit_reached"."""
        status = str(self.status) if self.status >= 400 else ""
        return " ".join(word for word in (status, self.code or self.type) if word) or "no code"


def decide(fault: Fault) -> tuple[str, bool]:
    """Return (reason, retryable)."""
    words = {fault.type, fault.code}
    if words & BILLING_CODES or fault.code.endswith(BILLING_SUFFIX):
        return "billing", False
    if fault.type == "overloaded_error":
        return "overloaded", True
    if fault.status in BY_STATUS:
        return BY_STATUS[fault.status]
    if 400 <= fault.status < 500:
        return "bad_request", False
    if fault.status >= 500:
        return "transport", True
    for word in (fault.code, fault.type):
        if word in BY_TYPE:
            return BY_TYPE[word]
    return "transport", True


def sentence(fault: Fault, reason: str, place: Place, model: str) -> str:
    """What happened, where, and what to do. The vendor's words follow where they can help."""
    quote = redact(fault.message, place.secret)
    said = f' It said: "{quote}"' if quote else ""
    match reason, fault.status:
        case "auth", 403:
            return (
                f"{place} does not allow this ({fault.name}). Check what the key in {place.key_setting} "
                f"may use, above all the model {model!r}.{said}"
            )
        case "auth", _:
            # No quote: vendors like to repeat parts of the key here.
            return f"{place} did not accept the key ({fault.name}). Check {place.key_setting}, then retry."
        case "billing", _:
            return (
                f"The account behind {place.key_setting} has no credit left or has reached a spending limit "
                f"({fault.name}). Settle it with {place.vendor}; trying again does not help.{said}"
            )
        case "rate_limited", _:
            wait = f" It asks to wait {fault.retry_after:.0f} s." if fault.retry_after else ""
            return f"{place} limits how fast we may ask ({fault.name}).{wait}{said}"
        case "overloaded", _:
            return f"{place} is overloaded ({fault.name}). It usually passes within minutes.{said}"
        case "bad_request", 404:
            return (
                f"{place} does not know the model {model!r} or this address ({fault.name}). Check the "
                f"model's name in the step or NYXCORE_DEFAULT_MODEL, and {place.address_setting}.{said}"
            )
        case "bad_request", 413:
            return f"The prompt is too large for {place} ({fault.name}). Shorten the input.{said}"
        case "bad_request", _:
            return (
                f"{place} rejected the request ({fault.name}). Change the prompt, the model or max_tokens; "
                f"trying again as it is does not help.{said}"
            )
    return f"{place} reported a fault of its own ({fault.name}). Trying again usually helps.{said}"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds the vendor asks to wait, at most a day; None when it does not say.

    A date is measured against the vendor's own clock, so a wrong clock here does not matter.
    """
    wait = _number(headers.get("retry-after-ms"), 1000) or _number(headers.get("retry-after"))
    if wait is None and (then := _date(headers.get("retry-after"))):
        now = _date(headers.get("date")) or datetime.now(UTC)
        wait = (then - now).total_seconds()
    return None if wait is None else min(max(wait, 0.0), LONGEST_WAIT)


def _number(text: str | None, divisor: float = 1) -> float | None:
    try:
        value = float(text or "") / divisor
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _date(text: str | None) -> datetime | None:
    try:
        parsed = email.utils.parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


KEY_SHAPES = re.compile(r"\b(?:sk|pk|key)-[\w*.-]{6,}|\bBearer\s+\S+", re.IGNORECASE)


def redact(text: str, secret: str) -> str:
    """Return `text` on one line, shortened, with the key and everything shaped like one taken out."""
    if secret:
        text = text.replace(secret, "[key]")
    text = " ".join(KEY_SHAPES.sub("[key]", text).split())
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


def public_address(url: str) -> str:
    """Return `url` without user, password, query and trailing slash, fit to be shown."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
