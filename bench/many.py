"""A million attempts in the table: how long a fair claim takes, and the sweep of a thousand lost ones."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from bench import rows
from nyxcore import sweep, thinning, workers
from nyxcore.dbtime import ago
from nyxcore.models import SweepState
from nyxcore.recovery import LAST_SIGN
from nyxcore.states import Status
from workflows import engine, recovery, runner
from workflows.models import StepAttempt, Workflow

STALE = 1_000
OWNERS = 100


def fill(owners: list[Any], attempts: int, queued: int) -> None:
    """So many ended attempts; a queue of the first owner, and one run of each other."""
    for _ in range(10):
        rows.fill(owners[0], max(1, attempts // 1000), "completed", attempts=10, age=86_400 * 30)
    rows.fill(owners[0], queued, "pending", steps=2)
    for owner in owners[1:]:
        rows.fill(owner, 1, "pending", steps=2, age=60)
    rows.analyze()


def measure(owners: list[Any], rounds: int) -> list[str]:
    """Lines of the report."""
    queued = StepAttempt.objects.filter(status="pending").count()
    counted = f"{StepAttempt.objects.count():,} attempts, {queued:,} queued"
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(owners[0])
    staff = Client(HTTP_HOST="127.0.0.1")
    staff.force_login(owners[-1])
    told = [
        f"{counted}:",
        _row("a fair claim", _times(lambda: runner.claim("bench:1"), rounds), "<= 5 ms"),
        _row("list page", _times(lambda: client.get(reverse("workflows:list")), rounds), "<= 200 ms"),
        _row("active page", _times(lambda: client.get("/active/"), rounds)),
        _row("figures for Prometheus", _times(lambda: client.get("/metrics"), rounds)),
        _row("workers", _times(workers.overview, rounds)),
        _row("a pass that finds nothing", _times(_idle_pass, 5)),
    ]
    return told + _sweep(owners[0], rounds) + [_thinning()]


def _thinning() -> str:
    """Thin all ended runs."""
    start = time.perf_counter()
    batches = list(thinning.thin(thinning.TEXTS["workflows"], 7))
    took = time.perf_counter() - start
    seconds = sorted(1000 * batch.seconds for batch in batches)
    return (
        f"  thin {sum(batch.attempts for batch in batches):,} attempts: {took:.0f} s in {len(batches):,} statements of"
        f" {statistics.median(seconds):.0f} ms, 99th of 100 {seconds[int(len(seconds) * 0.99)]:.0f} ms,"
        f" longest {seconds[-1]:.0f} ms (goal: none over 100 ms)"
    )


def _overdue() -> Any:
    """What a pass reads of the running rows without a sign of life."""
    return sweep.judged(sweep._within(recovery.SWEPT, sweep.Scope()).filter(status=Status.RUNNING))


def _sweep(owner: Any, rounds: int) -> list[str]:
    StepAttempt.objects.filter(status="running").update(due_at=ago(-3600))  # those claimed above live
    pks = rows.fill(owner, STALE, "running", steps=2, age=120)
    rows.analyze()
    found = [_ms(lambda: list(_overdue())) for _ in range(rounds)]
    stale = list(_overdue().values_list("pk", flat=True))
    keys = [_ms(lambda: list(_keys())) for _ in range(rounds)]
    locks, marks = [], []
    for _ in range(min(rounds, 10)):
        with transaction.atomic():
            locks.append(_ms(lambda: engine.lock_all_free(pks)))
            marks.append(_ms(lambda: _mark(stale)))
            transaction.set_rollback(True)
    with connection.cursor() as cursor:  # a server that has just begun is guarded for a lease
        cursor.execute(
            "SELECT pg_sleep(greatest(0, %s - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())))",
            [settings.NYXCORE_LEASE + 1],
        )
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(9), "guard_until": None})
    start, own = time.perf_counter(), time.process_time()
    lines = sweep.run_pass(force=True)
    took, own = time.perf_counter() - start, time.process_time() - own
    lost = sum(line.done.startswith("ended as lost") for line in lines)
    active = Workflow.objects.filter(pk__in=pks, status="running").count()
    assert (lost, active) == (STALE, STALE), (lost, active)
    return [
        _row(f"find {STALE:,} stale: the keys", keys),
        _row(f"find {STALE:,} stale: whole rows", found),
        _row(f"lock their {STALE:,} runs", locks),
        _row(f"mark {STALE:,} in one statement", marks, "<= 50 ms with the find"),
        f"  the pass that ends and settles all of them, a hundred runs locked at a time: {took:.2f} s,"
        f" {own:.2f} s of it in Python (goal <= 5 s)",
    ]


def _keys() -> Any:
    return _overdue().values_list("pk", flat=True)


def _mark(stale: list[int]) -> None:
    """The statement of the sweep, without the audit entries that follow it."""
    from nyxcore import states

    states._compare_and_swap(
        StepAttempt, stale, states.Status.RUNNING, states.Status.FAILED, states.Reason.LOST, {},
        {"error": LAST_SIGN, "reserved": None},
    )  # fmt: skip


def _idle_pass() -> None:
    sweep.run_pass(dry_run=True)


def _times(action: Callable[[], Any], rounds: int) -> list[float]:
    action()
    return [_ms(action) for _ in range(rounds)]


def _ms(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


def _row(name: str, times: list[float], goal: str = "") -> str:
    limits = f"{min(times):.1f}-{max(times):.1f}"
    return f"  {name}: {statistics.median(times):.1f} ms ({limits}){f' (goal {goal})' if goal else ''}"


def plan() -> str:
    """The plan of a claim, as it was run."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"EXPLAIN (ANALYZE, BUFFERS) {runner.QUEUE.query}",
            runner.QUEUE.values("w", paid=True, free=[]),
        )
        found = "\n".join(row[0] for row in cursor.fetchall())
        transaction.set_rollback(True)
    return found
