"""Sentences that tell of runs, attempts and workers, for the explanations of every app: what a status with its reason
means for one row, from facts that were read.

Only `moment` and `acts` ask the database, so every pair of status and reason can be tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Max, Q

from nyxcore import sweep, ui
from nyxcore.dbtime import ago
from nyxcore.models import AuditEntry, PaidAttempt, SweepState, Worker
from nyxcore.states import WORKING, Reason, Status

S = Status
ACTS = 3  # audit entries told
MOVES = "What would move it: "
STARTED = "It was never started. Start it."


@dataclass(frozen=True)
class Moment:
    """What is the same for all rows when they are looked at. Times are the database's."""

    now: datetime
    workers: int  # processes that live and take work
    threads: int = 0  # of these
    busy: int = 0  # attempts at work anywhere
    last_seen: datetime | None = None  # of any worker
    guard_until: datetime | None = None  # the sweep judges nothing that runs before that

    def gone(self, at: datetime | None) -> float:
        """Seconds from then to now; less than none for what is to come."""
        return (self.now - at).total_seconds() if at else 0.0


# --- words ---


def clock(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"


def span(seconds: float) -> str:
    """A time in words, as exact as it matters."""
    seconds = max(0, round(seconds))
    if seconds < 120:
        return f"{seconds} s"
    minutes, hours = seconds // 60, seconds // 3600
    return f"{minutes} min" if minutes < 120 else f"{hours} h" if hours < 48 else f"{hours // 24} days"


def word(status: str) -> str:
    return "waiting" if status == S.WAITING else str(Status(status).label).lower()


def workers(moment: Moment) -> str:
    """One sentence on the workers."""
    if not moment.workers:
        return (
            f"no worker since {clock(moment.last_seen)}."
            if moment.last_seen
            else "no worker has ever been seen."
        )
    live = f"{moment.workers} worker process{'es live' if moment.workers > 1 else ' lives'}"
    return f"{live}, {min(moment.busy, moment.threads)} of {moment.threads} threads busy."


def first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- a run ---


def run(kind: str, row: Any, why: str, moment: Moment) -> str:
    """Where a run stands, since when, why, and who paused it."""
    since = f"since {clock(row.status_changed_at)} ({span(moment.gone(row.status_changed_at))})"
    held = f" {row.held_by} paused it." if row.held_by else ""
    head = f"{kind} {row.pk} “{row.name}” of {row.owner} is {word(row.status)} {since}"
    return f"{head}{f': {why}' if why else '.'}{held}"


def is_held_up(row: Any) -> bool:
    """Whether a run takes no attempt: somebody paused it, or it is not at work."""
    return row.is_held or row.status not in WORKING


def run_moves(row: Any, moment: Moment, *, queued: bool, beside: str = "") -> str:
    """What would move a run that was started and is not completed. `queued`: something waits for a worker;
    `beside`: what is to be said of one that goes on."""
    if row.is_held:
        return f"{MOVES}{ui.helps(S.PAUSED, Reason.USER)}"
    if row.status not in WORKING:
        return f"{MOVES}{ui.helps(row.status, row.reason)}"
    if queued and not moment.workers:
        return f"{MOVES}a worker. {first_up(workers(moment))}"
    return f"It goes on by itself.{beside}"


# --- an attempt ---


def tried(attempt: PaidAttempt, moment: Moment) -> str:
    """One attempt: who has it since when, its last sign of life, and what ended it. Ends with a full stop."""
    nth = f"attempt {attempt.number} ({attempt.get_cause_display()})"
    if attempt.status == S.PENDING:
        ahead = -moment.gone(attempt.queued_at)
        if ahead > 0:
            return f"{nth} is tried again at {clock(attempt.queued_at)}, in {span(ahead)}."
        return f"{nth} is queued since {clock(attempt.queued_at)} ({span(-ahead)}); {workers(moment)}"
    if attempt.status == S.RUNNING:
        stored = (
            " Its answer is stored already; only what follows from it is missing."
            if attempt.stop_reason
            else ""
        )
        return (
            f"{nth} runs on {attempt.worker} since {clock(attempt.started_at)}; its last sign of life came "
            f"{_silence(attempt, moment)} ago, it is judged at {clock(attempt.due_at)} and stopped at "
            f"{clock(attempt.deadline_at)}.{stored}"
        )
    if attempt.status == S.WAITING:
        again = f"; it is looked at again at {clock(attempt.due_at)}" if attempt.due_at else ""
        return f"{nth} waits for a person since {clock(attempt.started_at)}{again}."
    return _ended(attempt, nth)


def _ended(attempt: PaidAttempt, nth: str) -> str:
    by = f" on {attempt.worker}" if attempt.worker else ""
    done = attempt.status == S.COMPLETED
    why = "" if done else " ".join(filter(None, [ui.cause(attempt.reason), attempt.error]))
    return f"{nth}{by} ended at {clock(attempt.finished_at)} as {word(attempt.status)}{f': {why}' if why else '.'}"


def _silence(attempt: PaidAttempt, moment: Moment) -> str:
    sign = attempt.heartbeat_at or attempt.started_at
    return f"{max(0.0, moment.gone(sign)):.0f} s" if sign else "an unknown time"


def moves(attempt: PaidAttempt, moment: Moment, *, of: str, waits: str, held_up: str = "") -> str:
    """What would move an attempt at a step or unit (`of`), and when. `waits`: who decides on one that waits;
    `held_up`: what would move its run where that takes no attempt."""
    if attempt.status == S.PENDING:
        return f"No worker takes it now. {held_up}" if held_up else _pending_moves(attempt, moment)
    if attempt.status == S.RUNNING:
        return _running_moves(attempt, moment, of)
    if attempt.status == S.WAITING:
        return waits
    return "It has ended, and an ended attempt never changes. What is tried next is another one."


def _pending_moves(attempt: PaidAttempt, moment: Moment) -> str:
    if not moment.workers:
        return f"{MOVES}a worker. {first_up(workers(moment))}"
    if moment.gone(attempt.queued_at) < 0:
        return "It goes on by itself at that time."
    if moment.busy >= moment.threads:
        return "A worker takes it as soon as a thread is free: the person with the fewest running attempts comes first."
    return "A worker takes it within seconds."


def _running_moves(attempt: PaidAttempt, moment: Moment, of: str) -> str:
    left, late = -moment.gone(attempt.due_at), moment.gone(attempt.deadline_at)
    if left > 0 and late <= 0:
        return (
            f"It goes on by itself. Its worker renews the lease, which holds for {span(left)} more; without another "
            "sign of life the sweep ends it then."
        )
    if moment.guard_until is not None and moment.guard_until > moment.now:
        return f"After an outage the sweep judges nothing before {clock(moment.guard_until)}; then it ends this one."
    if left > 0:
        return f"It is past its deadline by {span(late)}: its worker stops it, and a minute after that the sweep does."
    return f"Its lease has passed {span(-left)} ago: the next sweep ends it, and its {of} is tried again or fails."


# --- what is read ---


def moment() -> Moment:
    """Workers and the sweep as they are now."""
    alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
    found = list(alive.values_list("threads", flat=True))
    last: datetime | None = None if found else Worker.objects.aggregate(last=Max("seen_at"))["last"]
    guard = SweepState.objects.filter(guard_until__gt=ago(0)).values_list("guard_until", flat=True).first()
    running = (target.attempts._default_manager.filter(status=S.RUNNING) for target in sweep.TARGETS)
    busy = sum(rows.count() for rows in running)  # every app's: they share the threads
    return Moment(_now(), len(found), sum(found), busy, last, guard)


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def acts(which: Q) -> list[str]:
    """The last entries of the audit log on these rows, the newest first."""
    entries = AuditEntry.objects.filter(which).order_by("-pk")[:ACTS]
    return [f"{'Before that' if n else 'Last act'}: {_act(entry)}" for n, entry in enumerate(entries)]


def _act(entry: AuditEntry) -> str:
    what = entry.action or f"{entry.from_status} > {entry.to_status}"
    why = f", {entry.reason}" if entry.reason else ""
    detail = f" ({entry.detail})" if entry.detail else ""
    return f"{what}{why} by {entry.name or entry.actor} at {clock(entry.at)}{detail}."
