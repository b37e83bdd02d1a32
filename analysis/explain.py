"""Why a row of an analysis is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q, QuerySet

from analysis import engine, sentences
from analysis.exports import gap_said
from analysis.models import AnalysisRun, Unit, UnitAttempt
from analysis.querysets import AttemptQuerySet
from analysis.rows import estimate_of
from nyxcore import telling
from nyxcore.states import Status
from nyxcore.telling import Moment
from nyxcore.words import counted, is_are

S = Status
SHOWN = 20  # units that failed, those at work, and gaps: each told one by one


def explain(run: AnalysisRun) -> list[str]:
    """The story of one analysis, from the run down to its open attempts."""
    moment, lines = telling.moment(), engine.load(run.pk)
    queued = any(line.queued for line in lines)
    return [
        sentences.run(run, moment),
        *_source(run),
        *sentences.kinds(lines),
        *_units(run, moment),
        *(f"Gap: {gap_said(gap)}" for gap in run.gaps[:SHOWN]),
        sentences.run_moves(run, moment, queued=queued),
        *telling.acts(Q(model="analysisrun", row=run.pk)),
    ]


def explain_unit(unit: Unit) -> list[str]:
    """One unit, its newest attempt and its analysis."""
    moment, run = telling.moment(), unit.run
    lines = engine.load(run.pk) if unit.status == S.PENDING else []
    attempts = _lean(UnitAttempt.objects.filter(unit=unit)).order_by("-number")
    newest = attempts.first()
    about = Q(model="unit", row=unit.pk) | Q(model="unitattempt", row__in=attempts.order_by().values("pk"))
    return [
        sentences.unit(unit, newest, lines, moment),
        sentences.unit_moves(unit, newest, lines, run, moment),
        sentences.run(run, moment),
        *telling.acts(about),
    ]


def explain_attempt(attempt: UnitAttempt) -> list[str]:
    """One attempt, where its unit stands, and its analysis."""
    moment, unit = telling.moment(), attempt.unit
    stands = f"Unit {unit.pk} “{unit}”, which is {telling.word(unit.status)}"
    return [
        f"{stands}: {telling.tried(attempt, moment)}",
        sentences.moves(attempt, unit.run, moment),
        sentences.run(unit.run, moment),
        *telling.acts(Q(model="unitattempt", row=attempt.pk)),
    ]


def _source(run: AnalysisRun) -> list[str]:
    told = [f"Its source is {run.location}{f' at {run.commit[:12]}' if run.commit else ''}."]
    if run.coverage:
        read = run.coverage.get("read", 0)
        told.append(
            f"{read:,} of {counted(run.coverage.get('files', 0), 'file')} {is_are(read)} read, "
            f"{counted(run.coverage.get('tokens', 0), 'token')}."
        )
    estimate = estimate_of(run)
    if estimate:
        calls = sum(estimate.calls.values())
        cost = "an unknown price" if estimate.expected is None else f"about ${estimate.expected:.2f}"
        reused = estimate.reused
        known = f"; {counted(reused, 'answer')} {is_are(reused)} there already" if reused else ""
        told.append(f"It takes {counted(calls, 'call')}, {cost}{known}.")
    return told


def _units(run: AnalysisRun, moment: Moment) -> list[str]:
    """The newest attempt of each unit that failed, then what is at work or queued."""
    attempts = _lean(UnitAttempt.objects.filter(unit__run=run)).select_related("unit")
    later = UnitAttempt.objects.filter(unit=OuterRef("unit"), number__gt=OuterRef("number"))
    failed = attempts.filter(~Exists(later), unit__status=S.FAILED).order_by("unit__position", "unit")
    working = _lean(attempts.open()).order_by("-status", "pk")
    told = [*failed[:SHOWN], *working[:SHOWN]]
    return [sentences.unit(attempt.unit, attempt, (), moment) for attempt in told]


def _lean(attempts: AttemptQuerySet[UnitAttempt] | QuerySet[UnitAttempt]) -> AttemptQuerySet[UnitAttempt]:
    """Without what an attempt was asked and answered."""
    return attempts.defer("output", "request")  # type: ignore[return-value]
