"""Cells of the sweep: killed in the middle, two at once, against a finish, and none at all but the page."""

from __future__ import annotations

import random
import threading
import time

from django.db import connection

from nyxcore.states import Reason
from tests.faults.bench import LOST_ONCE, Bench
from tests.faults.cells import cell, pair
from tests.faults.faults import sweep_at_once
from tests.faults.moments import Sweeping, sql
from tests.faults.system import LEASE, WORKERS
from tests.processes.servers import eventually
from tests.workflows import engine_helpers
from workflows import recovery
from workflows.models import StepAttempt

RACES = 200


@cell(
    "C31",
    "the sweeping process killed",
    "in the middle of its sweep",
    "its transaction is undone; the next sweep does it",
)
def sweeper_killed(bench: Bench) -> None:
    pair(bench, Sweeping.name, "process killed")


@cell(
    "C32",
    "two sweeps at once",
    "a hundred attempts of a dead worker",
    "each is ended once, with one entry in the audit",
)
def two_sweeps(bench: Bench) -> None:
    keys = [f"s{number}" for number in range(10)]
    runs = [bench.abandoned(*keys, parallel=True) for _ in range(10)]
    sweep_at_once(threads=6, passes=4)
    for run in runs:
        bench.ends(run)
        assert all(run.story(key) == LOST_ONCE for key in keys), bench.told(run)
    lost = list(
        StepAttempt.objects.filter(step__workflow__in=[run.pk for run in runs], reason="lost").values_list(
            "pk", flat=True
        )
    )
    entries = sql(
        "SELECT row, count(*) FROM nyxcore_auditentry WHERE model = 'stepattempt' AND row = ANY(%s) GROUP BY row",
        lost,
    )
    assert (len(lost), sorted(entries)) == (100, sorted((pk, 1) for pk in lost))


@cell(
    "C33",
    "a sweep against a finish",
    "in the same millisecond, two hundred times",
    "exactly one of them wins, and the run agrees",
)
def sweep_against_finish(bench: Bench) -> None:
    won = {"completed": 0, "failed": 0}
    rng = random.Random(33)
    for _ in range(RACES):
        run = bench.abandoned("one")
        attempt = StepAttempt.objects.select_related("step__workflow").get(step__workflow=run.pk)
        _race(
            lambda attempt=attempt: engine_helpers.finish(attempt, worker=attempt.worker),
            lambda attempt=attempt: recovery.RECOVERY.expire(attempt.pk, Reason.LOST),
            rng.uniform(-0.002, 0.004),
        )
        first = run.attempts(number=1).get()
        won[first.status] += 1
        assert run.attempts().count() == (1 if first.status == "completed" else 2), bench.told(run)
    for run in bench.runs:
        bench.ends(run)
    assert min(won.values()) > 0, f"no race: {won}"


def _race(finish: object, expire: object, lead: float) -> None:
    """Both in threads; `expire` gets that lead (s)."""
    failures: list[BaseException] = []

    def go(action: object, wait: float) -> None:
        try:
            time.sleep(max(wait, 0))
            action()  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - told by the other thread
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=pair) for pair in ((finish, lead), (expire, -lead))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


@cell(
    "C34",
    "no process sweeps",
    "a step of a dead worker",
    "opening the page of its run repairs it, at most a lease later",
)
def page_repairs(bench: Bench) -> None:
    for name in WORKERS:
        bench.system.dismiss(name)
    bench.system.process("web").kill()
    bench.system.start_web("tests.faults.sweepless:application").await_up()
    run = bench.abandoned("one")
    time.sleep(1.0)
    assert run.story("one") == [("start", "running", "")], "somebody else has swept"

    def opened() -> bool:
        """The first look finds that nobody has passed, and waits a lease for signs of life."""
        assert run.person.get(run.path).status == 200
        return run.story("one")[0] == ("start", "failed", "lost")

    eventually(opened, LEASE + 5, "for the repair")
    bench.system.process("web").kill()
    bench.system.start_worker(WORKERS[0])
    bench.ends(run)
    bench.story(run, LOST_ONCE)
