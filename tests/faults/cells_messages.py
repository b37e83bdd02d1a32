"""Cells around the start of a run, the doorbells, Valkey, the web process and the pages."""

from __future__ import annotations

import threading
import time
from typing import Any

from django.db import connection

from tests.faults.bench import DONE, Bench
from tests.faults.cells import cell, pair
from tests.faults.gates import Gate, Held
from tests.faults.moments import Committed, Rung
from tests.faults.person import Asking, Listening
from tests.faults.system import WORKERS
from tests.processes.doorbells import NOTHING, OTHER_VERSIONS, QUEUE, message
from tests.processes.servers import eventually

ANSWERS_WITHIN = 8.0  # s


@cell("C1", "web killed", "after the rows are written, before they are committed",
      "nothing was started, and the same start works when it is asked for again")  # fmt: skip
def web_dies_in_the_start(bench: Bench) -> None:
    run = bench.run()
    gate = Held(bench.system.database.url, Gate.STARTED, run.pk)
    asking = Asking(run.person, f"{run.path}start/")
    eventually(gate.waiting, 10, "for the start")
    bench.system.process("web").kill()
    bench.system.database.cut("web")
    gate.open()
    assert asking.result().status == 0
    assert (run.status(), run.attempts().count()) == ("pending", 0)
    bench.system.start_web().await_up()
    assert run.post("start").status == 302
    bench.ends(run)
    bench.story(run, DONE)


@cell(
    "C2", "web killed", "after the commit, before the doorbell", "a worker finds the row; the run completes"
)
def web_dies_before_the_doorbell(bench: Bench) -> None:
    for worker in bench.system.workers.values():
        worker.freeze()
    bench.system.bus.freeze()
    run = bench.run()
    assert run.post("start").status == 302
    bench.system.process("web").kill()
    bench.system.bus.thaw()
    for worker in bench.system.workers.values():
        worker.thaw()
    bench.ends(run)
    bench.story(run, DONE)


@cell(
    "C3",
    "Valkey down",
    "when the doorbell is rung",
    "the start is answered in time, the run completes without it",
)
def valkey_down_at_the_start(bench: Bench) -> None:
    bench.system.bus.kill()
    _start_in_time(bench)
    bench.system.bus.start()
    _start_in_time(bench)


@cell("C4", "Valkey frozen", "when the doorbell is rung", "as when it is down; no request waits for it")
def valkey_frozen_at_the_start(bench: Bench) -> None:
    bench.system.bus.freeze()
    _start_in_time(bench)
    _start_in_time(bench)


def _start_in_time(bench: Bench) -> None:
    run = bench.run()
    answer = run.post("start")
    assert answer.status == 302, answer
    assert answer.seconds < ANSWERS_WITHIN, f"the start took {answer.seconds:.1f} s"
    bench.ends(run)
    bench.story(run, DONE)


@cell("C5", "Valkey flushed", "fifty steps queued", "all of them run, each once")
def flush_with_fifty_queued(bench: Bench) -> None:
    keys = [f"s{number}" for number in range(50)]
    for worker in bench.system.workers.values():
        worker.freeze()
    run = bench.run(*keys, parallel=True)
    run.start()
    with bench.system.bus.client() as client:
        eventually(lambda: client.llen(QUEUE), 10, "for doorbells")
        client.flushall()
    for worker in bench.system.workers.values():
        worker.thaw()
    bench.ends(run)
    assert all(run.story(key) == DONE for key in keys), bench.told(run)


@cell("C6", "Valkey killed, and it keeps nothing", "one step running, three queued",
      "the running one ends once, the others are found and run")  # fmt: skip
def valkey_dies_with_work_queued(bench: Bench) -> None:
    running = bench.streaming()
    for worker in bench.system.workers.values():
        worker.freeze()
    queued = [bench.run() for _ in range(3)]
    for run in queued:
        run.start()
    bench.system.bus.kill()
    for worker in bench.system.workers.values():
        worker.thaw()
    bench.held(running).release()
    for run in (running, *queued):
        bench.ends(run)
        bench.story(run, DONE)
    bench.system.bus.start()


@cell("C7", "Valkey restarted six times", "idle workers", "they hear doorbells again and none has ended")
def valkey_bounces(bench: Bench) -> None:
    before = {name: worker.pid for name, worker in bench.system.workers.items()}
    for _ in range(6):
        bench.system.bus.kill()
        bench.system.bus.start()
    _heard(bench)
    assert {name: worker.pid for name, worker in bench.system.workers.items()} == before
    assert all(worker.alive for worker in bench.system.workers.values())


def _heard(bench: Bench) -> None:
    """A doorbell is taken from the queue by somebody."""
    with bench.system.bus.client() as client:
        client.lpush(QUEUE, message(NOTHING))
        eventually(lambda: client.llen(QUEUE) == 0, 60, "for a worker to listen again")


@cell("C8", "black hole to Valkey", "while workers wait for doorbells",
      "work flows without doorbells, and they are heard again when the network is back")  # fmt: skip
def black_hole_to_valkey(bench: Bench) -> None:
    for proxy in bench.system.to_bus.values():
        proxy.stall()
    run = bench.run()
    run.start()
    bench.ends(run)
    bench.story(run, DONE)
    for proxy in bench.system.to_bus.values():
        proxy.cut()
        proxy.heal()
    _heard(bench)


@cell("C9", "doorbells doubled", "before and during the claim", "one attempt; the others find nothing to do")
def doubled_doorbells(bench: Bench) -> None:
    run = bench.run()
    with bench.system.bus.client() as client:
        client.lpush(QUEUE, *[message(NOTHING)] * 30)
        run.start()
        client.lpush(QUEUE, *[message(NOTHING)] * 30)
    bench.ends(run)
    bench.story(run, DONE)


@cell("C10", "old doorbells of a run that has ended", "any", "no row changes")
def old_doorbells(bench: Bench) -> None:
    run = bench.run()
    run.start()
    bench.ends(run)
    before = list(run.attempts().order_by("pk").values())
    with bench.system.bus.client() as client:
        client.lpush(QUEUE, *OTHER_VERSIONS, *[message(NOTHING)] * 5)
        eventually(lambda: client.llen(QUEUE) == 0, 20, "for the doorbells to be taken")
    assert list(run.attempts().order_by("pk").values()) == before
    assert all(worker.alive for worker in bench.system.workers.values())


@cell(
    "C11",
    "worker killed",
    "before the claim",
    "the step stays queued and runs elsewhere, by its first attempt",
)
def killed_before_the_claim(bench: Bench) -> None:
    for moment in (Committed, Rung):
        pair(bench, moment.name, "process killed")


@cell(
    "C15",
    "worker killed",
    "after the commit, before its hints leave",
    "the step is completed, and its page says so",
)
def killed_before_the_hint(bench: Bench) -> None:
    run, worker = bench.held_by_first("one")
    bench.system.bus.freeze()  # hints stay in the worker
    bench.held(run).release()
    eventually(lambda: run.status() == "completed", 20, "for the commit")
    worker.kill()
    bench.system.bus.thaw()
    page = run.person.get(run.path)
    assert page.status == 200
    assert 'data-status="completed"' in page.text
    assert 'data-status="running"' not in page.text
    bench.story(run, DONE)


@cell(
    "C36",
    "browser closes its tab, the stream is cut",
    "running",
    "the run goes on; the page is right when opened again",
)
def tab_closed(bench: Bench) -> None:
    run = bench.streaming()
    stream = Listening(bench.system, run.user, f"workflow-{run.pk}")
    eventually(lambda: "event: hello" in stream.said, 10, "for the stream")
    stream.hang_up()
    bench.held(run).release()
    bench.ends(run)
    bench.story(run, DONE)
    assert 'data-status="completed"' in run.person.get(run.path).text


@cell(
    "C37",
    "Valkey away and back",
    "a stream is open",
    "the stream says so, then tells its page to compare, and hears again",
)
def valkey_away_with_a_stream(bench: Bench) -> None:
    run = bench.streaming()
    stream = Listening(bench.system, run.user, f"workflow-{run.pk}")
    eventually(lambda: "event: hello" in stream.said, 10, "for the stream")
    bench.system.bus.kill()
    eventually(
        lambda: "event: away" in stream.said,
        20,
        f"for the stream to say that it is deaf: {stream.said[-500:]}",
    )
    bench.system.bus.start()
    eventually(lambda: "event: resync" in stream.said, 30, "for the page to be told to compare")
    before = stream.said.count("event: hint")
    bench.held(run).release()
    bench.ends(run)
    eventually(lambda: stream.said.count("event: hint") > before, 20, "for hints as before")
    stream.hang_up()


@cell(
    "C41",
    "twenty starts at once",
    "start",
    "one is accepted, nineteen are refused; one run, one first attempt",
)
def twenty_starts(bench: Bench) -> None:
    run = bench.run()
    ready = threading.Barrier(20)
    answers: list[Any] = []

    def start() -> None:
        ready.wait()
        answers.append(run.post("start").status)

    askers = [threading.Thread(target=start) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(answers) == [302] + [409] * 19, answers
    bench.ends(run)
    bench.story(run, DONE)


@cell("C43", "rows and messages of another version", "deploy",
      "old doorbells are understood or dropped; a row that nobody understands fails with its reason")  # fmt: skip
def version_skew(bench: Bench) -> None:
    with bench.system.bus.client() as client:
        client.lpush(QUEUE, *OTHER_VERSIONS)
    fine, later, strange = bench.run(), bench.run("one"), bench.run("one")
    with connection.cursor() as cursor:
        change = "UPDATE workflows_step SET {} WHERE workflow_id = %s"
        cursor.execute(change.format("config = config || '{\"of_a_later_version\": 1}'"), [later.pk])
        cursor.execute(change.format("kind = 'of_a_later_version'"), [strange.pk])
    for run in (fine, later, strange):
        run.start()
    bench.ends(fine)
    for run in (later, strange):
        bench.ends(run, "failed", 15)
        (told,) = run.story("one")
        assert told[1] == "failed", told
        assert told[2] in ("internal", "prompt", "bad_request"), told
        assert "of_a_later_version" in run.attempt().error, run.attempt().error
    time.sleep(0)
    assert all(bench.system.workers[name].alive for name in WORKERS)
