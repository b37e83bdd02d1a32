"""Cells in which PostgreSQL goes away, comes back, refuses, fills up, or answers into a cut line."""

from __future__ import annotations

import signal
import threading
import time

from django.db import connection

from tests.faults.bench import DONE, LOST_ONCE, Bench, NotHere
from tests.faults.cells import cell, pair
from tests.faults.gates import Gate, Held
from tests.faults.model import MIDDLE
from tests.faults.moments import Answered, MidStream, Stored
from tests.faults.system import LEASE, PATIENCE, WORKERS
from tests.processes.model import HOLD, Refusal
from tests.processes.servers import eventually

BACK_WITHIN = 8.0  # s after PostgreSQL answers again


@cell(
    "C26",
    "PostgreSQL restarted at once",
    "between two heartbeats",
    "the worker reconnects; the same attempt ends",
)
def restarted_between_beats(bench: Bench) -> None:
    run = bench.streaming()
    bench.system.database.stop(signal.SIGQUIT)
    connection.close()
    bench.system.database.start()
    bench.held(run).release()
    bench.ends(run)
    bench.story(run, DONE)


@cell("C27", "PostgreSQL killed", "while an answer is stored, while a step is finished",
      "the answer waits in the worker and is stored once; the model is not asked again")  # fmt: skip
def killed_at_the_finish(bench: Bench) -> None:
    for moment in (Answered, Stored):
        stage = pair(bench, moment.name, "PostgreSQL killed")
        assert len(bench.model.of(stage.moments[0].run.mark("one"))) == 1


@cell("C28", "PostgreSQL down for longer than two leases", "ten living steps and one of a dead worker",
      "the ten go on; the dead one is known as lost a lease later")  # fmt: skip
def outage_of_two_leases(bench: Bench) -> None:
    bench.system.workers[WORKERS[0]].freeze()
    dead = bench.streaming("one")
    bench.system.workers[WORKERS[0]].thaw()
    bench.system.workers[WORKERS[1]].freeze()
    keys = ("one", *(f"s{number}" for number in range(9)))
    living = bench.run(*keys, parallel=True)
    for key in keys:
        bench.model.plan(living.mark(key), MIDDLE)
    living.start()
    for key in keys:
        bench.held(living, key)
    bench.system.workers[WORKERS[1]].kill()
    bench.system.database.stop(signal.SIGINT)
    time.sleep(2 * LEASE + 0.5)
    connection.close()
    bench.system.database.start()
    bench.lost(dead)
    for key in keys:
        bench.held(living, key).release()
    bench.ends(living)
    bench.ends(dead)
    assert all(living.story(key) == DONE for key in keys), bench.told(living)
    bench.story(dead, LOST_ONCE)


@cell("C29", "the commit succeeds, its reply is lost", "a step is finished",
      "the worker finds its own work done and goes on; nothing happens twice")  # fmt: skip
def reply_of_the_commit_lost(bench: Bench) -> None:
    bench.system.workers[WORKERS[1]].freeze()
    run = bench.run("one", "two", "three")
    gate = Held(bench.system.database.url, Gate.FINISHED, run.pk)
    run.start()
    eventually(gate.waiting, PATIENCE, "for the finish")
    link = bench.system.to_database[WORKERS[0]]
    link.stall(up=False)
    gate.open()
    eventually(lambda: run.story("one") == DONE, 10, "for the commit")
    link.cut()
    link.heal()
    bench.system.workers[WORKERS[1]].thaw()
    bench.ends(run)
    assert all(run.story(key) == DONE for key in run.keys), bench.told(run)
    assert all(len(bench.model.of(run.mark(key))) == 1 for key in run.keys)


@cell("C30", "PostgreSQL has no connection to spare", "a step that fails",
      "the failure is stored when there is one again, with its reason")  # fmt: skip
def failure_without_a_connection(bench: Bench) -> None:
    run = bench.streaming("one", script=[HOLD, Refusal(400)])
    bench.system.database.allow_connections(False)
    bench.held(run).release()
    time.sleep(0.8)
    bench.system.database.allow_connections(True)
    bench.ends(run, "failed")
    bench.story(run, [("start", "failed", "bad_request")])


@cell(
    "C42",
    "the disk is full",
    "while a result is written",
    "no half result; it is stored when there is room again",
)
def full_disk(bench: Bench) -> None:
    if bench.system.no_disk:
        raise NotHere(bench.system.no_disk)
    for moment in (MidStream, Answered, Stored):
        pair(bench, moment.name, "disk full")


@cell("C45", "PostgreSQL away for a while, then back", "every process has a pool of idle connections",
      "pages and workers are back within seconds: no dead connection is handed out one after the other")  # fmt: skip
def pools_of_dead_connections(bench: Bench) -> None:
    wrong = []
    for outage in (0.0, 17.0):
        run = bench.run("one", *(f"s{number}" for number in range(19)), parallel=True)
        run.start()
        viewers = [threading.Thread(target=run.person.get, args=[run.path]) for _ in range(20)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join()
        bench.ends(run)
        again = bench.streaming("one")
        bench.system.database.stop(signal.SIGQUIT)
        connection.close()
        end = time.monotonic() + outage
        while time.monotonic() < end:
            run.person.get(run.path)  # people try
        bench.system.database.start()
        back = time.monotonic()
        bench.held(again).release()
        answers = []
        while answers[-3:] != [200] * 3 and time.monotonic() - back < 60:
            answers.append(run.person.get(run.path).status)
        page_after = time.monotonic() - back
        bench.ends(again)
        step_after = time.monotonic() - back
        bench.story(again, DONE)
        told = (
            f"after {outage:g} s away: pages {answers} in {page_after:.1f} s, the step in {step_after:.1f} s"
        )
        if answers.count(500) > 1 or max(page_after, step_after) > BACK_WITHIN:
            wrong.append(told)
    assert not wrong, "; ".join(wrong)
