"""Text of a language model as HTML. It is untrusted: nothing in it may load, run or submit anything.

markdown-it-py with HTML off escapes whatever the text brings; nh3 with lists of our own then removes what is not on
them, images included (an image's address can carry secrets out). Highlighted code keeps the class names of Pygments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from pygments.token import STANDARD_TYPES

from nyxcore.ui import printable

RENDERED_UP_TO = 400_000  # characters; beyond, rendering takes seconds and the text is shown as it is
HIGHLIGHTED_UP_TO = 50_000  # characters of one block of code
FIRST_HEADING = 3  # the page has the run as h1 and the step as h2

TEXT_TAGS = {
    "p",
    "br",
    "hr",
    "h3",
    "h4",
    "h5",
    "h6",
    "strong",
    "em",
    "s",
    "code",
    "pre",
    "blockquote",
    "a",
    "span",
}
LIST_TAGS = {"ul", "ol", "li"}
TABLE_TAGS = {"figure", "table", "thead", "tbody", "tr", "th", "td"}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "th": {"align"}, "td": {"align"}}
SCHEMES = frozenset({"http", "https", "mailto"})
CODE_CLASSES = {"span": {name for name in STANDARD_TYPES.values() if name}}
_ABSOLUTE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def render(text: str) -> SafeString:
    """`text` as HTML that is safe to show."""
    if len(text) > RENDERED_UP_TO:
        return mark_safe(f"<pre>{escape(printable(text))}</pre>")
    return mark_safe(_render(text))


@lru_cache(maxsize=32)
def _render(text: str) -> str:
    return nh3.clean(
        _to_html(printable(text)),
        tags=TEXT_TAGS | LIST_TAGS | TABLE_TAGS,
        attributes=ATTRIBUTES,
        allowed_classes=CODE_CLASSES,
        attribute_filter=_filter,
        url_schemes=set(SCHEMES),
        link_rel="nofollow noopener noreferrer",
        strip_comments=True,
    )


def _to_html(text: str) -> str:
    parser, env = _parser(), {}  # type: tuple[MarkdownIt, dict[str, Any]]
    tokens = parser.parse(text, env)
    _fit_headings(tokens)
    return str(parser.renderer.render(tokens, parser.options, env))


def _fit_headings(tokens: Sequence[Token]) -> None:
    """Give the headings levels below the step's own, without gaps, whatever level the text begins with."""
    opening = [token for token in tokens if token.type == "heading_open"]
    top = min((int(token.tag[1]) for token in opening), default=1)
    last = FIRST_HEADING - 1
    for token in tokens:
        if token.type == "heading_open":
            last = min(int(token.tag[1]) - top + FIRST_HEADING, last + 1, 6)
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{last}"


def _filter(tag: str, attribute: str, value: str) -> str | None:
    """Keeps links that leave the site: one to an address of ours would lend the model's words our authority."""
    if attribute == "href" and not _ABSOLUTE.match(value):
        return None
    return value


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "highlight": highlight, "maxNesting": 40})
    parser.enable(["table", "strikethrough"])
    for name in ("th_open", "td_open"):
        parser.add_render_rule(name, _cell)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("image", _image)
    return parser


def highlight(code: str, language: str, _attributes: str) -> str:
    """A block of code with spans of Pygments classes; plain where the language is unknown or the block is huge."""
    from pygments import highlight as paint
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    shown = str(escape(code))
    if language and len(code) <= HIGHLIGHTED_UP_TO:
        try:
            lexer = get_lexer_by_name(language.strip(), stripnl=False)
        except ClassNotFound:
            return f"<pre><code>{shown}</code></pre>"
        shown = paint(code, lexer, HtmlFormatter(nowrap=True))
    return f"<pre><code>{shown}</code></pre>"


# --- rules where our HTML differs from the parser's own -------------------------------------------------------
def _cell(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """The parser aligns by a style attribute, which our content security policy refuses."""
    token = tokens[index]
    side = str(token.attrGet("style") or "").removeprefix("text-align:")
    return f'<{token.tag} align="{side}">' if side in ("left", "center", "right") else f"<{token.tag}>"


def _table_open(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return "<figure><table>\n"


def _table_close(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return "</table></figure>\n"


def _image(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    """The words that stand for the picture, and where it would have come from, as text."""
    token = tokens[index]
    words = escape(token.content or "image")
    return f"[{words}: {escape(str(token.attrGet('src') or ''))}]"
