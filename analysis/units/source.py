"""The source is read: manifest, what needs no model, and the chunks that will be asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import connection

from analysis import chunks, plan, repomap
from analysis.analyzers import STATIC
from analysis.errors import SourceError, heed
from analysis.estimate import estimate
from analysis.fingerprint import checked
from analysis.hosts import Reach, listed
from analysis.locate import claimed
from analysis.models import AnalysisRun, Finding, SourceFile, SourceKind, Unit, UnitAttempt, UnitKind
from analysis.plain import Chunk, FileFacts, RawFinding, Texts
from analysis.plan import Spec
from analysis.rows import as_json, chunk_json, chunk_of, file_row, finding_row, options_of
from analysis.secrets import Secret
from analysis.select import Manifest, build_manifest
from analysis.source import SourceSpec, open_source
from analysis.units import overview
from analysis.units.base import Digest, Work
from analysis.units.chunk import indexes
from nyxcore.llm.base import StopSignal

MAP_TOKENS = 10_000
ROWS_AT_ONCE = 500


class SourceWork(Work):
    def do(self, run: AnalysisRun, unit: Unit, stop: StopSignal) -> Digest:
        spec = source_spec(run)
        connection.close()
        reach = Reach(listed=listed(settings.NYXCORE_GIT_HOSTS))
        with open_source(spec, stop=stop, reach=reach) as source:
            built = build_manifest(source, options_of(run), stop=stop)
        if _begun(run) and built.tree != run.tree:
            raise SourceError(
                "The source has changed since this analysis began, and its texts are not kept any more. Analyse it "
                "again: what has not changed costs nothing.",
                "changed",
            )
        hits: dict[str, list[Secret]] = {}
        for hit in built.secrets:
            hits.setdefault(hit.path, []).append(hit)
        known = STATIC.scan(built.files, built.texts, secrets=lambda path, _: hits.get(path, ()), stop=stop)
        packed, packs = pack(run, built, stop)
        result = {
            "map": repomap.repo_map(built.files, built.scores, tokens=MAP_TOKENS),
            "guide": repomap.guide(built.files, built.texts),
            "notes": [*built.notes, *known.notes],
            "chunks": [chunk_json(chunk) for chunk in packed],
            "packs": packs,
        }
        return Digest(result, (built, _findings(run, unit, [*known.findings, *_blocked(built)], built)))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        built, found = digest.rows
        begun = _begun(run)
        store_files(run, built)
        if not begun:
            Finding.objects.filter(unit=unit).delete()
            Finding.objects.bulk_create(found, batch_size=ROWS_AT_ONCE)
            plan_all(run, built.files)
        run.commit, run.tree = built.commit, built.tree
        run.coverage = {**coverage(built.files), "notes": digest.result["notes"]}
        run.estimate = as_json(expected(run, built.files, unit))
        run.save(update_fields=["commit", "tree", "coverage", "estimate"])


def _begun(run: AnalysisRun) -> bool:
    """Whether something was asked already: then the plan stays, and only the texts are read again."""
    return UnitAttempt.objects.filter(unit__run=run).exclude(kind=UnitKind.SOURCE).exists()


def source_spec(run: AnalysisRun) -> SourceSpec:
    """Where the run reads from."""
    if run.source_kind == SourceKind.GIT:
        return SourceSpec("git", url=run.location, ref=run.ref, subpath=run.sub_path)
    if run.source_kind == SourceKind.PATH:
        root = settings.NYXCORE_ANALYSIS_ROOT
        return SourceSpec("path", path=run.location, root=root, ref=run.ref, subpath=run.sub_path)
    upload = run.upload
    if upload is None:
        raise SourceError("The archive is not kept any more. Upload it again as a new analysis.", "gone")
    return SourceSpec("upload", archive=bytes(upload.data), subpath=run.sub_path)


# --- chunks and estimate ---


def pack(
    run: AnalysisRun, built: Manifest, stop: StopSignal | None = None
) -> tuple[list[Chunk], dict[str, list[int]]]:
    """All chunks, and for each analyzer which of them it looks at. Analyzers that read the same share their chunks."""
    packed: list[Chunk] = []
    by_files: dict[tuple[str, ...], list[int]] = {}
    packs: dict[str, list[int]] = {}
    for analyzer in plan.analyzers(run):
        heed(stop)
        files = analyzer.select(built.files)
        paths = tuple(file.path for file in files)
        if paths not in by_files:
            made = chunks.pack(files, built.texts, target=settings.NYXCORE_ANALYSIS_CHUNK, stop=stop)
            by_files[paths] = list(range(len(packed), len(packed) + len(made)))
            packed += made
        packs[analyzer.name] = by_files[paths]
    return packed, packs


def expected(run: AnalysisRun, files: Sequence[FileFacts], unit: Unit) -> Any:
    """What the run will take. What earlier runs have answered is counted as far as it is known by now."""
    options = options_of(run)
    asked = [chunk_of(unit.result["chunks"][at]) for ats in unit.result["packs"].values() for at in ats]
    reused = Unit.objects.filter(run=run, kind=UnitKind.CHUNK, reused=True).count()
    known = Unit.objects.filter(run=run, kind=UnitKind.OVERVIEW, reused=True).exists()
    return estimate(
        files,
        asked,
        model=plan.model_of(run, UnitKind.CHUNK),
        analyzers=1,
        verify=options.verify,
        verify_model=options.verify_model,
        documents=len(options.documents),
        reused=reused,
        overview=not known,
    )


def plan_all(run: AnalysisRun, files: Sequence[FileFacts]) -> None:
    """Insert what is known to come: overview, merge, report. The overview brings chunks and documents."""
    Unit.objects.filter(run=run).exclude(kind=UnitKind.SOURCE).delete()
    first = [overview.spec(run, files)] if any(file.read for file in files) else []
    ends = [Spec(kind, kind.value, title=str(kind.label)) for kind in (UnitKind.MERGE, UnitKind.REPORT)]
    for unit in plan.add(run, [*first, *ends]):
        if unit.reused:
            overview.use(run, unit.result)


def coverage(files: Sequence[FileFacts]) -> dict[str, Any]:
    """What is read and what not: counts of files and tokens, for each reason and each language."""
    read = [file for file in files if file.read]
    languages: dict[str, int] = Counter()
    for file in read:
        languages[file.language or "other"] += file.tokens
    return {
        "files": len(files),
        "read": len(read),
        "tokens": sum(file.tokens for file in read),
        "bytes": sum(file.size for file in read),
        "skipped": dict(Counter(file.reason for file in files if not file.read)),
        "languages": dict(languages),
    }


# --- rows ---


def store_files(run: AnalysisRun, built: Manifest) -> None:
    """Replace the manifest of the run."""
    SourceFile.objects.filter(run=run).delete()
    columns = [field for field in SourceFile._meta.concrete_fields if not field.primary_key]
    named = ", ".join(f'"{field.column}"' for field in columns)
    copying = f'COPY "{SourceFile._meta.db_table}" ({named}) FROM STDIN'
    # Megabytes of text: an INSERT takes several times as long, and the run is locked meanwhile.
    with connection.cursor() as cursor, cursor.copy(copying) as copy:
        for file in built.files:
            row = file_row(run, file, built.texts.get(file.path) if file.read else None)
            copy.write_row(
                [field.get_db_prep_save(getattr(row, field.attname), connection) for field in columns]
            )


def _blocked(built: Manifest) -> list[RawFinding]:
    """Files that are not sent because something in them looks like a secret. The value is told nowhere."""
    blocked = {file.path for file in built.files if file.reason == "secret"}
    return [
        RawFinding(
            rule_id="static/secret",
            title=f"{hit.label or hit.rule} in the source"[:80],
            message=f"Line {hit.line} of {hit.path} looks like a secret ({hit.label or hit.rule}). The file is not "
            "sent to a model until somebody allows it.",
            severity="critical",
            level="error",
            path=hit.path,
            excerpt="",
            start_line=hit.line,
            confidence=0.8,
            suggestion="Withdraw the secret where it was issued, then take it out of the source and its history.",
        )
        for hit in built.secrets
        if hit.path in blocked
    ]


def _findings(run: AnalysisRun, unit: Unit, raws: Sequence[RawFinding], built: Manifest) -> list[Finding]:
    """Unsaved findings of the analyzer without a model; it has seen the lines itself."""
    files: Mapping[str, FileFacts] = {file.path: file for file in built.files}
    texts: Texts = built.texts
    index_of = indexes(texts)
    found = []
    for raw in raws:
        symbols = files[raw.path].symbols if raw.path in files else ()
        one = checked(raw, STATIC.name, claimed(raw), index_of(raw.path), symbols)
        hidden = raw.rule_id == "static/secret"  # the lines around a secret show it
        row = finding_row(run, unit.pk, one, files.get(raw.path), None if hidden else texts.get(raw.path))
        row.unit = unit
        found.append(row)
    return found
