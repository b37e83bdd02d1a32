"""Template tags of the whole site: thin covers over nyxcore/ui.py and nyxcore/markdown.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import template
from django.template import Context
from django.utils.safestring import SafeString

from nyxcore import active, markdown, ui, words

register = template.Library()
THEMES = ("light", "dark")

register.simple_tag(ui.icon, name="icon")
register.simple_tag(ui.sprite, name="icon_sprite")
register.simple_tag(ui.elapsed, name="elapsed")
register.simple_tag(ui.when, name="when")
register.filter("duration", ui.duration)
register.filter("money", ui.money)
register.filter("number", ui.number)
register.filter("short", ui.short)
register.filter("bytesize", ui.size)
register.filter("printable", ui.printable)


@register.filter("counted")
def counted_filter(number: int | None, nouns: str) -> str:
    """`3|counted:"file"`: 3 files; `1|counted:"analysis,analyses"`: 1 analysis."""
    noun, _, many = nouns.partition(",")
    return words.counted(number or 0, noun, many)


@register.simple_tag
def status(row: Any, word: str = "") -> SafeString:
    """The badge of a row, or of a status word. A row may name its own word (`status_word`), as a queued step does."""
    value = row if isinstance(row, str) else row.status
    return ui.status_badge(value, word or getattr(row, "status_word", ""))


@register.simple_tag
def status_icon(status: str) -> SafeString:
    """The shape of a status alone; the words beside it say the same."""
    return SafeString(ui.status_icon(status))


@register.simple_tag
def status_favicon(status: str) -> str:
    """The favicon that carries a run's state."""
    return f"icons/{status}.svg"


@register.simple_tag(takes_context=True)
def theme(context: Context) -> str:
    """The reader's choice of colours, "" for the system's. In a cookie, so that the first paint is right."""
    request = context.get("request")
    chosen = request.COOKIES.get("theme", "") if request else ""
    return chosen if chosen in THEMES else ""


@register.simple_tag(takes_context=True)
def active_count(context: Context) -> int:
    """How many runs are active that the reader may see; for the navigation."""
    request = context.get("request")
    return active.count_for(request) if request else 0


@register.filter("markdown")
def markdown_filter(text: str) -> SafeString:
    """Untrusted Markdown as safe HTML."""
    return markdown.render(text)


@register.filter
def markdown_joined(parts: Sequence[str]) -> SafeString:
    """The same of a text that was written in parts, with a mark where each later one begins."""
    return markdown.render_joined(parts)
