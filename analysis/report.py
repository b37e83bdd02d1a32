"""The result of a run as a Markdown report and as JSON.

Findings never stand without the coverage: what was read, what was not and why, and where the run has gaps. "Nothing
found" is said only together with what was looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.analyzers.base import SEVERITIES
from analysis.plain import FileFacts
from analysis.sarif import Reported, Source
from nyxcore.words import counted, was

FORMAT = "nyxcore-analysis/1"
MOST_SKIPPED = 200  # paths that the Markdown report lists one by one; the JSON has all


@dataclass(frozen=True)
class Coverage:
    """What was looked at."""

    files: Sequence[FileFacts]
    analyzers: Sequence[str]  # labels of those that ran
    units: int = 0  # questions to a model that were to be asked
    done: int = 0
    gaps: Sequence[str] = ()  # sentences: what was not examined, and why
    notes: Sequence[str] = ()  # sentences: what was not heeded while the source was read
    rejected: int = 0  # claims whose quote was not found
    refuted: int = 0  # claims that the second look refuted

    @property
    def read(self) -> list[FileFacts]:
        return [file for file in self.files if file.read]

    @property
    def skipped(self) -> list[FileFacts]:
        return [file for file in self.files if not file.read]


@dataclass(frozen=True)
class Result:
    """A run, as its exports need it."""

    title: str
    source: Source
    coverage: Coverage
    findings: Sequence[Reported]
    models: Sequence[str] = ()
    cost: str = ""  # as people read it
    practice: bool = False
    facts: dict[str, Any] = field(default_factory=dict)


def shown(findings: Sequence[Reported]) -> list[Reported]:
    """What people see first: neither refuted nor dismissed nor gone; the most severe first."""
    kept = [one for one in findings if one.verdict != "refuted" and not one.dismissed and one.state != "gone"]
    return sorted(
        kept,
        key=lambda one: (
            SEVERITIES.index(one.finding.raw.severity),
            one.verdict != "confirmed",
            -one.finding.raw.confidence,
            one.finding.raw.path,
            one.finding.place.start_line,
        ),
    )


# --- Markdown -------------------------------------------------------------------------------------------------


def to_markdown(result: Result) -> str:
    """The report for people: summary, coverage, gaps, findings."""
    found = shown(result.findings)
    parts = [
        f"# {_line(result.title)}",
        *_about(result),
        "## Result",
        verdict(result),
        *_coverage(result.coverage),
    ]
    if found:
        parts.append("## Findings")
    for severity in SEVERITIES:
        of_it = [one for one in found if one.finding.raw.severity == severity]
        if of_it:
            parts.append(f"### {severity.capitalize()} ({len(of_it):,})")
            parts += [_finding(one) for one in of_it]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdict(result: Result) -> str:
    """The result in one paragraph, with what it rests on."""
    found, coverage = shown(result.findings), result.coverage
    each = Counter(one.finding.raw.severity for one in found)
    counts = ", ".join(f"{each[severity]:,} {severity}" for severity in SEVERITIES if each[severity])
    ground = (
        f"{len(coverage.read):,} of {counted(len(coverage.files), 'file')} {was(len(coverage.read))} read"
        f" ({', '.join(coverage.analyzers) or 'no analyzer ran'})"
    )
    gaps = f"; gaps: {len(coverage.gaps)}, listed below" if coverage.gaps else ""
    many = f"{counted(len(found), 'finding')}: {counts}."
    said = f"{many if found else 'Nothing was found.'} {ground}{gaps}."
    dropped = []
    if coverage.rejected:
        dropped.append(
            f"{counted(coverage.rejected, 'claim')} {was(coverage.rejected)} dropped because the quote stands nowhere"
        )
    if coverage.refuted:
        dropped.append(f"{coverage.refuted:,} {was(coverage.refuted)} refuted by the second look")
    return said + (f" {' and '.join(dropped)}." if dropped else "")


def _about(result: Result) -> list[str]:
    source = result.source
    facts = [
        ("Source", source.uri),
        ("Commit", source.commit),
        ("Branch", source.branch),
        ("Models", ", ".join(result.models)),
        ("Cost", result.cost),
    ]
    lines = "\n".join(f"- {name}: {_line(value)}" for name, value in facts if value)
    practice = "**Practice run: no language model has looked at this code.**" if result.practice else ""
    return [practice, lines]


def _coverage(coverage: Coverage) -> list[str]:
    reasons = Counter(file.reason or "no reason given" for file in coverage.skipped)
    rows = "\n".join(f"| {_line(reason)} | {number:,} |" for reason, number in reasons.most_common())
    parts = ["## Coverage", _summary(coverage), *map(_line, coverage.notes)]
    if rows:
        parts.append(f"| Not read because | Files |\n| --- | ---: |\n{rows}")
        listed = coverage.skipped[:MOST_SKIPPED]
        lines = "\n".join(
            f"- {_code(file.path)}: {_line(file.reason)}{f' ({_line(file.detail)})' if file.detail else ''}"
            for file in listed
        )
        more = len(coverage.skipped) - len(listed)
        parts.append(lines + (f"\n- and {more:,} more; the JSON export lists all of them" if more else ""))
    if coverage.gaps:
        parts += ["## Gaps", "\n".join(f"- {_line(gap)}" for gap in coverage.gaps)]
    return parts


def _summary(coverage: Coverage) -> str:
    tokens = sum(file.tokens for file in coverage.read)
    asked = f", {coverage.done:,} of {counted(coverage.units, 'question')} answered" if coverage.units else ""
    read = f"{counted(len(coverage.read), 'file')} read (about {counted(tokens, 'token')})"
    return (
        f"{read}, {len(coverage.skipped):,} not read{asked}. "
        f"Analyzers: {', '.join(coverage.analyzers) or 'none'}."
    )


def _finding(one: Reported) -> str:
    raw, place = one.finding.raw, one.finding.place
    notes = [raw.rule_id, one.verdict or "not verified", one.state, f"confidence {raw.confidence:.0%}"]
    if place.match == "approximate":
        notes.append("quote matched approximately")
    parts = [
        f"#### {_line(raw.title)}",
        f"{_code(f'{raw.path}:{place.start_line}-{place.end_line}')} · {' · '.join(filter(None, notes))}",
        _block(raw.excerpt) if raw.excerpt.strip() else "",
        _quoted(raw.message),
        f"**Suggestion**\n\n{_quoted(raw.suggestion)}" if raw.suggestion else "",
    ]
    if one.finding.locations:
        others = ", ".join(_code(f"{path}:{start}-{end}") for path, start, end in one.finding.locations)
        parts.append(f"Also at {others}.")
    return "\n\n".join(part for part in parts if part)


def _line(text: str) -> str:
    """Foreign text on one line, without the signs that would make it markup."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Inline code around text that may itself hold backquotes or line breaks."""
    text = re.sub(r"[\r\n\t]", " ", text)
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def _block(text: str) -> str:
    ticks = "`" * max(3, max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    return f"{ticks}\n{text.rstrip()}\n{ticks}"


def _quoted(text: str) -> str:
    """A model's own Markdown, kept apart from ours: headings in it cannot pose as ours."""
    return "\n".join(f"> {line}".rstrip() for line in text.strip().splitlines())


# --- JSON -----------------------------------------------------------------------------------------------------


def to_json(result: Result) -> dict[str, Any]:
    """Everything, for programs: all findings with verdict and state, the whole manifest, the gaps."""
    coverage = result.coverage
    return {
        "format": FORMAT,
        "title": result.title,
        "practice": result.practice,
        "source": asdict(result.source),
        "models": list(result.models),
        "cost": result.cost,
        "result": verdict(result),
        "coverage": {
            "read": len(coverage.read),
            "files": len(coverage.files),
            "analyzers": list(coverage.analyzers),
            "units": coverage.units,
            "done": coverage.done,
            "rejected": coverage.rejected,
            "refuted": coverage.refuted,
            "gaps": list(coverage.gaps),
            "notes": list(coverage.notes),
            "manifest": [_file(file) for file in coverage.files],
        },
        "findings": [_entry(one) for one in result.findings],
        **({"facts": result.facts} if result.facts else {}),
    }


def _file(file: FileFacts) -> dict[str, Any]:
    told = {
        "path": printable_path(file.path),
        "blob": file.blob,
        "size": file.size,
        "language": file.language,
        "lines": file.lines,
        "tokens": file.tokens,
        "read": file.read,
    }
    return told if file.read else {**told, "reason": file.reason, "detail": file.detail}


def _entry(one: Reported) -> dict[str, Any]:
    finding, raw = one.finding, one.finding.raw
    return {
        "fingerprint": finding.fingerprint,
        "rule_id": raw.rule_id,
        "analyzer": finding.analyzer,
        "title": raw.title,
        "message": raw.message,
        "severity": raw.severity,
        "level": raw.level,
        "confidence": raw.confidence,
        "path": printable_path(raw.path),
        "start_line": finding.place.start_line,
        "end_line": finding.place.end_line,
        "match": finding.place.match,
        "symbol": finding.symbol,
        "excerpt": raw.excerpt,
        "suggestion": raw.suggestion,
        "evidence": [asdict(place) for place in raw.evidence],
        "locations": [list(place) for place in finding.locations],
        "verdict": one.verdict,
        "state": one.state,
        "dismissed": one.dismissed,
    }


def printable_path(path: str) -> str:
    """A path that can stand in JSON: bytes that are no UTF-8 are spelled out."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
