"""What the program decides: opening attempts, ending them, what follows. One transaction, the run's row first."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from analysis import plan
from analysis.decide import STOPS, Batch, Decision, Line, decide
from analysis.models import AnalysisRun, SourceFile, Unit, UnitAttempt, Upload
from analysis.plan import model_of
from analysis.rows import options_of
from analysis.units import WORKS
from analysis.units.base import Digest
from nyxcore import attempts
from nyxcore.attempts import HANDOVERS, RING_AFTER, TRIES, Result, backoff
from nyxcore.dbtime import later
from nyxcore.llm import models as registry
from nyxcore.llm.base import LLMError
from nyxcore.models import Cause
from nyxcore.pulse import ring
from nyxcore.states import ENDED, Reason, Status, current_actor, touch, transition, transition_all

log = logging.getLogger(__name__)
S = Status
OPEN = (S.PENDING, S.RUNNING, S.WAITING)
LIVE = (S.SCANNING, S.ANALYZING, S.GENERATING, S.WAITING, S.PAUSED)
CLOSED = (S.COMPLETED, S.FAILED, S.CANCELLED)
# A worker holds many units, so one may be lost several times without a fault of its own; and a run that is left alone
# for hours must outlive some restarts of the machine.
MORE_LOST = 2
BAD_ANSWERS = 1  # further tries after an answer that does not fit its form
LARGE = ("coverage", "estimate", "summary")
AT_ONCE = 200  # units that are read at a time when some are to be opened
Reserved = tuple[Unit, Decimal | None]  # a unit that is to be opened, and USD that its call may cost at most


def lock(run_pk: int) -> AnalysisRun:
    """The run's row, locked until the transaction ends. Always the first lock, in a statement of its own.

    It lets rows be added that refer to the run (findings of units that end meanwhile): those who add them hold an
    attempt, and whoever closes the run waits for that attempt.
    """
    return AnalysisRun.objects.select_for_update(no_key=True).defer(*LARGE).get(pk=run_pk)


def lock_if_free(run_pk: int) -> AnalysisRun | None:
    """The same, or None where somebody else holds it: for those who come back anyway."""
    rows = AnalysisRun.objects.select_for_update(skip_locked=True, no_key=True).defer(*LARGE)
    return rows.filter(pk=run_pk).first()


# --- what comes next ---


def settle(run: AnalysisRun, *, stop: str = "") -> None:
    """Decide what is next in a locked run and do it; the only place that does.

    `stop` is the reason of a vendor that takes no more calls. Such a stop, and one by the budget, stands until a
    person resumes.
    """
    if run.status not in LIVE:
        return
    standing = run.reason if run.status == S.PAUSED and run.reason in STOPS else ""
    over_budget = standing == Reason.BUDGET
    vendor = stop or ("" if over_budget else standing)
    while True:
        decision = decide(
            load(run.pk),
            held=run.held_by_id is not None,
            stop=vendor,
            over_budget=over_budget,
            confirmed=run.confirmed or not options_of(run).confirm,
        )
        if decision.park:  # a claim takes no lock of the run: decide again with what it has left
            _park(run, decision.reason)
        elif decision.open and not _open_all(run, decision.open):
            over_budget = True
        else:
            break
    _move(run, decision)


LINES = """
SELECT u.kind, u.analyzer,
       count(*) FILTER (WHERE u.status = 'pending'),
       count(*) FILTER (WHERE a.status = 'pending'),
       count(*) FILTER (WHERE a.status IN ('running', 'waiting')),
       count(*) FILTER (WHERE u.status = 'failed'),
       count(*) FILTER (WHERE u.status IN ('completed', 'failed', 'skipped') AND NOT u.reused),
       count(*) FILTER (WHERE u.status = 'running' AND a.id IS NULL),
       coalesce(min(u.reason) FILTER (WHERE u.status = 'failed'), '')
  FROM analysis_unit u
  LEFT JOIN analysis_unitattempt a ON a.unit_id = u.id AND a.status IN ('pending', 'running', 'waiting')
 WHERE u.run_id = %s GROUP BY u.kind, u.analyzer ORDER BY u.kind, u.analyzer
"""


def load(run_pk: int) -> list[Line]:
    """The units of a run as `decide` needs them."""
    with connection.cursor() as cursor:
        cursor.execute(LINES, [run_pk])
        return [Line(*row) for row in cursor.fetchall()]


def _park(run: AnalysisRun, reason: str) -> None:
    """Take back the attempts that nobody has claimed yet; their units stand in line again."""
    queued = UnitAttempt.objects.filter(unit__run=run, status=S.PENDING).values_list("pk", flat=True)
    transition_all(UnitAttempt, list(queued), S.PENDING, S.CANCELLED, reason=reason)
    idle = Unit.objects.filter(run=run, status=S.RUNNING).exclude(
        pk__in=UnitAttempt.objects.filter(unit__run=run, status__in=OPEN).values("unit")
    )
    transition_all(Unit, list(idle.values_list("pk", flat=True)), S.RUNNING, S.PENDING)


def _move(run: AnalysisRun, decision: Decision) -> None:
    """Bring the run to the status that was decided."""
    if run.status != decision.status:
        changes: dict[str, Any] = {"held_by": None} if decision.status in ENDED else {}
        if decision.status == S.COMPLETED:
            changes["gaps"] = gaps(run)
        transition(run, Status(run.status), decision.status, reason=decision.reason, **changes)
        if decision.status == S.COMPLETED and not run.gaps:
            forget_contents([run.pk])
    elif run.reason != decision.reason:
        run.reason = decision.reason
        run.save(update_fields=["reason"])
        touch(AnalysisRun, [run.pk])
    if run.upload_id and decision.status in (S.ANALYZING, S.GENERATING, S.COMPLETED):
        Upload.objects.filter(pk=run.upload_id).delete()  # its plan stands, so nobody reads it again


def gaps(run: AnalysisRun) -> list[dict[str, Any]]:
    """What could not be looked at: every failed unit, with its paths and why."""
    failed = Unit.objects.filter(run=run, status=S.FAILED).order_by("position", "pk")
    return [
        {
            "unit": unit.pk,
            "kind": unit.kind,
            "analyzer": unit.analyzer,
            "title": unit.title,
            "paths": paths_of(unit),
            "reason": unit.reason,
            "said": str(Reason(unit.reason).label) if unit.reason in Reason.values else unit.reason,
        }
        for unit in failed
    ]


def paths_of(unit: Unit) -> list[str]:
    """The files that a unit looks at."""
    pieces = unit.chunk.get("pieces")
    if pieces is not None:
        return list(dict.fromkeys(piece[0] for piece in pieces))
    return list(unit.chunk.get("paths", ()))


def forget_contents(run_pks: Sequence[int]) -> int:
    """Drop the texts of files that no unit needs any more. What findings quote stays with them."""
    return SourceFile.objects.filter(run__in=run_pks, content__isnull=False).update(content=None)


# --- opening ---


class OverBudget(Exception):
    """The worst case of the next call does not fit into what is left of the budget."""


def _open_all(run: AnalysisRun, batches: Iterable[Batch]) -> bool:
    """Open what is ready, as far as the budget goes; False when that was nothing."""
    reserved = _reserve(run, _ready(run, batches))
    _insert(run, reserved)
    transition_all(Unit, [unit.pk for unit, _money in reserved], S.PENDING, S.RUNNING)
    if reserved:
        transaction.on_commit(lambda: ring(len(reserved)))
    return bool(reserved)


def _ready(run: AnalysisRun, batches: Iterable[Batch]) -> Iterator[Unit]:
    """The units of the batches, a page at a time: near its budget a run opens few of its thousands each time."""
    for batch in batches:
        ready = Unit.objects.filter(run=run, kind=batch.kind, analyzer=batch.analyzer, status=S.PENDING)
        ready = ready.defer("result", "chunk").order_by("position", "pk")
        most = ready.count() if batch.at_most is None else batch.at_most
        for start in range(0, most, AT_ONCE):
            yield from ready[start : min(start + AT_ONCE, most)]


def _reserve(run: AnalysisRun, units: Iterable[Unit], max_tokens: int | None = None) -> list[Reserved]:
    """The first units, each with USD that its call may cost at most, up to the first that the budget refuses.

    A price that nobody knows any more is refused too: the run pauses, and a person chooses.
    """
    if run.budget is None:
        return [(unit, None) for unit in units]
    left = attempts.left_of(run.budget, UnitAttempt.objects.filter(unit__run=run))
    reserved: list[Reserved] = []
    for unit in units:
        try:
            worst = worst_case(run, unit, max_tokens)
        except LLMError:
            break
        if worst and worst > left:
            break
        left -= worst
        reserved.append((unit, worst))
    return reserved


def worst_case(run: AnalysisRun, unit: Unit, max_tokens: int | None = None) -> Decimal:
    """USD that the next call of a unit may cost at most; 0 for kinds that call nothing."""
    work = WORKS[unit.kind]
    if not work.paid:
        return Decimal(0)
    return attempts.worst_case(model_of(run, unit.kind), unit.tokens, max_tokens or work.room)


def open_attempt(
    run: AnalysisRun, unit: Unit, *, cause: str, delay: float = 0.0, max_tokens: int | None = None
) -> None:
    """Open a follow-up attempt of a unit that runs; `delay` (s) is a back-off. May raise OverBudget."""
    reserved = _reserve(run, [unit], max_tokens)
    if not reserved:
        raise OverBudget
    _insert(run, reserved, cause=cause, delay=delay, max_tokens=max_tokens)
    touch(Unit, [unit.pk])
    if not delay:
        transaction.on_commit(ring)


def _insert(
    run: AnalysisRun,
    reserved: Sequence[Reserved],
    *,
    cause: str = "",
    delay: float = 0.0,
    max_tokens: int | None = None,
) -> None:
    """The one place where attempts are added."""
    units = [unit for unit, _money in reserved]
    earlier = UnitAttempt.objects.filter(unit__in=units).order_by().values_list("unit")
    numbers: dict[int, int] = dict(earlier.annotate(last=Max("number")))
    actor = current_actor()
    by = actor.user_id if actor else None
    UnitAttempt.objects.bulk_create(
        UnitAttempt(
            unit=unit,
            kind=unit.kind,
            number=numbers.get(unit.pk, 0) + 1,
            cause=cause or _cause(unit.pk in numbers, by),
            caused_by_id=by,
            max_tokens=max_tokens,
            reserved=money,
            due_at=later(delay or RING_AFTER),
            queued_at=later(delay),
        )
        for unit, money in reserved
    )


def _cause(tried: bool, by: int | None) -> str:
    """Why a unit opens where nobody has named a cause."""
    if not tried:
        return Cause.START
    return Cause.RETRY if by else Cause.BACKOFF


# --- ending ---


def write_facts(attempt_pk: int, worker: str, facts: dict[str, Any]) -> bool:
    """Keep what was paid for, committed on its own before anything is decided; False when the attempt has ended."""
    ours, changed = attempts.write_facts(UnitAttempt, attempt_pk, worker, facts)
    if changed and not ours:
        touch(Unit, list(UnitAttempt.objects.filter(pk=attempt_pk).values_list("unit", flat=True)))
    return ours


def finish(attempt: UnitAttempt, result: Result, digest: Digest | None, worker: str) -> None:
    """End an attempt that `worker` holds, move its unit, settle. A lost race writes nothing."""
    if result.status == S.COMPLETED and WORKS[attempt.kind].light:
        _finish_lightly(attempt, result, digest, worker)
        return
    with transaction.atomic():
        run = lock(attempt.unit.run_id)
        if attempts.end(attempt, result, fence={"worker": worker}):
            settle(run, stop=_follow(run, attempt, result, digest))


def _finish_lightly(attempt: UnitAttempt, result: Result, digest: Digest | None, worker: str) -> None:
    """The same for the many units that change nothing but themselves: many at once need not wait for each other.

    Whoever ends last finds nothing open any more and settles; the look comes after the commit, so of two at once at
    least one sees that. Should it die in between, the sweep settles.
    """
    run = attempt.unit.run
    with transaction.atomic():
        if not attempts.end(attempt, result, fence={"worker": worker}):
            return
        _follow(run, attempt, result, digest)
    if _is_due(run.pk, attempt.kind):
        with transaction.atomic():
            settle(lock(run.pk))


DUE = """
SELECT NOT EXISTS (SELECT FROM analysis_unit u JOIN analysis_unitattempt a ON a.unit_id = u.id
                    WHERE u.run_id = %(run)s AND a.status IN ('pending', 'running', 'waiting'))
    OR (EXISTS (SELECT FROM analysis_unit WHERE run_id = %(run)s AND kind = %(kind)s AND status = 'pending')
        AND (SELECT count(*) FROM (SELECT FROM analysis_unit u JOIN analysis_unitattempt a ON a.unit_id = u.id
                                    WHERE u.run_id = %(run)s AND a.status = 'pending' LIMIT %(enough)s) queued)
            < %(enough)s)
"""


def _is_due(run_pk: int, kind: str) -> bool:
    """Whether to settle: nothing of a run is open, or few stand in line while more of that kind are held back."""
    with connection.cursor() as cursor:
        cursor.execute(DUE, {"run": run_pk, "kind": kind, "enough": AT_ONCE})
        return bool(cursor.fetchone()[0])


def end_for(run: AnalysisRun, attempt: UnitAttempt, result: Result, digest: Digest | None) -> None:
    """The sweep's finish: end a locked attempt for a worker that cannot, move its unit, settle."""
    if attempts.end(attempt, result, fence={}):
        settle(run, stop=_follow(run, attempt, result, digest))


def _follow(run: AnalysisRun, attempt: UnitAttempt, result: Result, digest: Digest | None) -> str:
    """Move the unit after its attempt has ended, or open its next one; the reason of a vendor that wants no more."""
    unit = attempt.unit
    if result.status == S.COMPLETED:
        assert digest is not None
        transition(unit, S.RUNNING, S.COMPLETED, result=digest.result)
        WORKS[unit.kind].apply(run, unit, digest)
    elif result.status == S.CUT_OFF:
        _after_cut(run, attempt, result)
    elif result.status == S.CANCELLED:  # handed over
        _again(run, attempt, result, Cause.HANDOVER, HANDOVERS)
    elif result.reason in (Reason.BILLING, Reason.AUTH):
        transition(unit, S.RUNNING, S.PENDING)
        return result.reason
    elif result.reason == Reason.LOST:
        _again(run, attempt, result, Cause.LOST, settings.NYXCORE_LOST_RETRIES + MORE_LOST)
    elif result.retryable:
        _again(run, attempt, result, Cause.BACKOFF, TRIES)
    elif result.reason == Reason.BAD_ANSWER:
        _again(run, attempt, result, Cause.BACKOFF, BAD_ANSWERS)
    else:
        _fail(run, unit, result.reason)
    return ""


def _fail(run: AnalysisRun, unit: Unit, reason: str) -> None:
    """A unit that has failed is a gap; what would have followed from it is planned without it."""
    transition(unit, S.RUNNING, S.FAILED, reason=reason)
    WORKS[unit.kind].failed(run, unit)


def _again(run: AnalysisRun, attempt: UnitAttempt, result: Result, cause: str, at_most: int) -> None:
    """Open a further attempt for an engine's cause, unless there were enough since a person's last one."""
    unit = attempt.unit
    tries = attempts.tries(UnitAttempt.objects.filter(unit=unit), cause)
    if tries >= at_most:
        _fail(run, unit, result.reason)
        return
    delay = backoff(tries, result.retry_after) if result.retryable else 0.0
    try:
        open_attempt(run, unit, cause=cause, delay=delay, max_tokens=attempt.max_tokens)
    except OverBudget:
        transition(unit, S.RUNNING, S.PENDING)  # in line again; settling pauses the run


def _after_cut(run: AnalysisRun, attempt: UnitAttempt, result: Result) -> None:
    """A cut answer is never taken over: its chunk is split in two; where nothing can be split, twice the room, once."""
    unit = attempt.unit
    halves = WORKS[unit.kind].split(run, unit)
    if halves:
        plan.add(run, halves)
        transition(unit, S.RUNNING, S.SKIPPED, reason=Reason.SPLIT)
        return
    used = int(attempt.request.get("max_tokens") or 0)
    more = registry.clamp_max_tokens(model_of(run, unit.kind), used * 2)
    raised = UnitAttempt.objects.filter(unit=unit, cause=Cause.RAISE).exists()
    if result.reason == Reason.CUT_CONTEXT or raised or more <= used:
        _fail(run, unit, result.reason)
        return
    try:
        open_attempt(run, unit, cause=Cause.RAISE, max_tokens=more)
    except OverBudget:
        transition(unit, S.RUNNING, S.PENDING)
