"""Cells of graceful change: all workers are replaced under load, a schema changes under load."""

from __future__ import annotations

import time

from tests.faults.bench import DONE, Bench
from tests.faults.cells import cell, pair
from tests.faults.model import rest
from tests.faults.moments import Migrating
from tests.faults.system import GRACE, WORKERS
from tests.nyxcore.llm.wire import block, start, text
from tests.processes.servers import eventually

STREAMS = 50
QUICK = [start(), block(), text("Word by word, "), *rest("this answer ends in time.", pause=0.1)]
LONG = [start(), block(), text("Word by word, "), *rest("this one does not. " * 20, pause=0.2)]


@cell("C25", "all workers replaced, one after the other", "fifty steps stream",
      "no step fails; only those beyond the grace time run again; each worker leaves in time")  # fmt: skip
def rolling_deploy(bench: Bench) -> None:
    runs = [bench.run("one") for _ in range(STREAMS)]
    long = runs[::5]
    for run in runs:
        bench.model.plan(run.mark("one"), LONG if run in long else QUICK)
    for run in runs:
        run.start()
    eventually(
        lambda: sum(len(bench.model.of(run.mark("one"))) for run in runs) == STREAMS, 30, "for the calls"
    )
    for name in WORKERS:
        old = bench.system.workers[name]
        asked = time.monotonic()
        old.terminate()
        bench.system.workers[f"old-{name}"] = old
        bench.system.start_worker(name).await_up()
        assert old.child.wait(GRACE + 12) == 0
        assert time.monotonic() - asked < GRACE + 12
        del bench.system.workers[f"old-{name}"]
    for run in runs:
        bench.ends(run)
    again = [run for run in runs if run.story("one") != DONE]
    assert set(again) <= set(long), [run.story("one") for run in again]
    reasons = {told[1:] for run in again for told in run.story("one")[:-1]}
    assert reasons <= {("cancelled", "handover")}, reasons


@cell(
    "C44", "a schema changes", "steps stream, runs start and end", "none waits for it, and the change arrives"
)
def migration_under_load(bench: Bench) -> None:
    pair(bench, Migrating.name, "two sweeps at once")
