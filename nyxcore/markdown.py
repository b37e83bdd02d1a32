"""Text of a language model as HTML. It is untrusted: nothing in it may load, run or submit anything.

markdown-it-py with HTML off escapes whatever the text brings; nh3 with lists of our own then removes what is not on
them, images included (an image's address can carry secrets out). Highlighted code keeps the class names of Pygments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
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
CODE_AND_SEAMS = {"span": CODE_CLASSES["span"] | {"seam-mark"}}
_ABSOLUTE = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)


def render(text: str) -> SafeString:
    """`text` as HTML that is safe to show."""
    if len(text) > RENDERED_UP_TO:
        return mark_safe(f"<pre>{escape(printable(text))}</pre>")
    return mark_safe(_render(text))


@lru_cache(maxsize=32)
def _render(text: str, seams: bool = False) -> str:
    return nh3.clean(
        _to_html(printable(text), seams),
        tags=TEXT_TAGS | LIST_TAGS | TABLE_TAGS,
        attributes=ATTRIBUTES,
        allowed_classes=CODE_AND_SEAMS if seams else CODE_CLASSES,
        attribute_filter=_filter,
        url_schemes=set(SCHEMES),
        link_rel="nofollow noopener noreferrer",
        strip_comments=True,
    )


def _to_html(text: str, seams: bool) -> str:
    parser, env = _parser(seams), {}  # type: tuple[MarkdownIt, dict[str, Any]]
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


@lru_cache(maxsize=2)
def _parser(seams: bool) -> MarkdownIt:
    paint = _highlight_with_seams if seams else highlight
    parser = MarkdownIt("commonmark", {"html": False, "highlight": paint, "maxNesting": 40})
    parser.enable(["table", "strikethrough"])
    for name in ("th_open", "td_open"):
        parser.add_render_rule(name, _cell)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", _table_close)
    parser.add_render_rule("image", _image)
    if seams:
        parser.add_render_rule("text", _text_with_seams)
        parser.add_render_rule("code_inline", _code_with_seams)
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


# --- seams of a text that was written in several parts --------------------------------------------------------
_FIRST_SEAM = 0xE000  # private use: the mark of part n is the character n above it
_SEAM = re.compile("[\ue002-\ue020]")
_MARK = re.compile('<span class="seam-mark">[^<]*</span>')


def render_joined(parts: Sequence[str]) -> SafeString:
    """The parts of one text as HTML, with a mark where each later one begins.

    A seam may lie within a word, a table or a block of code, so the whole is rendered, not the parts. A mark stands
    at the nearest place where it changes nothing else of the result; where there is none it is left out.
    """
    text = "".join(parts)
    plain = render(text)
    if len(text) > RENDERED_UP_TO or len(parts) > 30 or _SEAM.search(text):
        return plain
    shown = plain
    seams = list(enumerate(accumulate(map(len, parts[:-1])), 2))
    for number, seam in reversed(seams):  # so that the places of those before stay right
        for place in _places(text, seam):
            marked = f"{text[:place]}{chr(_FIRST_SEAM + number)}{text[place:]}"
            html = _render(marked, True)
            if not _SEAM.search(html) and _MARK.sub("", html) == plain:
                text, shown = marked, mark_safe(html)
                break
    return shown


def _places(text: str, seam: int) -> Iterator[int]:
    """The seam, the ends of its word, of the text before it, of its line, and of the next line that says anything."""
    yield seam
    yield seam + len(re.match(r"\w*", text[seam : seam + 100])[0])  # type: ignore[index]
    yield len(text[:seam].rstrip())
    for line in list(re.finditer(r"\S[^\n]*", text[seam : seam + 2_000]))[:2]:
        yield seam + line.start() + len(line[0].rstrip())


def _mark(seam: str) -> str:
    return f'<span class="seam-mark">part {ord(seam) - _FIRST_SEAM}</span>'


def _marked(html: str) -> str:
    return _SEAM.sub(lambda seam: _mark(seam[0]), html)


def _text_with_seams(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return _marked(str(self.text(tokens, index, options, env)))


def _code_with_seams(self: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    return _marked(str(self.code_inline(tokens, index, options, env)))


def _highlight_with_seams(code: str, language: str, attributes: str) -> str:
    """A mark goes to the end of a line: within it, the line would be highlighted in another way."""
    seams = [(code.count("\n", 0, max(seam.start() - 1, 0)), seam[0]) for seam in _SEAM.finditer(code)]
    lines = highlight(_SEAM.sub("", code), language, attributes).split("\n")
    for line, seam in seams:
        lines[line] += _mark(seam)
    return "\n".join(lines)


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
