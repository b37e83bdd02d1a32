"""From a plan to units: their keys, and what an earlier run has answered already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Now

from analysis.analyzers import MODEL_ANALYZERS, ModelAnalyzer
from analysis.chunks import chunk_key
from analysis.models import PAID, AnalysisRun, Unit, UnitKind
from analysis.plain import Chunk
from analysis.rows import chunk_json, digest, options_of
from nyxcore.llm import models as registry
from nyxcore.states import Reason, Status

S = Status
# Tokens of a question beside what it looks at: rules, overview, schema. For estimates and reservations.
AROUND = {
    UnitKind.OVERVIEW: 2_000,
    UnitKind.CHUNK: 6_000,
    UnitKind.VERIFY: 8_000,
    UnitKind.DOCUMENT: 6_000,
}


@dataclass(frozen=True)
class Spec:
    """A unit that is to be."""

    kind: str
    key: str
    analyzer: str = ""
    title: str = ""
    chunk: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0
    position: int = 0
    parent: int | None = None


def model_of(run: AnalysisRun, kind: str) -> str:
    """The model that units of that kind ask."""
    options = options_of(run)
    chosen = (options.verify_model if kind == UnitKind.VERIFY else "") or options.model
    return chosen or registry.default_model()


def key(run: AnalysisRun, kind: str, *parts: Any) -> str:
    """The same key has the same answer: kind, model and effort, and what it looks at in which version."""
    return digest(kind, model_of(run, kind), options_of(run).effort, *parts)


def analyzers(run: AnalysisRun) -> list[ModelAnalyzer]:
    """Those that the run asks, in the order in which people see them."""
    chosen = options_of(run).analyzers
    return [one for name, one in MODEL_ANALYZERS.items() if not chosen or name in chosen]


def chunk_spec(run: AnalysisRun, analyzer: ModelAnalyzer, chunk: Chunk, rounded: str, **fields: Any) -> Spec:
    """A chunk looked at by an analyzer."""
    return Spec(
        kind=UnitKind.CHUNK,
        key=key(run, UnitKind.CHUNK, analyzer.name, analyzer.version, chunk_key(chunk), rounded),
        analyzer=analyzer.name,
        title=_title(chunk),
        chunk=chunk_json(chunk),
        tokens=chunk.tokens + AROUND[UnitKind.CHUNK],
        **fields,
    )


def _title(chunk: Chunk) -> str:
    paths = chunk.paths
    first = chunk.pieces[0]
    if len(paths) == 1 and len(chunk.pieces) == 1 and first.start_line > 1:
        return f"{first.path}:{first.start_line}-{first.end_line}"[:300]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0][:280]}{more}"


def add(run: AnalysisRun, specs: Sequence[Spec]) -> list[Unit]:
    """Insert units for `specs`, but for those that the run has; what an earlier run answered is completed at once."""
    present = set(Unit.objects.filter(run=run).values_list("kind", "key"))
    wanted = {(spec.kind, spec.key): spec for spec in specs if (spec.kind, spec.key) not in present}
    answered = _answered(run, {key for _kind, key in wanted})
    rows = [_row(run, spec, answered.get((spec.kind, spec.key))) for spec in wanted.values()]
    return Unit.objects.bulk_create(rows, batch_size=500)


def _row(run: AnalysisRun, spec: Spec, earlier: Unit | None) -> Unit:
    unit = Unit(
        run=run,
        kind=spec.kind,
        key=spec.key,
        analyzer=spec.analyzer,
        title=spec.title,
        chunk=spec.chunk,
        tokens=spec.tokens,
        position=spec.position,
        parent_id=spec.parent,
    )
    if earlier is None:
        return unit
    done = {"status": S.COMPLETED, "started_at": Now(), "finished_at": Now()}
    for name, value in {**done, "result": earlier.result, "reused": True, "reused_from": earlier}.items():
        setattr(unit, name, value)
    return unit


def _answered(run: AnalysisRun, keys: Collection[str]) -> dict[tuple[str, str], Unit]:
    """The newest completed unit of the same owner for each key."""
    earlier = Unit.objects.filter(
        key__in=keys, status=S.COMPLETED, run__owner=run.owner_id, kind__in=PAID
    )  # what costs nothing is done anew
    return {(unit.kind, unit.key): unit for unit in earlier.exclude(run=run).order_by("pk")}


def was_split(run: AnalysisRun, keys: Collection[str]) -> set[str]:
    """The keys whose answer was cut in an earlier run, so that they were split."""
    split = Unit.objects.filter(key__in=keys, status=S.SKIPPED, reason=Reason.SPLIT, run__owner=run.owner_id)
    return set(split.exclude(run=run).values_list("key", flat=True))
