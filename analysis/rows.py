"""Between rows and the plain data that the parts of an analysis take and give."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, TypeVar

from django.db import connection

from analysis.models import AnalysisRun, Finding, SourceFile
from analysis.plain import (
    CheckedFinding,
    Chunk,
    Estimate,
    FileFacts,
    Located,
    Options,
    Overview,
    PagePlan,
    Piece,
    Place,
    RawFinding,
    Symbol,
)

T = TypeVar("T")
CONTEXT = 6  # lines shown around a finding
TITLE = 300


def digest(*parts: Any) -> str:
    """64 hex digits that stand for these values, whatever their types."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _made(shape: type[T], data: Mapping[str, Any]) -> T:
    """A dataclass of JSON: lists as tuples, unknown names left out (rows of another version)."""
    names = {field.name for field in fields(shape)}  # type: ignore[arg-type]
    values = {name: value for name, value in data.items() if name in names}
    return shape(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def as_json(value: Any) -> Any:
    """A dataclass of ours as JSON."""
    return json.loads(json.dumps(asdict(value)))


# --- the run ---


def options_of(run: AnalysisRun) -> Options:
    return _made(Options, run.options)


def overview_of(run: AnalysisRun) -> Overview:
    return _made(Overview, run.overview)


def estimate_of(run: AnalysisRun) -> Estimate | None:
    """What the run will take; None before its source is read."""
    return _made(Estimate, run.estimate) if run.estimate else None


# --- files ---


def file_row(run: AnalysisRun, facts: FileFacts, text: str | None) -> SourceFile:
    """An unsaved line of the manifest."""
    values = {field.name: getattr(facts, field.name) for field in fields(facts)}
    values["symbols"] = [[s.name, s.kind, s.start_line, s.end_line, s.parent] for s in facts.symbols]
    values["imports"] = list(facts.imports)
    return SourceFile(run=run, **values, content=text)


def facts_of_file(row: SourceFile) -> FileFacts:
    values = {field.name: getattr(row, field.name) for field in fields(FileFacts)}
    values["symbols"] = tuple(Symbol(*symbol) for symbol in row.symbols)
    values["imports"] = tuple(row.imports)
    return FileFacts(**values)


def manifest(run: AnalysisRun) -> list[FileFacts]:
    """Every line of the manifest, without contents."""
    return [
        facts_of_file(row) for row in SourceFile.objects.filter(run=run).defer("content").order_by("path")
    ]


def read_files(run: AnalysisRun, paths: Iterable[str] | None = None) -> dict[str, tuple[FileFacts, str]]:
    """Path: (facts, text) of the files that were read; only of `paths`, if given."""
    rows = SourceFile.objects.filter(run=run, read=True, content__isnull=False)
    if paths is not None:
        rows = rows.filter(path__in=list(paths))
    return {row.path: (facts_of_file(row), row.content or "") for row in rows}


def texts_of(run: AnalysisRun, paths: Iterable[str]) -> dict[str, str]:
    """Path: text of the files that were read, of `paths`. Each chunk asks this, so it is plain SQL."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT path, content FROM analysis_sourcefile
                WHERE run_id = %s AND path = ANY(%s) AND read AND content IS NOT NULL""",
            [run.pk, list(paths)],
        )
        return dict(cursor.fetchall())


# --- units ---


def chunk_json(chunk: Chunk) -> dict[str, Any]:
    return {
        "pieces": [[p.path, p.blob, p.start_line, p.end_line, p.header] for p in chunk.pieces],
        "tokens": chunk.tokens,
    }


def chunk_of(data: Mapping[str, Any]) -> Chunk:
    return Chunk(tuple(Piece(*piece) for piece in data["pieces"]), data["tokens"])


def plan_of(data: Mapping[str, Any]) -> PagePlan:
    return _made(PagePlan, data)


# --- findings ---


def finding_row(
    run: AnalysisRun, unit_pk: int, checked: CheckedFinding, file: FileFacts | None, text: str | None
) -> Finding:
    """An unsaved finding, with the lines around it."""
    raw, place = checked.raw, checked.place
    context, first = _context(text, place)
    return Finding(
        run=run,
        unit_id=unit_pk,
        analyzer=checked.analyzer,
        rule_id=raw.rule_id[:100],
        title=raw.title[:TITLE],
        message=raw.message,
        severity=raw.severity,
        level=raw.level,
        confidence=raw.confidence,
        suggestion=raw.suggestion,
        path=raw.path,
        blob=file.blob if file else "",
        language=file.language if file else "",
        start_line=place.start_line,
        end_line=place.end_line,
        match=place.match,
        score=place.score,
        excerpt=raw.excerpt,
        context=context,
        context_line=first,
        symbol=checked.symbol,
        fingerprint=checked.fingerprint,
        evidence=[[one.path, one.excerpt, one.start_line] for one in raw.evidence],
        locations=[list(one) for one in checked.locations],
    )


def _context(text: str | None, place: Located) -> tuple[str, int]:
    if text is None:
        return "", place.start_line
    first = max(1, place.start_line - CONTEXT)
    return "\n".join(text.split("\n")[first - 1 : place.end_line + CONTEXT]), first


def checked_of(row: Finding) -> CheckedFinding:
    """A stored finding as the plain one that it was made of."""
    raw = RawFinding(
        rule_id=row.rule_id,
        title=row.title,
        message=row.message,
        severity=row.severity,  # type: ignore[arg-type]
        path=row.path,
        excerpt=row.excerpt,
        start_line=row.start_line,
        level=row.level,  # type: ignore[arg-type]
        confidence=row.confidence,
        suggestion=row.suggestion,
        evidence=tuple(Place(*one) for one in row.evidence),
    )
    place = Located(row.start_line, row.end_line, row.match, score=row.score)  # type: ignore[arg-type]
    locations = tuple((path, start, end) for path, start, end in row.locations)
    return CheckedFinding(raw, row.analyzer, place, row.symbol, row.fingerprint, locations)
