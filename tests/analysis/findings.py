"""Findings and manifests for tests, made of text as the program makes them."""

from __future__ import annotations

import hashlib

from analysis.fingerprint import checked
from analysis.locate import FileIndex, locate
from analysis.plain import CheckedFinding, FileFacts, RawFinding, Symbol
from analysis.track import Known


def blob_of(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def manifest_of(texts: dict[str, str], **changes) -> dict[str, FileFacts]:
    return {
        path: FileFacts(path, blob_of(text), len(text), "python", "utf-8", text.count("\n") + 1, **changes)
        for path, text in texts.items()
    }


def functions(text: str) -> list[Symbol]:
    """The top-level functions of Python text, without a parser."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines, 1) if line.startswith("def ")]
    ends = [*(start - 1 for start in starts[1:]), len(lines)]
    return [
        Symbol(lines[start - 1][4:].split("(")[0], "function", start, end)
        for start, end in zip(starts, ends, strict=False)
    ]


def finding(
    text: str,
    excerpt: str,
    *,
    rule: str = "correctness/off-by-one",
    path: str = "a.py",
    hint: int = 0,
    analyzer: str = "correctness",
    **raw,
) -> CheckedFinding:
    index = FileIndex(text)
    place = locate(index, excerpt, hint)
    assert place, place
    claim = RawFinding(
        rule,
        raw.pop("title", "Title"),
        raw.pop("message", "Text"),
        raw.pop("severity", "high"),
        path,
        excerpt,
        **raw,
    )
    return checked(claim, analyzer, place, index, functions(text))


def known(one: CheckedFinding, key: int = 1, **changes) -> Known:
    """What a run leaves behind of a finding."""
    return Known(
        **{
            "key": key,
            "fingerprint": one.fingerprint,
            "rule_id": one.raw.rule_id,
            "analyzer": one.analyzer,
            "path": one.raw.path,
            "symbol": one.symbol,
            "excerpt": one.raw.excerpt,
            "start_line": one.place.start_line,
            **changes,
        }
    )
