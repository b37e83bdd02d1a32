"""One call that looks at the repository as a whole; what it says goes into every later question."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from analysis.plain import Ask, Overview
from analysis.prompting import read_answer
from nyxcore.fencing import data_rule, fence

VERSION = "1"
MAX_TOKENS = 4_000
MOST_STACK = 20
LONGEST = 4_000  # characters of each part, so that later prompts stay small
LONGEST_FILE = 20_000  # characters of each README or manifest that is shown
MOST_FILES = 12

SYSTEM = """\
You describe a repository for reviewers who will each see a small part of it. Say only what the data shows; where
something is not shown, leave it out. Write plainly and briefly. Answer with:
- summary: what the program is for, who uses it, and what goes in and out, in three to six sentences.
- stack: languages, frameworks, databases and services with their versions where they are named, the main ones first.
- layout: which folder or module does what and which calls which, as short lines; name the entry points and where
  outside data comes in.
- conventions: rules that this repository keeps to and that a reviewer must know to judge code: layers, error handling,
  transactions, naming, what is generated, which guarantees are given elsewhere (a middleware that checks access, a
  base class that locks). Only rules that the data states or shows more than once.

# The data
{data}"""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "stack", "layout", "conventions"],
    "properties": {
        "summary": {"type": "string", "x-practice": "text"},
        "stack": {"type": "array", "maxItems": MOST_STACK, "items": {"type": "string"}, "x-practice": "none"},
        "layout": {"type": "string", "x-practice": "text"},
        "conventions": {"type": "string", "x-practice": "text"},
    },
}


def ask(repo_map: str, documents: Mapping[str, str], marker: str) -> Ask:
    """The question: the map of files and symbols, and the texts of README, manifests and guides by path."""
    parts = [fence(marker, "map", repo_map)]
    for path, text in list(documents.items())[:MOST_FILES]:
        cut = "" if len(text) <= LONGEST_FILE else "\n[the rest is left out]"
        parts.append(fence(marker, "file", f"File: {path}\n{text[:LONGEST_FILE]}{cut}"))
    parts.append("Describe the repository.")
    return Ask(
        system=SYSTEM.format(data=data_rule(marker)),
        prompt="\n\n".join(parts),
        schema=SCHEMA,
        max_tokens=MAX_TOKENS,
    )


class _Answer(BaseModel):
    summary: str = Field(min_length=1)
    stack: list[str] = Field(default_factory=list)
    layout: str = ""
    conventions: str = ""


def parse(text: str) -> Overview:
    """The overview of an answer, each part cut to what later prompts can carry."""
    answer = read_answer(text, _Answer)
    return Overview(
        summary=answer.summary.strip()[:LONGEST],
        stack=tuple(part.strip()[:100] for part in answer.stack[:MOST_STACK] if part.strip()),
        layout=answer.layout.strip()[:LONGEST],
        conventions=answer.conventions.strip()[:LONGEST],
        raw=answer.model_dump(),
    )


def rounded_hash(overview: Overview) -> str:
    """A short hash for the keys of units that changes only with what the repository is made of.

    A model words every overview anew. Were its text part of the key, no answer could ever be used again; so only the
    names in the stack count, without versions, order and spelling.
    """
    names = {
        re.sub(r"[^a-z+#]", "", re.split(r"[\s(,:/@]", part.strip().lower(), maxsplit=1)[0])
        for part in overview.stack
    }
    return hashlib.sha256("\n".join(sorted(names - {""})).encode()).hexdigest()[:16]
