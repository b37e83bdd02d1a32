"""A long queue of one person, worked off by several worker processes, while another person starts one workflow."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count
from django.test import Client
from django.urls import reverse

from bench import engine, rows
from nyxcore.dbtime import since
from nyxcore.models import AuditEntry, SweepState
from workflows import services
from workflows.models import StepAttempt, Workflow

STEPS = 10


@dataclass
class Found:
    """What was seen while the queue was worked off."""

    runs: int
    seconds: float = 0.0
    memory: dict[int, list[float]] = field(default_factory=dict)  # MiB by process, one a sample
    sweep_ages: list[float] = field(default_factory=list)  # s since the last pass
    pages: list[float] = field(default_factory=list)  # ms of the list page, while every core is taken
    own: list[float] = field(default_factory=list)  # ms of processor time that it takes in this process
    at_rest: list[float] = field(
        default_factory=list
    )  # the same with all these rows, before the workers begin
    other_began: float = 0.0  # s after the start, the other person's workflow
    other_took: float = 0.0
    faults: list[str] = field(default_factory=list)


def measure(
    owner: Any,
    other: Any,
    runs: int,
    begin: Callable[[], list[int]],
    pss: Callable[[int], float],
    limit: float = 3600.0,
) -> Found:
    """Queue `runs` workflows of ten steps, let workers `begin` (their process ids), and watch until all have ended."""
    found = Found(runs)
    mine = rows.fill(owner, runs, "pending", steps=STEPS, age=60)
    rows.analyze()
    client = Client(HTTP_HOST="127.0.0.1")
    client.force_login(owner)
    found.at_rest = [_page(client)[0] for _ in range(12)][2:]  # the process has started up
    pids = begin()
    found.memory = {pid: [] for pid in pids}
    began, single, left = time.monotonic(), None, runs
    while left and time.monotonic() - began < limit:
        time.sleep(1)
        gone = time.monotonic() - began
        left = Workflow.objects.filter(owner=owner, status="running").count()
        for pid in pids:
            found.memory[pid].append(pss(pid))
        age = SweepState.objects.annotate(age=since("last_pass")).values_list("age", flat=True).first()
        found.sweep_ages.append(age or 0.0)
        clock, own = _page(client)
        found.pages.append(clock)
        found.own.append(own)
        if single is None and left <= runs / 2:
            single = engine.make(other)
            found.other_began = gone
            services.start_workflow(single, by=other)
        if single is not None and not found.other_took:
            single.refresh_from_db()
            if single.finished_at and single.started_at:
                found.other_took = (single.finished_at - single.started_at).total_seconds()
    found.seconds = time.monotonic() - began
    found.faults = list(_faults(mine, left))
    return found


def _page(client: Client) -> tuple[float, float]:
    """Milliseconds by the clock, and of processor time in this process."""
    start, own = time.perf_counter(), time.process_time()
    assert client.get(reverse("workflows:list")).status_code == 200
    return 1000 * (time.perf_counter() - start), 1000 * (time.process_time() - own)


def _faults(mine: list[int], left: int) -> Any:
    """Whatever is not as it should be: each run completed, each step tried once, nothing swept."""
    if left:
        yield f"{left} runs did not end"
    statuses = Workflow.objects.filter(pk__in=mine).order_by().values_list("status").annotate(n=Count("pk"))
    if dict(statuses) != {"completed": len(mine)}:
        yield f"runs: {dict(statuses)}"
    attempts = StepAttempt.objects.filter(step__workflow__in=mine).order_by()
    tried = dict(attempts.values_list("status").annotate(n=Count("pk")))
    if tried != {"completed": len(mine) * STEPS}:
        yield f"attempts: {tried}"
    swept = AuditEntry.objects.filter(actor="sweep").count()
    if swept:
        yield f"{swept} acts of the sweep"


def _fifths(sizes: list[float]) -> list[float]:
    edges = [len(sizes) * n // 5 for n in range(6)]
    return [statistics.median(sizes[a:b] or sizes) for a, b in itertools.pairwise(edges)]


def line(found: Found) -> str:
    """The report. Memory: the median of each fifth of the samples."""
    memory = ", ".join(" ".join(f"{size:.0f}" for size in _fifths(sizes)) for sizes in found.memory.values())
    pages = sorted(found.pages)
    return (
        f"{found.runs:,} x {STEPS} steps, {len(found.memory)} workers: {found.seconds:.0f} s,"
        f" {found.runs * STEPS / found.seconds:.0f} steps/s; faults: {'; '.join(found.faults) or 'none'}\n"
        f"  memory of each worker, PSS MiB, by fifths of the time: {memory}\n"
        f"  sweep: the last pass at most {max(found.sweep_ages):.1f} s ago (interval 10 s)\n"
        f"  list page: {statistics.median(found.at_rest):.0f} ms (goal <= 200 ms) before the workers begin; beside them"
        f" on all cores median {statistics.median(pages):.0f} ms, 95th of 100 {pages[int(len(pages) * 0.95)]:.0f} ms,"
        f" most {pages[-1]:.0f} ms; {statistics.median(found.own):.0f} ms of it processor time in this process\n"
        f"  another person's workflow, started after {found.other_began:.0f} s: done in {found.other_took:.2f} s,"
        f" while the queue took {found.seconds - found.other_began:.0f} s more"
    )
