"""Whether the parts of the system live, by what PostgreSQL knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import Max, Min, Sum
from django.utils import timezone

from nyxcore import contact, events
from nyxcore.dbtime import Clock, ago, since
from nyxcore.models import Leased, SweepState, Worker
from nyxcore.states import OPEN_ATTEMPT, Status

PATIENCE = 3.0  # s that the database may take to answer a question about nothing
_asking = ThreadPoolExecutor(1, thread_name_prefix="nyxcore-ready")


def ask_database() -> None:
    """Raises DatabaseError, or TimeoutError when there is no answer: a network that swallows everything says nothing.

    In a thread of its own, and one at a time: while it waits for a lost answer, whoever asks is told so in time.
    """
    asked = _asking.submit(_ask)
    try:
        asked.result(PATIENCE)
    finally:
        asked.cancel()


def _ask() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except contact.BROKEN:
        contact.lost()
        raise
    finally:
        connection.close()


def workers_alive() -> int:
    """Worker processes that gave a sign of life within half a lease; the pulse gives one each sixth."""
    return Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False).count()


def no_worker_since() -> datetime | None:
    """When the last worker was seen, if none lives now (now, if there never was one); else None."""
    if workers_alive():
        return None
    last: datetime | None = Worker.objects.aggregate(last=Max("seen_at"))["last"]
    return last or timezone.now()


def metrics_text() -> str:
    """Figures for Prometheus. Every one comes from a partial index or a small table, so asking often costs little."""
    lines = [
        *_gauge("nyxcore_workers", "Worker processes that live.", [("", workers_alive())]),
        *_gauge(
            "nyxcore_worker_threads", "Attempts that the living workers can run at once.", [("", _threads())]
        ),
        *_gauge("nyxcore_attempts", "Open attempts by status.", _open_attempts()),
        *_gauge(
            "nyxcore_queued_seconds", "How long the oldest attempt that may run waits for a worker.", _waits()
        ),
        *_gauge("nyxcore_sweep_age_seconds", "Time since the last pass of the sweep.", _sweep_age()),
        *_gauge(
            "nyxcore_events_dropped",
            "Live events that gave way in this process.",
            [("", events.queue.dropped)],
        ),
    ]
    return "\n".join(lines) + "\n"


def _gauge(name: str, told: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    values = (f"{name}{labels} {value:g}" for labels, value in samples)
    return [f"# HELP {name} {told}", f"# TYPE {name} gauge", *values]


def _leased() -> Iterator[type[Leased]]:
    return (model for model in apps.get_models() if issubclass(model, Leased))


def _threads() -> int:
    alive = Worker.objects.filter(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), stopping=False)
    return alive.aggregate(sum=Sum("threads"))["sum"] or 0


def queue_of(model: type[Leased]) -> tuple[int, datetime | None]:
    """How many attempts wait for a worker, and since when the oldest does that may run now."""
    queued = model._default_manager.filter(status=Status.PENDING)
    oldest: datetime | None = queued.filter(queued_at__lte=Clock()).aggregate(oldest=Min("queued_at"))[
        "oldest"
    ]
    return queued.count(), oldest


def _open_attempts() -> Iterator[tuple[str, float]]:
    for model in _leased():
        for status in sorted(OPEN_ATTEMPT):  # one by one: each has its own index
            count = model._default_manager.filter(status=status).count()
            yield f'{{model="{model._meta.model_name}",status="{status}"}}', count


def _waits() -> Iterator[tuple[str, float]]:
    for model in _leased():
        queued = model._default_manager.filter(status=Status.PENDING, queued_at__lte=Clock())
        oldest = queued.aggregate(wait=since(Min("queued_at")))["wait"]
        yield f'{{model="{model._meta.model_name}"}}', round(oldest or 0.0, 1)


def _sweep_age() -> list[tuple[str, float]]:
    age = SweepState.objects.annotate(age=since("last_pass")).values_list("age", flat=True).first()
    return [("", round(age, 1))] if age is not None else []
