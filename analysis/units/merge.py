"""Findings put together, and compared with those of earlier runs on the same source. No model is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Exists, OuterRef, Subquery

from analysis import plan, track, verify
from analysis.analyzers import RULES, STATIC
from analysis.merge import merge
from analysis.models import (
    AnalysisRun,
    Finding,
    FindingChange,
    SourceFile,
    TrackedFinding,
    TrackedState,
    Triage,
    Unit,
    UnitKind,
)
from analysis.plain import CheckedFinding, FileFacts, Place
from analysis.plan import Spec
from analysis.rows import checked_of, chunk_of, manifest, options_of, read_files
from analysis.track import Known, Outcome
from analysis.units.base import Digest, Work
from analysis.units.chunk import indexes
from analysis.units.verify import write
from nyxcore.llm.base import StopSignal
from nyxcore.states import Status

# What a run takes over from a finding that was found before; of most it is as it was.
TAKEN = ("fingerprint", "title", "severity", "path", "symbol", "excerpt", "start_line", "blob")
T = TrackedState
S = Status


@dataclass(frozen=True)
class Compared:
    """What the merge has worked out, to be written: findings that others stand for, and what became of each."""

    kept_as: Mapping[int, int]  # finding: the one that stands for it
    outcomes: Sequence[Outcome]
    rows: Mapping[int, Finding]
    row_of: Mapping[int, int]  # id of a CheckedFinding in outcomes: primary key of its row


class MergeWork(Work):
    def do(self, run: AnalysisRun, unit: Unit, stop: StopSignal) -> Digest:
        rows = {row.pk: row for row in Finding.objects.filter(run=run)}
        kept, kept_as = merged(rows.values())
        files = {file.path: file for file in manifest(run)}
        known = [
            _known(row)
            for row in TrackedFinding.objects.filter(owner=run.owner_id, source_key=run.source_key)
        ]
        index_of = indexes(
            {path: text for path, (_f, text) in read_files(run, {one.path for one in known}).items()}
        )

        def contains(path: str, excerpt: str) -> bool:
            index = index_of(path)
            return index is None or index.contains(excerpt)

        outcomes = track.track(
            known,
            list(kept.values()),
            manifest=files,
            checked=looked_at(run, files.values()),
            ran={
                STATIC.name,
                *Unit.objects.filter(run=run, kind=UnitKind.CHUNK, status=S.COMPLETED).values_list(
                    "analyzer", flat=True
                ),
            },
            renames=_renames(run, files),
            contains=contains,
        )
        row_of = {id(one): pk for pk, one in kept.items()}
        return Digest({"kept": len(kept), "merged": len(kept_as)}, Compared(kept_as, outcomes, rows, row_of))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        compared: Compared = digest.rows
        _link(compared.kept_as)
        _write(run, compared)
        if options_of(run).verify:
            plan_verify(run)


def merged(rows: Iterable[Finding]) -> tuple[dict[int, CheckedFinding], dict[int, int]]:
    """(the findings that stay, by row; finding: the one that stands for it).

    Each carries its row along as a piece of evidence without a path, since the merge joins evidence.
    """
    carried = []
    for row in rows:
        one = checked_of(row)
        tag = Place("", str(row.pk))
        carried.append(replace(one, raw=replace(one.raw, evidence=(tag, *one.raw.evidence))))
    kept: dict[int, CheckedFinding] = {}
    kept_as: dict[int, int] = {}
    for one in merge(carried, kin=_kin):
        tags = [int(place.excerpt) for place in one.raw.evidence if not place.path]
        kept[tags[0]] = one
        kept_as |= dict.fromkeys(tags[1:], tags[0])
    return kept, kept_as


def _kin(rule_id: str) -> str:
    return RULES[rule_id].kin if rule_id in RULES else rule_id


def _known(row: TrackedFinding) -> Known:
    return Known(
        row.pk,
        row.fingerprint,
        row.rule_id,
        row.analyzer,
        row.path,
        row.symbol,
        row.excerpt,
        row.start_line,
        gone=row.state == T.GONE,
        dismissed=row.triage == Triage.DISMISSED,
        misses=row.misses,
    )


def looked_at(run: AnalysisRun, files: Iterable[FileFacts]) -> set[tuple[str, str]]:
    """(analyzer, path) of everything that was really looked at."""
    found = {(STATIC.name, file.path) for file in files if file.read}
    done = Unit.objects.filter(run=run, kind=UnitKind.CHUNK, status=S.COMPLETED)
    for analyzer, chunk in done.values_list("analyzer", "chunk"):
        found |= {(analyzer, path) for path in chunk_of(chunk).paths}
    # A file in several chunks was looked at only if each of them was.
    missed = Unit.objects.filter(run=run, kind=UnitKind.CHUNK).exclude(status__in=(S.COMPLETED, S.SKIPPED))
    for analyzer, chunk in missed.values_list("analyzer", "chunk"):
        found -= {(analyzer, path) for path in chunk_of(chunk).paths}
    return found


def _renames(run: AnalysisRun, files: Mapping[str, FileFacts]) -> dict[str, str]:
    if run.previous_id is None:
        return {}
    before = dict(SourceFile.objects.filter(run=run.previous_id).values_list("path", "blob"))
    return track.renamed(before, files)


# --- writing ---


def _link(kept_as: Mapping[int, int]) -> None:
    by_keeper: dict[int, list[int]] = {}
    for pk, keeper in kept_as.items():
        by_keeper.setdefault(keeper, []).append(pk)
    for keeper, pks in by_keeper.items():
        Finding.objects.filter(pk__in=pks, kept_as=None).update(kept_as=keeper)


def _write(run: AnalysisRun, compared: Compared) -> None:
    """One change for each tracked finding. A merge that is repeated (gaps were retried) replaces its earlier ones."""
    earlier = dict(FindingChange.objects.filter(run=run).values_list("tracked", "state"))
    tracked = TrackedFinding.objects.in_bulk([one.known.key for one in compared.outcomes if one.known])
    before = {pk: _values(row) for pk, row in tracked.items()}
    new: list[TrackedFinding] = []
    changes: list[tuple[TrackedFinding, Finding | None, str]] = []
    for one in compared.outcomes:
        row = compared.rows[compared.row_of[id(one.found)]] if one.found else None
        if one.known:
            subject = tracked[one.known.key]
        else:
            subject = TrackedFinding(owner_id=run.owner_id, source_key=run.source_key, first_seen=run)
            new.append(subject)
        state = _told(one.state, earlier.get(subject.pk, ""))
        if not (state in (T.MISSED, T.GONE) and earlier.get(subject.pk) == state):
            subject.misses = one.misses
        subject.state = state
        if row:
            _take_over(subject, row, run)
        if row or one.state != "gone" or not (one.known and one.known.gone):
            changes.append((subject, row, state))
    TrackedFinding.objects.bulk_create(new)
    _save(tracked.values(), before)
    FindingChange.objects.filter(run=run).delete()
    FindingChange.objects.bulk_create(
        FindingChange(run=run, tracked=subject, finding=row, state=state) for subject, row, state in changes
    )
    _point(run)


def _save(rows: Collection[TrackedFinding], before: Mapping[int, list[Any]]) -> None:
    """Write what has changed: one statement for all that stand alike, since an update row by row takes long."""
    alike: dict[tuple[str, int, int | None], list[int]] = {}
    for row in rows:
        alike.setdefault((row.state, row.misses, row.last_seen_id), []).append(row.pk)
    for (state, misses, run_pk), pks in alike.items():
        TrackedFinding.objects.filter(pk__in=pks).update(state=state, misses=misses, last_seen=run_pk)
    others = [row for row in rows if _values(row) != before[row.pk]]
    TrackedFinding.objects.bulk_update(others, TAKEN, batch_size=100)


def _values(row: TrackedFinding) -> list[Any]:
    return [getattr(row, name) for name in TAKEN]


def _told(state: str, earlier: str) -> str:
    """What this run says of a finding; a repeated merge sees its own traces and keeps to what it said first."""
    first_seen_here = earlier in (T.NEW, T.REOPENED, T.MOVED, T.CHANGED)
    return earlier if first_seen_here and state in (T.UNCHANGED, T.MOVED) else state


def _take_over(subject: TrackedFinding, row: Finding, run: AnalysisRun) -> None:
    for name in ("fingerprint", "rule_id", "analyzer", "title", "severity", "path", "symbol", "excerpt"):
        setattr(subject, name, getattr(row, name))
    subject.start_line, subject.blob, subject.last_seen = row.start_line, row.blob, run


def _point(run: AnalysisRun) -> None:
    """Let each finding name the tracked one that it is."""
    change = FindingChange.objects.filter(finding=OuterRef("pk"))
    unnamed = Finding.objects.filter(Exists(change), run=run, tracked=None)
    unnamed.update(tracked=Subquery(change.values("tracked")[:1]))


# --- the second look ---


def plan_verify(run: AnalysisRun) -> None:
    """A unit for each finding that a model made and nobody has dismissed."""
    rows = Finding.objects.filter(run=run, kept_as=None, verdict=None).exclude(analyzer=STATIC.name)
    rows = rows.exclude(tracked__triage=Triage.DISMISSED)
    specs = [
        Spec(
            kind=UnitKind.VERIFY,
            key=plan.key(run, UnitKind.VERIFY, verify.VERSION, row.rule_id, row.fingerprint, row.blob),
            title=row.title,
            chunk={"finding": row.pk, "paths": [row.path]},
            tokens=plan.AROUND[UnitKind.VERIFY],
            position=position,
        )
        for position, row in enumerate(rows.order_by("path", "start_line", "pk"))
    ]
    for unit in plan.add(run, specs):
        if unit.reused:
            write(run, unit, unit.result)
