"""Documents about a repository: first a plan of pages with their files, then one call for each page.

A page cites `path:start-end`; the citations are checked against the files and become links. A page keeps the blobs it
rests on, so it is known to be stale when one of them changes.
"""

from __future__ import annotations

import hashlib
import html as html_module
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from pydantic import BaseModel

from analysis import diagrams, mermaid
from analysis.plain import Ask, Citation, FileFacts, Overview, PagePlan, Texts
from analysis.prompting import BadAnswer, numbered, read_answer, told
from nyxcore import markdown
from nyxcore.fencing import data_rule, fence
from nyxcore.ui import printable

VERSION = "1"
MOST_PAGES = 12
MOST_FILES = 25  # of one page
MAX_TOKENS_PLAN = 6_000
MAX_TOKENS_PAGE = 16_000


@dataclass(frozen=True)
class DocumentKind:
    """A document that can be written: `aim` says what it is for, to people and to the model alike."""

    slug: str
    title: str
    aim: str
    plan: str  # which pages make it up


DOCUMENTS: dict[str, DocumentKind] = {
    one.slug: one
    for one in (
        DocumentKind(
            "architecture",
            "Architecture overview",
            "How the system is built and why it holds: parts, boundaries, data, the way of a request or a job.",
            "One page for the whole with a diagram of its parts; one for the data and where it is stored; one for each "
            "way through the system that matters (a request, a job, a message), with a sequence diagram; one for what "
            "happens when something fails. Three to seven pages.",
        ),
        DocumentKind(
            "modules",
            "Module guide",
            "What each module is for, what it offers to others, and what it relies on.",
            "One page for each module or package that has a purpose of its own, small ones together. Every page covers "
            "the files that it names. At most twelve pages.",
        ),
        DocumentKind(
            "onboarding",
            "Onboarding",
            "What a new developer has to know to make the first change safely: set up, run, find the way, test, ship.",
            "Set up and run; the ideas to know first; where to change what, by example; how to test; habits and traps. "
            "Three to five pages.",
        ),
        DocumentKind(
            "security",
            "Security notes",
            "What is protected against whom, and where: entry points, trust boundaries, checks, secrets, weak places.",
            "Entry points and what they accept; who may do what and where that is checked; secrets and settings; what "
            "is stored of people; open questions for a review. Two to five pages.",
        ),
    )
}

PLAN_SYSTEM = """\
You plan a document about a repository: {title}. {aim}
{plan}

Answer with a list of pages in reading order. Each has a short title, a purpose of one sentence (the question that the
page answers), and paths: the files that it rests on, the most telling first, at most {files}, each spelled as the map
has it, folder and name joined, without a leading `./`. A page may only speak of what its files show, so choose files
that show it. Plan no page for something that the repository does not have.

# The data
{data}"""

PLAN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["pages"],
    "properties": {
        "pages": {
            "type": "array",
            "maxItems": MOST_PAGES,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["title", "purpose", "paths"],
                "properties": {
                    "title": {"type": "string", "maxLength": 80, "x-practice": "title"},
                    "purpose": {"type": "string", "x-practice": "text"},
                    "paths": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": MOST_FILES,
                        "items": {"type": "string", "x-practice": "path"},
                    },
                },
            },
        }
    },
}

PAGE_SYSTEM = """\
You write one page of a document about a repository: {title}. {aim}

Write for a developer who will work on this code. Explain how things work and why, in plain sentences; do not retell the
code line by line, and do not praise it. Say only what the files shown prove. Where they leave a question open, say so.
- Cite the lines that a statement rests on as `path:start-end` in backquotes, with the path as the data names the file
  and the numbers that stand in front of its lines, for example `src/app.py:10-24`. Every paragraph that states
  something about the code has at least one citation. A program checks each one.
- Markdown without HTML and without images; headings from ## on; do not repeat the title of the page.
- Where a drawing tells more than words, add a Mermaid block: `flowchart` with plain nodes and arrows, or
  `sequenceDiagram` with participants and messages; at most twenty nodes, short labels, no styling.
- Between 300 and 1,200 words.

# The data
{data}"""


# --- the plan -------------------------------------------------------------------------------------------------


def ask_plan(kind: DocumentKind, overview: Overview, repo_map: str, marker: str) -> Ask:
    """The question for the pages of a document; `repo_map` lists files and symbols."""
    return Ask(
        system=PLAN_SYSTEM.format(
            title=kind.title, aim=kind.aim, plan=kind.plan, files=MOST_FILES, data=data_rule(marker)
        ),
        shared=fence(marker, "overview", told(overview)) + "\n\n" + fence(marker, "map", repo_map),
        prompt=f"Plan the document: {kind.title}.",
        schema=PLAN_SCHEMA,
        max_tokens=MAX_TOKENS_PLAN,
    )


class _Page(BaseModel):
    title: str
    purpose: str = ""
    paths: list[str]


class _Plan(BaseModel):
    pages: list[_Page]


@dataclass(frozen=True)
class Plan:
    pages: tuple[PagePlan, ...]
    unknown: tuple[str, ...]  # paths that the plan names and that were not read


def parse_plan(text: str, manifest: Mapping[str, FileFacts]) -> Plan:
    """The pages of an answer with the files that were really read; a page without any is left out.

    BadAnswer where no page is left.
    """
    unknown: dict[str, None] = {}
    pages: dict[str, PagePlan] = {}
    for page in read_answer(text, _Plan).pages:
        named = dict.fromkeys(path.strip().removeprefix("./") for path in page.paths)
        known = [path for path in named if path in manifest and manifest[path].read]
        unknown |= dict.fromkeys(path for path in named if path not in known)
        title = " ".join(page.title.split())[:80]
        if known and title and len(pages) < MOST_PAGES:
            slug = _slug(title, pages)
            pages[slug] = PagePlan(slug, title, page.purpose.strip(), tuple(known[:MOST_FILES]))
    if not pages:
        raise BadAnswer("The plan has no page that rests on a file of the repository.")
    return Plan(tuple(pages.values()), tuple(unknown))


def _slug(title: str, taken: Mapping[str, PagePlan]) -> str:
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:50] or "page"
    names = (base, *(f"{base}-{number}" for number in range(2, MOST_PAGES + 2)))
    return next(name for name in names if name not in taken)


# --- a page ---------------------------------------------------------------------------------------------------


def ask_page(
    kind: DocumentKind,
    page: PagePlan,
    texts: Texts,
    overview: Overview,
    marker: str,
    *,
    most_characters: int = 200_000,
) -> Ask:
    """The question for one page, with its files numbered. What does not fit any more is named as left out."""
    parts, room = [], most_characters
    for path in page.paths:
        text = texts.get(path, "")
        if text and len(text) <= room:
            parts.append(fence(marker, "file", f"File: {path}\n{numbered(text.rstrip())}"))
            room -= len(text)
        else:
            parts.append(fence(marker, "file", f"File: {path}\n[left out: no room]"))
    wanted = fence(marker, "page", f"Title: {page.title}\nPurpose: {page.purpose}")
    parts.append(f"{wanted}\nWrite this page.")
    return Ask(
        system=PAGE_SYSTEM.format(title=kind.title, aim=kind.aim, data=data_rule(marker)),
        shared=fence(marker, "overview", told(overview)),
        prompt="\n\n".join(parts),
        max_tokens=MAX_TOKENS_PAGE,
    )


def blobs(page: PagePlan, manifest: Mapping[str, FileFacts]) -> dict[str, str]:
    """What the page rests on, to be stored with it: path and blob."""
    return {path: manifest[path].blob for path in page.paths if path in manifest}


def stale(page_blobs: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """The files of a page that changed or are no more. Empty: the page is up to date."""
    return sorted(path for path, blob in page_blobs.items() if current.get(path) != blob)


# --- citations and drawings -----------------------------------------------------------------------------------

CITED = re.compile(r"`(?P<path>[^`\s][^`\n]*?):(?P<start>\d{1,9})(?:\s?[-–]\s?(?P<end>\d{1,9}))?`")
_BLOCK = re.compile(
    r"^(?P<mark>`{3,}+|~{3,}+)[ \t]*+(?P<word>\w*+)[^\n]*+\n(?P<body>.*?)^(?P=mark)[`~]*[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_RENDERED = re.compile(r"<code>([^<]+?):(\d{1,9})(?:\s?[-–]\s?(\d{1,9}))?</code>")


def citations(text: str, manifest: Mapping[str, FileFacts]) -> list[Citation]:
    """Every place that a page cites, once, and whether such lines exist in a file that was read."""
    found: dict[tuple[str, int, int], Citation] = {}
    for match in CITED.finditer(_BLOCK.sub("", text)):
        start, end = int(match["start"]), int(match["end"] or match["start"])
        file = manifest.get(match["path"])
        there = file is not None and file.read and 1 <= start <= end <= max(file.lines, 1)
        blob = file.blob if file is not None and there else ""
        found.setdefault((match["path"], start, end), Citation(match["path"], start, end, there, blob))
    return list(found.values())


def render(text: str, cited: Sequence[Citation], link: Callable[[Citation], str] | None = None) -> SafeString:
    """A page as HTML: untrusted Markdown, drawings where their source parses, links for citations that hold.

    Links and drawings are put in after everything foreign was made safe; `link` gives the address of a citation.
    """
    drawings: list[str] = []
    # Nobody can write this word into the text, as it is a hash of the text.
    word = "drawing" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def taken_out(match: re.Match[str]) -> str:
        drawn = drawing(match["body"], f"{word[7:13]}-{len(drawings)}") if match["word"] == "mermaid" else ""
        if not drawn:
            return match[0]
        drawings.append(drawn)
        return f"\n\n{word}{len(drawings) - 1}\n\n"

    if len(text) > markdown.RENDERED_UP_TO:
        return markdown.render(text)
    html = str(markdown.render(_BLOCK.sub(taken_out, text)))
    html = _RENDERED.sub(partial(_linked, cited=cited, link=link), html)
    for number, drawn in enumerate(drawings):
        html = html.replace(f"<p>{word}{number}</p>", drawn)
    return mark_safe(html)


def drawing(source: str, name: str) -> str:
    """A Mermaid block as a figure with its source below; "" where the source does not parse."""
    parsed = mermaid.parse(source)
    if parsed is None:
        return ""
    return (
        f'<figure class="diagram">{diagrams.draw(parsed, name)}'
        f"<details><summary>Source</summary><pre><code>{escape(printable(source))}</code></pre></details></figure>"
    )


def _linked(
    match: re.Match[str], *, cited: Sequence[Citation], link: Callable[[Citation], str] | None
) -> str:
    start, path = int(match[2]), html_module.unescape(match[1])
    place = (path, start, int(match[3] or start))
    citation = next((one for one in cited if (one.path, one.start_line, one.end_line) == place), None)
    if citation is None or not citation.found:
        return f'<span class="citation missing" title="No such lines were read">{match[0]}</span>'
    target = link(citation) if link else ""
    return f'<a class="citation" href="{escape(target)}">{match[0]}</a>' if target else match[0]
