"""Lines of code with their numbers, highlighted, those that matter marked."""

from __future__ import annotations

from collections.abc import Container
from functools import lru_cache

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name, get_lexer_for_filename
from pygments.util import ClassNotFound

from nyxcore.ui import printable

HIGHLIGHTED_UP_TO = 50_000  # characters


def block(text: str, language: str, path: str, first: int, marked: Container[int]) -> SafeString:
    """`text` as numbered lines; `first` is the number of its first one. Foreign text: everything is escaped."""
    lines = _lines(printable(text), language, path.rpartition("/")[2])
    rows = "".join(
        f'<span class="line{" hit" if number in marked else ""}"><i>{number}</i><code>{line or " "}</code></span>'
        for number, line in enumerate(lines, first)
    )
    label = escape(f"Lines of {printable(path)}")
    return mark_safe(f'<div class="code-lines" tabindex="0" role="group" aria-label="{label}">{rows}</div>')


def _lines(text: str, language: str, name: str) -> list[str]:
    lexer = _lexer(language, name) if len(text) <= HIGHLIGHTED_UP_TO else None
    if lexer is None:
        return str(escape(text)).split("\n")
    painted = highlight(text, lexer, HtmlFormatter(nowrap=True))
    return painted.removesuffix("\n").split("\n")


@lru_cache(maxsize=256)
def _lexer(language: str, name: str) -> Lexer | None:
    """By language, else by the file's name; None where neither is known."""
    try:
        return (
            get_lexer_by_name(language, stripnl=False)
            if language
            else get_lexer_for_filename(name, stripnl=False)
        )
    except ClassNotFound:
        return None
