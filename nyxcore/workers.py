"""Who lives, what each worker holds, how long the queue is, and whether the sweep passes: for those who operate it.

What is held comes from the view `nyxcore_active`, so that nothing here knows an app.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import connection
from django.db.models import Case, Value, When

from nyxcore import health, sweep
from nyxcore.dbtime import ago
from nyxcore.models import SweepState, Worker

SHOWN = 200  # running attempts in all
WORKERS = 100

_HELD = """
SELECT split_part(worker, '/', 1), kind, run_id, run_name, coalesce(item, ''), attempt_number, path, since,
       heartbeat_at, due_in_seconds < 0, count(*) OVER (PARTITION BY split_part(worker, '/', 1))
  FROM nyxcore_active WHERE level = 'attempt' AND status = 'running' ORDER BY since LIMIT %s
"""


@dataclass(frozen=True)
class Held:
    """One attempt that a worker runs."""

    kind: str
    run_pk: int
    run: str
    item: str
    number: int
    path: str
    since: datetime
    heartbeat_at: datetime | None
    overdue: bool


@dataclass(frozen=True)
class Process:
    """A worker process. `state`: lives, stopping, or gone."""

    name: str
    state: str
    threads: int | None = None  # None: nothing but what it holds tells of it
    started_at: datetime | None = None
    seen_at: datetime | None = None
    busy: int = 0
    holds: tuple[Held, ...] = ()


@dataclass(frozen=True)
class Queue:
    """What waits for a worker."""

    name: str
    depth: int
    oldest: datetime | None


@dataclass(frozen=True)
class Overview:
    """The page's content. `version` differs when what is shown does."""

    processes: tuple[Process, ...]
    queues: tuple[Queue, ...]
    last_pass: datetime | None
    late: bool  # the sweep has not passed for three intervals
    guard_until: datetime | None  # in the future, or None

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes if process.state != "gone"]

    @property
    def threads(self) -> int:
        return sum(process.threads or 0 for process in self.living)

    @property
    def busy(self) -> int:
        return sum(process.busy for process in self.living)

    @property
    def version(self) -> str:
        return hashlib.blake2b(repr(self).encode(), digest_size=9).hexdigest()


def overview() -> Overview:
    """Everything, by partial indexes and small tables: it may be asked for every other second."""
    queues = (Queue(target.name, *health.queue_of(target.attempts)) for target in sweep.TARGETS)
    return Overview(_processes(), tuple(queues), *_sweep())


def _processes() -> tuple[Process, ...]:
    """Those that live first; then the gone ones that still hold something, and the lately gone."""
    held, busy = _held()
    alive = When(seen_at__gt=ago(settings.NYXCORE_LEASE / 2), then=Value(True))
    rows = Worker.objects.annotate(alive=Case(alive, default=Value(False))).order_by("-alive", "-seen_at")
    known = [
        Process(
            row.name, ("stopping" if row.stopping else "lives") if row.alive else "gone", row.threads,
            row.started_at, row.seen_at, busy.get(row.name, 0), held.pop(row.name, ()),
        )
        for row in rows[:WORKERS]
    ]  # fmt: skip
    unknown = [Process(name, "gone", busy=busy[name], holds=holds) for name, holds in held.items()]
    return tuple(sorted(known + unknown, key=lambda one: (one.state == "gone", not one.holds, one.name)))


def _held() -> tuple[dict[str, tuple[Held, ...]], dict[str, int]]:
    """For each worker process what it runs (the longest first), and how much that is."""
    held: dict[str, tuple[Held, ...]] = {}
    busy: dict[str, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_HELD, [SHOWN])
        for worker, *values, count in cursor.fetchall():
            held[worker] = (*held.get(worker, ()), Held(*values))
            busy[worker] = count
    return held, busy


def _sweep() -> tuple[datetime | None, bool, datetime | None]:
    """(last pass, whether that is long ago, until when the guard holds)."""
    late = When(last_pass__lt=ago(3 * sweep.every()), then=Value(True))
    holds = When(guard_until__gt=ago(0), then="guard_until")
    state = SweepState.objects.annotate(
        late=Case(late, default=Value(False)), holds=Case(holds, default=None)
    )
    found = state.values_list("last_pass", "late", "holds").first()
    return found or (None, True, None)
