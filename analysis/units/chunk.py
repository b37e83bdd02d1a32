"""A chunk of the source looked at by one analyzer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from django.db import connection

from analysis import chunks, locate, plan
from analysis.analyzers import MODEL_ANALYZERS
from analysis.analyzers.base import Dismissed, ModelAnalyzer
from analysis.fingerprint import checked
from analysis.locate import FileIndex
from analysis.models import (
    AnalysisRun,
    Dismissal,
    Finding,
    RejectedFinding,
    TrackedFinding,
    Triage,
    Unit,
    UnitKind,
)
from analysis.overview import rounded_hash
from analysis.plain import Ask, Chunk, FileFacts, Place, RawFinding
from analysis.plan import Spec
from analysis.rows import TITLE, chunk_of, digest, finding_row, overview_of, read_files, texts_of
from analysis.units.base import Digest, Work

EXAMPLES = 8  # dismissed findings shown to an analyzer


class ChunkWork(Work):
    paid = True
    light = True

    def ask(self, run: AnalysisRun, unit: Unit) -> Ask:
        chunk = chunk_of(unit.chunk)
        texts = texts_of(run, chunk.paths)
        analyzer = MODEL_ANALYZERS[unit.analyzer]
        # A word of its own for the files in the chunk: that of the run fences the chunk as a whole.
        shown = chunks.render(chunk, texts, digest("files", run.marker)[:16])
        return analyzer.ask(shown, overview_of(run), run.marker, _dismissed(run, analyzer, chunk))

    def read(self, run: AnalysisRun, unit: Unit, text: str) -> Digest:
        """Locate what the answer quotes; what stands nowhere is rejected and counted."""
        analyzer = MODEL_ANALYZERS[unit.analyzer]
        raws = analyzer.parse(text)
        if not raws:
            return Digest({"found": 0, "rejected": 0})
        paths = chunk_of(unit.chunk).paths
        quoted = {raw.path for raw in raws} | {place.path for raw in raws for place in raw.evidence}
        files = read_files(run, {*paths, *quoted})
        found, rejected = check(run, unit, raws, analyzer.rule_ids, paths, files)
        return Digest({"found": len(found), "rejected": len(rejected)}, (found, rejected))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        found, rejected = digest.rows or ([], [])
        Finding.objects.bulk_create(found)
        RejectedFinding.objects.bulk_create(rejected)

    def split(self, run: AnalysisRun, unit: Unit) -> Sequence[Spec]:
        analyzer = MODEL_ANALYZERS[unit.analyzer]
        rounded = rounded_hash(overview_of(run))
        return [
            plan.chunk_spec(run, analyzer, half, rounded, position=unit.position, parent=unit.pk)
            for half in halves(run, chunk_of(unit.chunk))
        ]


def _dismissed(run: AnalysisRun, analyzer: ModelAnalyzer, chunk: Chunk) -> list[Dismissed]:
    """What people have turned down in these files, or by these rules: examples of what not to report."""
    if run.previous_id is None:
        return []  # nothing was found before, so nothing was turned down; spares a query for each chunk
    rows = TrackedFinding.objects.filter(
        owner=run.owner_id, source_key=run.source_key, triage=Triage.DISMISSED, rule_id__in=analyzer.rule_ids
    ).exclude(dismissal=Dismissal.LATER)
    here = sorted(rows.order_by("-decided_at")[:100], key=lambda row: row.path not in chunk.paths)
    return [
        Dismissed(row.rule_id, row.path, row.excerpt, row.note or str(Dismissal(row.dismissal).label))
        for row in here[:EXAMPLES]
    ]


def check(
    run: AnalysisRun,
    unit: Unit,
    raws: Iterable[RawFinding],
    rules: Iterable[str],
    paths: Sequence[str],
    files: dict[str, tuple[FileFacts, str]],
) -> tuple[list[Finding], list[RejectedFinding]]:
    """Unsaved findings and rejections for what an analyzer claims."""
    index_of = indexes({path: text for path, (_facts, text) in files.items()})
    known = frozenset(rules)
    found, rejected = [], []
    for raw in raws:
        place = locate.check(raw, rules=known, manifest=files.keys(), chunk=paths, index_of=index_of)
        if not place:
            rejected.append(_rejection(run, unit, raw, place.rejected))
            continue
        facts, text = files[raw.path]
        raw = replace(raw, evidence=tuple(_located(raw.evidence, index_of)))
        one = checked(raw, unit.analyzer, place, index_of(raw.path), facts.symbols)
        found.append(finding_row(run, unit.pk, one, facts, text))
    return found, rejected


def _located(evidence: Iterable[Place], index_of: Callable[[str], FileIndex | None]) -> Iterator[Place]:
    """The pieces of evidence that stand in a file, by the line where they do; what was made up is left out."""
    for place in evidence:
        if found := locate.find(place, index_of):
            yield replace(place, start_line=found.start_line)


def indexes(texts: Mapping[str, str]) -> Callable[[str], FileIndex | None]:
    """A prepared index for each text, made when it is first asked for."""
    made: dict[str, FileIndex] = {}

    def index_of(path: str) -> FileIndex | None:
        if path not in made and path in texts:
            made[path] = FileIndex(texts[path])
        return made.get(path)

    return index_of


def _rejection(run: AnalysisRun, unit: Unit, raw: RawFinding, reason: str) -> RejectedFinding:
    return RejectedFinding(
        run=run,
        unit=unit,
        analyzer=unit.analyzer,
        rule_id=raw.rule_id[:100],
        reason=reason,
        title=raw.title[:TITLE],
        path=raw.path,
        excerpt=raw.excerpt,
    )


# --- splitting ---


def halves(run: AnalysisRun, chunk: Chunk) -> Sequence[Chunk]:
    """A chunk in two parts; none where there is only one line."""
    files = read_files(run, chunk.paths)
    texts = {path: text for path, (_facts, text) in files.items()}
    return chunks.split(chunk, [facts for facts, _text in files.values()], texts) or ()


# --- planning ---


def plan_chunks(run: AnalysisRun) -> None:
    """Insert the chunks that the source unit has packed, once the overview is there or given up."""
    rounded = rounded_hash(overview_of(run))
    source = Unit.objects.get(run=run, kind=UnitKind.SOURCE)
    specs: list[Spec] = []
    for analyzer in plan.analyzers(run):
        packed = source.result["packs"].get(analyzer.name, [])
        chunks_ = [chunk_of(source.result["chunks"][at]) for at in packed]
        for chunk in chunks_:
            specs.append(plan.chunk_spec(run, analyzer, chunk, rounded, position=len(specs)))
    plan.add(run, _unsplit(run, specs, rounded))
    copy_findings(run)


def _unsplit(run: AnalysisRun, specs: Sequence[Spec], rounded: str) -> list[Spec]:
    """In place of what was split in an earlier run, its halves: they have their answers."""
    split = plan.was_split(run, {spec.key for spec in specs})
    if not split:
        return list(specs)
    whole = [spec for spec in specs if spec.key not in split]
    parts = [
        plan.chunk_spec(run, MODEL_ANALYZERS[spec.analyzer], half, rounded, position=spec.position)
        for spec in specs
        if spec.key in split
        for half in halves(run, chunk_of(spec.chunk))
    ]
    return whole + _unsplit(run, parts, rounded)


def copy_findings(run: AnalysisRun) -> None:
    """What reused units had found: the same files, so the same lines."""
    for model in (Finding, RejectedFinding):
        left_out = {"id", "run_id", "unit_id", "tracked_id", "kept_as_id"}
        columns = [field.column for field in model._meta.concrete_fields if field.column not in left_out]
        named = ", ".join(f'"{column}"' for column in columns)
        taken = ", ".join(f'f."{column}"' for column in columns)
        table = model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(
                f"""INSERT INTO {table} (run_id, unit_id, {named})
                    SELECT u.run_id, u.id, {taken} FROM analysis_unit u JOIN {table} f ON f.unit_id = u.reused_from_id
                     WHERE u.run_id = %s AND u.kind = 'chunk'
                       AND NOT EXISTS (SELECT FROM {table} own WHERE own.unit_id = u.id) ORDER BY f.id""",
                [run.pk],
            )
