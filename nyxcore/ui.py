"""How values look on pages: status badges, icons, durations, money, token counts, times.

Plain functions, so that long lists can build their lines without a template for each row; the template tags in
templatetags/nyx.py are thin covers over them.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any

from django.utils import timezone
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from lucide.templatetags.lucide import lucide

from nyxcore.states import NEXT_ACTION, Reason, Status

# Each status has a shape of its own, so that it reads without colour.
STATUS_ICONS: dict[str, str] = {
    Status.PENDING: "circle-dashed",
    Status.RUNNING: "loader-circle",
    Status.SCANNING: "radar",
    Status.ANALYZING: "microscope",
    Status.GENERATING: "pen-line",
    Status.WAITING: "hand",
    Status.PAUSED: "circle-pause",
    Status.CUT_OFF: "scissors",
    Status.COMPLETED: "circle-check",
    Status.FAILED: "octagon-x",
    Status.CANCELLED: "ban",
    Status.SKIPPED: "skip-forward",
}
ICONS = (
    "arrow-down-to-line",
    "bell",
    "check",
    "chevron-right",
    "chevrons-down-up",
    "chevrons-up-down",
    "copy",
    "external-link",
    "file-text",
    "hand",
    "hourglass",
    "undo-2",
    "info",
    "keyboard",
    "link",
    "monitor",
    "moon",
    "pause",
    "pencil",
    "play",
    "plus",
    "rotate-ccw",
    "scissors",
    "search",
    "send",
    "skip-forward",
    "sliders-horizontal",
    "square",
    "sun",
    "triangle-alert",
    "user",
    "workflow",
    "x",
)
# Control characters, and the marks that turn the direction of the text after them.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]")


def printable(text: str) -> str:
    """`text` with whatever could garble the lines around it shown as a replacement mark."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


# --- icons ----------------------------------------------------------------------------------------------------
@cache
def sprite() -> SafeString:
    """Every icon of the pages once, as symbols; a use of one then costs some 60 bytes."""
    symbols = [_symbol(f"s-{status}", name) for status, name in STATUS_ICONS.items()]
    symbols += [_symbol(f"i-{name}", name) for name in ICONS]
    return mark_safe(f'<svg class="sprite" aria-hidden="true">{"".join(symbols)}</svg>')


def _symbol(symbol_id: str, name: str) -> str:
    drawn = re.sub(r">\s+<", "><", lucide(name, size=None))
    drawn = re.sub(r' (?:width|height)="24"', "", drawn, count=2)
    return drawn.replace("<svg", f'<symbol id="{symbol_id}"', 1).replace("</svg>", "</symbol>")


def icon(name: str, css: str = "") -> SafeString:
    """One icon of the sprite. It says nothing to a screen reader: the words beside it do."""
    if name not in ICONS:
        raise ValueError(f"{name!r} is not in the sprite; add it to ICONS.")
    return mark_safe(
        f'<svg class="icon{" " + css if css else ""}" aria-hidden="true"><use href="#i-{name}"/></svg>'
    )


# --- status ---------------------------------------------------------------------------------------------------
@cache
def status_word(status: str) -> str:
    return str(Status(status).label)


def cause(reason: str) -> str:
    """The sentence for a reason, "" without one."""
    return str(Reason(reason).label) if reason in Reason.values else reason


# Of rows that go on, or wait for a decision.
AT_WORK = ("", Reason.HANDOVER, Reason.WAITING, Reason.ANALYSIS, Reason.CONFIRM, Reason.SPLIT)

STOPPED = (
    Reason.BUDGET,
    Reason.BILLING,
    Reason.AUTH,
    Reason.WAITING,
    Reason.USER,
)  # what a pause says of itself


def helps(status: str, reason: str) -> str:
    """What somebody can do about a row that stands still, in one sentence that fits its status."""
    cut = reason.startswith("cut_off:")
    if status == Status.CANCELLED:
        return NEXT_ACTION[Reason.USER]
    if status == Status.CUT_OFF and not cut:
        return NEXT_ACTION[Reason.CUT_MAX_TOKENS]
    if status == Status.PAUSED and not (cut or reason in STOPPED):
        return "Open it and resume."
    if status == Status.FAILED and reason in AT_WORK:
        return "Retry, or resume the run."  # what would help while it was still at work does not now
    return NEXT_ACTION.get(reason, "")


@cache
def status_icon(status: str) -> str:
    return f'<svg class="icon" aria-hidden="true"><use href="#s-{Status(status).value}"/></svg>'


@lru_cache(maxsize=128)
def status_badge(status: str, word: str = "") -> SafeString:
    """The badge of a status; `word` stands in for the usual one where more is known ("Queued")."""
    value = Status(status).value
    shown = escape(word or status_word(value))
    return mark_safe(f'<span class="status" data-status="{value}">{status_icon(value)}{shown}</span>')


# --- numbers --------------------------------------------------------------------------------------------------
def duration(seconds: float | None) -> str:
    """04:31, 1:04:31, 2 d 03:10; "" for none."""
    if seconds is None:
        return ""
    whole = max(0, int(seconds))
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    if days:
        return f"{days} d {hours:02}:{minutes:02}"
    if hours:
        return f"{hours}:{minutes:02}:{secs:02}"
    return f"{minutes:02}:{secs:02}"


def money(amount: Decimal | float | None) -> str:
    """$12.40; below a cent two significant digits; "" where the price is unknown."""
    if amount is None:
        return ""
    value = Decimal(amount)
    if value == 0 or abs(value) >= Decimal("0.01"):
        return f"${value:,.2f}"
    digits = 1 - value.adjusted()
    return f"${value:.{digits}f}"


def number(count: int | None) -> str:
    """18,204; "" for none."""
    return "" if count is None else f"{count:,}"


def short(count: int | None) -> str:
    """940, 3.1k, 18.2k, 1.4M; "" for none."""
    if count is None:
        return ""
    if count < 1000:
        return str(count)
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        scaled = count / size
        if scaled < 999.95:
            return f"{scaled:.1f}{unit}" if scaled < 99.95 else f"{scaled:.0f}{unit}"
    return f"{count:,}"


def size(count: int) -> str:
    """Bytes in the unit people read: 840 bytes, 12 KB, 1.0 MB."""
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} KB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.1f} GB"


# --- times ----------------------------------------------------------------------------------------------------
def relative(at: datetime, now: datetime | None = None) -> str:
    """just now, 4 min ago, in 20 s, 3 h ago, 2 d ago, 12 Nov 2026."""
    gone = ((now or timezone.now()) - at).total_seconds()
    past, span = gone >= 0, abs(gone)
    if span < 5 or (past and span < 45):
        return "just now" if past else "now"
    if span < 60:
        words = f"{span:.0f} s"
    elif span < 3600:
        words = f"{span // 60:.0f} min"
    elif span < 86_400:
        words = f"{span // 3600:.0f} h"
    elif span < 7 * 86_400:
        words = f"{span // 86_400:.0f} d"
    else:
        return f"{at:%-d %b %Y}"
    return f"{words} ago" if past else f"in {words}"


def exact(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def when(at: datetime | None, style: str = "relative") -> SafeString:
    """A <time>: relative (or "clock", hh:mm) with the exact moment on hover; the page shows it in the reader's zone."""
    if at is None:
        return SafeString("")
    shown = f"{at.astimezone(UTC):%H:%M} UTC" if style == "clock" else relative(at)
    iso = at.astimezone(UTC).isoformat(timespec="seconds")
    return mark_safe(f'<time datetime="{iso}" data-when="{style}" title="{exact(at)}">{shown}</time>')


def elapsed(start: datetime | None, end: datetime | None, now: datetime | None = None) -> SafeString:
    """The time between two moments; without an end it goes on counting on the page."""
    if start is None:
        return SafeString("")
    shown = duration(((end or now or timezone.now()) - start).total_seconds())
    if end:
        return SafeString(shown)
    iso = start.astimezone(UTC).isoformat(timespec="milliseconds")
    return mark_safe(f'<span data-since="{iso}">{shown}</span>')


def seconds_between(start: Any, end: Any) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())
