"""Sentences that tell of attempts and workers, for the explanations of every app."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Max, QuerySet
from django.db.models.functions import Coalesce

from nyxcore.dbtime import ago, since
from nyxcore.models import AuditEntry, Worker
from nyxcore.states import Reason, Status

S = Status


def with_times(attempts: QuerySet[Any]) -> QuerySet[Any]:
    """Adds what `attempt` needs: silence, and how long it has waited (s)."""
    sign = Coalesce("heartbeat_at", "started_at")
    found: QuerySet[Any] = attempts.annotate(silence=since(sign), waits=since("queued_at"))
    return found.defer("output", "request")


def attempt(attempt: Any, workers: str) -> str:
    """What an attempt does, or how it ended; goes on from the name of its step or unit."""
    nth = f"attempt {attempt.number} ({attempt.get_cause_display()})"
    if attempt.status == S.PENDING:
        if attempt.waits < 0:
            return f": {nth} is tried again at {clock(attempt.queued_at)}."
        return f": {nth} is queued since {clock(attempt.queued_at)}; {workers}"
    if attempt.status == S.RUNNING:
        return (
            f": {nth} runs on {attempt.worker} since {clock(attempt.started_at)}; its last sign of life came "
            f"{attempt.silence:.0f} s ago, it is judged at {clock(attempt.due_at)} and stopped at "
            f"{clock(attempt.deadline_at)}."
        )
    if attempt.status == S.WAITING:
        return f": {nth} waits for a person since {clock(attempt.started_at)}."
    why = " ".join(filter(None, [cause(attempt.reason), attempt.error]))
    return f": {nth} ended at {clock(attempt.finished_at)}{f': {why}' if why else '.'}"


def workers() -> str:
    """One sentence on the workers."""
    alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
    count = alive.count()
    if count:
        return f"{count} worker process{'es' if count > 1 else ''} live{'' if count > 1 else 's'}."
    last: datetime | None = Worker.objects.aggregate(last=Max("seen_at"))["last"]
    return f"no worker since {clock(last)}." if last else "no worker has ever been seen."


def last_act(entry: AuditEntry) -> str:
    change = entry.action or f"{entry.from_status} > {entry.to_status}"
    return f"Last act: {change} by {entry.name or entry.actor} at {clock(entry.at)}."


def cause(reason: str) -> str:
    return str(Reason(reason).label) if reason in Reason.values else reason


def word(status: str) -> str:
    return "waiting" if status == S.WAITING else str(Status(status).label).lower()


def clock(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC" if when else "an unknown time"
