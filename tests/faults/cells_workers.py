"""Cells in which a worker dies, freezes, hangs, loses its pulse, or is told to end; and those of the model."""

from __future__ import annotations

import time

from django.db.models.functions import Now

from nyxcore.dbtime import ago
from tests.faults.bench import BOUND, DONE, HANDED_OVER, LOST_ONCE, Bench
from tests.faults.cells import cell, pair
from tests.faults.faults import FAULTS, sweep_at_once
from tests.faults.model import CUT, EMPTY, MIDDLE
from tests.faults.moments import Answered, Claimed, MidStream, Stored, sql
from tests.faults.stage import Stage
from tests.faults.system import GRACE, LEASE, SWEEP_EVERY, WORKERS
from tests.processes.model import Refusal
from tests.processes.servers import eventually


@cell(
    "C12",
    "worker killed",
    "right after the claim, before its first heartbeat",
    "known as lost in time; runs again, once",
)
def killed_after_the_claim(bench: Bench) -> None:
    stage = pair(bench, Claimed.name, "process killed")
    lost, _ = stage.moments[0].run.attempts(step__key="one").order_by("number")
    assert (lost.finished_at - lost.started_at).total_seconds() < BOUND


@cell(
    "C13",
    "worker killed",
    "in mid-stream",
    "a second attempt runs; the first keeps its text, its cost is an estimate",
)
def killed_in_mid_stream(bench: Bench) -> None:
    run, worker = bench.held_by_first()
    eventually(run.attempts(output__gt="").exists, 10, "for the saved text")
    worker.kill()
    bench.ends(run)
    bench.story(run, LOST_ONCE)
    lost, again = run.attempts(step__key="one").order_by("number")
    assert lost.output
    assert lost.cost_estimated
    assert lost.cost > 0
    assert not again.cost_estimated
    assert len(bench.model.of(run.mark("one"))) == 2


@cell("C14", "worker killed", "answer stored, its consequences not committed",
      "the sweep finishes it from the stored answer; the model is not asked again")  # fmt: skip
def killed_after_the_answer(bench: Bench) -> None:
    stage = pair(bench, Stored.name, "process killed")
    run = stage.moments[0].run
    assert len(bench.model.of(run.mark("one"))) == 1
    done = sql(
        "SELECT actor FROM nyxcore_auditentry WHERE model = 'stepattempt' AND row = %s", run.attempt().pk
    )
    assert done == [("sweep",)], done


@cell("C16", "all workers killed", "a step runs", "known as lost in time; the next worker runs it again")
def all_workers_killed(bench: Bench) -> None:
    run = bench.streaming()
    for name in WORKERS:
        bench.system.workers[name].kill()
    bench.lost(run)
    bench.system.start_worker(WORKERS[0])
    bench.ends(run)
    bench.story(run, LOST_ONCE)


@cell("C17", "killed for its memory, each time", "every attempt of a step",
      "the step fails as lost after two attempts, with the hint at memory; no loop")  # fmt: skip
def killed_every_time(bench: Bench) -> None:
    run = bench.run()
    bench.model.plan(run.mark("one"), MIDDLE, MIDDLE, MIDDLE)
    run.start()
    for calls in (1, 2):
        bench.held(run, calls=calls)
        holder = bench.system.holder(run.attempt().worker)
        holder.kill()
        bench.system.start_worker(holder.name)
    bench.ends(run, "failed")
    bench.story(run, [("start", "failed", "lost"), ("lost", "failed", "lost")])
    assert "memory" in run.person.get(run.path).text
    assert len(bench.model.of(run.mark("one"))) == 2


@cell("C18", "worker frozen past its lease, then awake", "the second attempt runs already",
      "the second attempt wins; the first writes no status and no result")  # fmt: skip
def late_worker_meets_the_second_attempt(bench: Bench) -> None:
    run, worker = bench.held_by_first()
    bench.model.plan(run.mark("one"), MIDDLE)
    first = bench.held(run)
    worker.freeze()
    bench.lost(run)
    second = bench.held(run, calls=2)
    first.release()
    assert first.ended.wait(5)
    worker.thaw()
    eventually(run.attempts(number=1, request_id=first.request_id).exists, 15, "for the late facts")
    assert run.story("one") == [("start", "failed", "lost"), ("lost", "running", "")]
    second.release()
    bench.ends(run)
    bench.story(run, LOST_ONCE)
    assert run.attempt().request_id == second.request_id


@cell("C19", "worker frozen past its lease, then awake", "the run has failed meanwhile",
      "it stays failed; what was paid for is kept; a person may go on")  # fmt: skip
def late_worker_meets_a_failed_run(bench: Bench) -> None:
    run, worker = bench.held_by_first()
    call = bench.held(run)
    worker.freeze()
    # Silent for very long: no new attempt by itself.
    run.attempts(status="running").update(due_at=ago(700), heartbeat_at=ago(700), started_at=ago(800))
    eventually(lambda: run.status() == "failed", BOUND, "for the run to fail")
    call.release()
    assert call.ended.wait(5)
    worker.thaw()
    eventually(run.attempts(request_id=call.request_id).exists, 15, "for the late facts")
    assert run.status() == "failed"
    bench.story(run, [("start", "failed", "stuck")])
    assert run.attempt().stop_reason == ""
    run.resume()
    bench.ends(run)


@cell("C20", "worker frozen for less than its lease", "running", "nothing happens; the same attempt ends")
def frozen_for_a_moment(bench: Bench) -> None:
    pair(bench, MidStream.name, "process frozen for a moment")


@cell("C21", "a step that lasts twenty-five minutes", "fifty sweeps, deploys of other workers, starts, page views",
      "never touched; it completes in its first attempt")  # fmt: skip
def long_but_alive(bench: Bench) -> None:
    run = bench.streaming()
    holder = bench.system.holder(run.attempt().worker)
    run.attempts(status="running").update(started_at=ago(1500), queued_at=ago(1500))
    sweep_at_once(threads=5, passes=10)
    (other,) = [name for name in WORKERS if name != holder.name]
    for _ in range(2):
        bench.restarted(other)
        fresh = bench.run("one")
        assert fresh.post("start").status == 302
        assert run.person.get(run.path).status == 200
        bench.ends(fresh)
    assert run.attempts(status="running", due_at__gt=Now()).exists()
    bench.held(run).release()
    bench.ends(run)
    bench.story(run, DONE)


@cell(
    "C22",
    "the pulse has died, the work goes on",
    "running",
    "swept in time; the late answer changes no status",
)
def pulse_dies(bench: Bench) -> None:
    bench.alone("tests.faults.beatless", NYXCORE_WORKER_THREADS="1")  # one call, so that it claims no other
    bench.warm()
    run = bench.streaming()
    first = bench.held(run)
    bench.lost(run)
    bench.system.start_worker(WORKERS[1]).await_up()
    first.release()
    eventually(run.attempts(number=1, request_id=first.request_id).exists, 15, "for the late facts")
    assert run.story("one")[0] == ("start", "failed", "lost")
    bench.ends(run)
    assert run.story("one")[-1][1] == "completed"


@cell("C23", "the call hangs, the heartbeat goes on", "a connection without data",
      "the deadline of the step ends it; a person goes on")  # fmt: skip
def call_hangs(bench: Bench) -> None:
    pair(bench, MidStream.name, "model silent")


@cell("C24", "SIGTERM, and a step that outlasts the grace time", "in mid-stream",
      "handed over in time at no cost to its tries; it completes elsewhere")  # fmt: skip
def handed_over(bench: Bench) -> None:
    run, worker = bench.held_by_first()
    asked = time.monotonic()
    assert worker.end(GRACE + 8) == 0
    assert time.monotonic() - asked < GRACE + 6
    bench.ends(run)
    bench.story(run, HANDED_OVER)


@cell(
    "C38",
    "cancelled",
    "its worker lives; its worker is dead",
    "both are cancelled at once; the living call ends within seconds",
)
def cancelled_alive_and_dead(bench: Bench) -> None:
    dead, worker = bench.held_by_first()
    worker.kill()
    alive = bench.streaming()
    call = bench.held(alive)
    for run in (alive, dead):
        assert run.post("cancel").status == 302
        assert run.status() == "cancelled"
        bench.story(run, [("start", "cancelled", "user")])
    asked = time.monotonic()
    eventually(lambda: call.hung_up_at, 10, "for the worker to hang up")
    assert time.monotonic() - asked < 5
    time.sleep(LEASE + SWEEP_EVERY)  # the sweep has looked at the dead one by now
    assert dead.status() == "cancelled"


@cell("C39", "the provider refuses, cuts or says nothing, again and again", "running",
      "counted tries with growing pauses, then failed with the provider's reason")  # fmt: skip
def provider_fails(bench: Bench) -> None:
    scripts = {"rate_limited": [Refusal(429)], "overloaded": [Refusal(529)], "transport": [*MIDDLE[:3], *CUT]}
    runs = {reason: bench.run("one") for reason in scripts}
    for reason, run in runs.items():
        bench.model.plan(run.mark("one"), *[scripts[reason]] * 5)
        run.start()
    for tries in range(1, 5):
        for run in runs.values():
            _next_try(bench, run, tries)
    for reason, run in runs.items():
        bench.ends(run, "failed")
        assert [told[1:] for told in run.story("one")] == [("failed", reason)] * 5, run.story("one")
        assert {told[0] for told in run.story("one")[1:]} == {"backoff"}
        assert len(bench.model.of(run.mark("one"))) == 5


def _next_try(bench: Bench, run: object, tries: int) -> None:
    """Wait for that many failures, and bring the next try forward."""
    attempts = run.attempts  # type: ignore[attr-defined]
    waits = attempts(status="pending", number=tries + 1)
    eventually(lambda: waits.exists() or attempts(number=tries + 2).exists(), 20, f"for try {tries + 1}")
    waits.update(queued_at=ago(1))


@cell(
    "C40",
    "the provider answers 200 with nothing in it",
    "the last step",
    "failed with a reason, never completed without text",
)
def empty_answers(bench: Bench) -> None:
    run = bench.run("one")
    bench.model.plan(run.mark("one"), *[EMPTY, CUT] * 3)
    run.start()
    for tries in range(1, 5):
        _next_try(bench, run, tries)
    bench.ends(run, "failed")
    assert not run.attempts(status="completed").exists()
    assert run.attempt().error


@cell("C35", "clocks two hours off", "any", "no effect: only the database's clock counts")
def wrong_clocks(bench: Bench) -> None:
    stage = Stage(bench.system, FAULTS["clocks off by two hours"], [MidStream, Answered, Claimed])
    problems = [problem for outcome in stage.play() for problem in outcome.problems]
    bench.runs.extend(moment.run for moment in stage.moments)
    assert not problems, "; ".join(problems)
