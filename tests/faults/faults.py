"""What can be done to a running system. Each fault says what it does, how it ends, and what it costs a run.

`kind` chooses the row in the table of expected ends (matrix.py).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.db import connection

from nyxcore import sweep
from tests.faults.model import CUT, SLOW
from tests.faults.moments import sql
from tests.faults.person import Listening
from tests.faults.system import LEASE, WORKERS
from tests.processes.doorbells import FORGED, NOTHING, OTHER_VERSIONS, QUEUE, message
from tests.processes.model import Refusal
from tests.processes.servers import eventually

if TYPE_CHECKING:
    from tests.faults.stage import Stage

Deed = Callable[["Stage"], None]


def nothing(stage: Stage) -> None:
    """Nothing is to be done."""


@dataclass(frozen=True)
class Fault:
    name: str
    kind: str
    do: Deed
    heal: Deed = nothing
    before: Deed = nothing  # before the runs are brought to their moments
    rest: Sequence[Any] | None = None  # what the model sends in place of the rest of its answers
    silent: bool = False  # the model sends nothing more at all
    config: dict[str, Any] = field(default_factory=dict)  # of the steps
    one_worker: bool = False  # the moments are to be with one worker, so that it can be harmed


# --- a process ------------------------------------------------------------------------------------


def kill(stage: Stage) -> None:
    """As the kernel does when memory is out; what it had asked the database for dies with it."""
    stage.process.kill()
    if not stage.rng_says("its last statement is still done", 0.3):
        stage.system.database.cut(stage.victim)


def start_again(stage: Stage) -> None:
    """As the supervisor does."""
    if stage.victim == "web":
        stage.system.start_web()
    elif stage.victim in WORKERS:
        stage.system.start_worker(stage.victim)


def tell_to_end(stage: Stage) -> None:
    stage.process.terminate()


def outlast(stage: Stage) -> None:
    """SIGTERM, and calls that go on past the grace time: they are cut."""
    stage.process.terminate()
    stage.open_gates()
    for call in stage.calls_of_victim():
        eventually(lambda call=call: call.ended.is_set(), 15, "for the worker to hang up")


def see_it_end(stage: Stage) -> None:
    code = stage.process.child.wait(30)
    # A web server ends by the signal it was sent, once it has closed everything.
    assert code in (0, -signal.SIGTERM), f"{stage.victim} ended with {code}"
    start_again(stage)


def sleep_past_lease(stage: Stage) -> None:
    """SIGSTOP until others have taken all that it held; its late writes come after SIGCONT."""
    stage.process.freeze()
    stage.open_gates()
    stage.lease_over()


def nap(stage: Stage) -> None:
    stage.process.freeze()
    time.sleep(LEASE / 4)
    stage.process.thaw()


def wake(stage: Stage) -> None:
    if stage.process.alive:
        stage.process.thaw()


def cut_off_from_database(stage: Stage) -> None:
    """A network that swallows everything between the process and PostgreSQL, for longer than a lease."""
    stage.system.to_database[stage.victim].stall()
    stage.open_gates()
    stage.lease_over()


def reach_database_again(stage: Stage) -> None:
    stage.system.to_database[stage.victim].heal()


def power_off(stage: Stage) -> None:
    stage.system.power_off()


def power_on(stage: Stage) -> None:
    stage.system.power_on()


# --- Valkey ---------------------------------------------------------------------------------------


def kill_bus(stage: Stage) -> None:
    stage.system.bus.kill()


def start_bus(stage: Stage) -> None:
    stage.system.bus.start()


def flush_bus(stage: Stage) -> None:
    with stage.system.bus.client() as client:
        client.flushall()


def freeze_bus(stage: Stage) -> None:
    stage.system.bus.freeze()


def thaw_bus(stage: Stage) -> None:
    stage.system.bus.thaw()


def swallow_bus(stage: Stage) -> None:
    for proxy in stage.system.to_bus.values():
        proxy.stall()


def bus_again(stage: Stage) -> None:
    for proxy in stage.system.to_bus.values():
        proxy.heal()


def doorbells(stage: Stage) -> None:
    """Doubled, in any order, of other versions, forged, damaged."""
    bells = [*FORGED, *OTHER_VERSIONS, *[message(NOTHING)] * 20]
    stage.rng.shuffle(bells)
    with stage.system.bus.client() as client:
        client.lpush(QUEUE, *bells)


# --- PostgreSQL -----------------------------------------------------------------------------------


def restart_database(stage: Stage) -> None:
    stage.system.database.stop(stage.rng.choice((signal.SIGINT, signal.SIGQUIT)))


def kill_database(stage: Stage) -> None:
    stage.system.database.kill()


def start_database(stage: Stage) -> None:
    connection.close()
    stage.system.database.start()


def cut_all(stage: Stage) -> None:
    stage.system.database.cut()


def no_connection(stage: Stage) -> None:
    stage.system.database.allow_connections(False)


def connections_again(stage: Stage) -> None:
    time.sleep(0.5)  # some tries have to fail
    stage.system.database.allow_connections(True)


def fill_disk(stage: Stage) -> None:
    stage.system.fill_disk()


def empty_disk(stage: Stage) -> None:
    time.sleep(0.7)  # some writes have to fail
    stage.system.empty_disk()
    if not stage.system.database.server.is_up() or not stage.system.database.alive:
        connection.close()
    if not stage.system.database.alive:
        stage.system.database.start()


def slow_database(stage: Stage) -> None:
    for proxy in stage.system.to_database.values():
        proxy.delay = 0.04


def quick_database(stage: Stage) -> None:
    for proxy in stage.system.to_database.values():
        proxy.heal()


# --- web and the model ----------------------------------------------------------------------------


def kill_web(stage: Stage) -> None:
    stage.streams = [
        Listening(stage.system, moment.run.user, f"workflow-{moment.run.pk}") for moment in stage.moments
    ]
    for stream in stage.streams:
        eventually(lambda stream=stream: "event: hello" in stream.said, 10, "for the stream")
    stage.system.process("web").kill()
    stage.system.database.cut("web")


def start_web(stage: Stage) -> None:
    stage.system.start_web().await_up()
    for moment in stage.moments:
        page = moment.run.person.get(moment.run.path)
        assert page.status == 200, f"the page of the run answers {page.status} after the web server's death"


def model_down(stage: Stage) -> None:
    stage.system.to_model.refuse()
    stage.system.to_model.cut()
    stage.open_gates()
    stage.failed_once()


def model_up(stage: Stage) -> None:
    stage.system.to_model.heal()


def until_deadline(stage: Stage) -> None:
    """The model sends nothing more: the deadline of the step ends the call."""
    stage.open_gates()
    stage.failed_once(20)


# --- clocks and sweeps ----------------------------------------------------------------------------


def skewed_workers(stage: Stage) -> None:
    """One clock two hours ahead, one behind."""
    for name, skew in zip(WORKERS, ("7200", "-7200"), strict=True):
        stage.system.dismiss(name)
        stage.system.start_worker(name, "tests.faults.skewed", NYXCORE_LAB_SKEW=skew)
    for worker in stage.system.workers.values():
        worker.await_up()


def kill_skewed(stage: Stage) -> None:
    """The one that is ahead dies; the other's clock must not make its leases look good or bad."""
    kill(stage)


def true_clocks(stage: Stage) -> None:
    for name in WORKERS:
        stage.system.dismiss(name)
        stage.system.start_worker(name)


def sweep_at_once(threads: int = 4, passes: int = 3) -> None:
    """That many sweepers, beside those of the processes."""
    ready = threading.Barrier(threads)

    def pass_over() -> None:
        try:
            ready.wait()
            for _ in range(passes):
                sweep.run_pass(force=True)
        finally:
            connection.close()

    sweepers = [threading.Thread(target=pass_over) for _ in range(threads)]
    for sweeper in sweepers:
        sweeper.start()
    for sweeper in sweepers:
        sweeper.join()


def many_sweeps(stage: Stage) -> None:
    sweep_at_once()


def sweep_against_finish(stage: Stage) -> None:
    """The leases are over in the very moment in which the answers arrive, and four sweepers look."""
    pks = [moment.run.pk for moment in stage.moments]
    sql(
        """UPDATE workflows_stepattempt SET due_at = clock_timestamp() - interval '1 ms'
            WHERE status = 'running' AND step_id IN (SELECT id FROM workflows_step WHERE workflow_id = ANY(%s))""",
        pks,
    )
    for moment in stage.moments:
        moment.let_answer()
    sweep_at_once()


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("process killed", "kill", kill, start_again, one_worker=True),
        Fault("process told to end, in time", "calm", tell_to_end, see_it_end, one_worker=True),
        Fault("process told to end, out of time", "forced", outlast, see_it_end, one_worker=True),
        Fault("process frozen past its lease", "freeze", sleep_past_lease, wake, one_worker=True),
        Fault("process frozen for a moment", "calm", nap, wake, one_worker=True),
        Fault(
            "process cut off from PostgreSQL", "freeze", cut_off_from_database, reach_database_again,
            one_worker=True,
        ),
        Fault("machine off and on", "power", power_off, power_on),
        Fault("Valkey killed", "calm", kill_bus, start_bus),
        Fault("Valkey flushed", "calm", flush_bus),
        Fault("Valkey frozen", "calm", freeze_bus, thaw_bus),
        Fault("Valkey behind a black hole", "calm", swallow_bus, bus_again),
        Fault("doorbells doubled, reordered, forged", "calm", doorbells),
        Fault("PostgreSQL restarted", "calm", restart_database, start_database),
        Fault("PostgreSQL killed", "calm", kill_database, start_database),
        Fault("all connections cut", "calm", cut_all),
        Fault("no connection to spare", "calm", no_connection, connections_again),
        Fault("disk full", "calm", fill_disk, empty_disk),
        Fault("PostgreSQL slow to reach", "calm", slow_database, quick_database),
        Fault("web killed with streams open", "calm", kill_web, start_web),
        Fault("model down", "model", model_down, model_up),
        Fault("model cuts its answer", "model", nothing, rest=CUT),
        Fault("model overloaded", "model", nothing, rest=[Refusal(529)]),
        Fault("model slow", "calm", nothing, rest=SLOW),
        Fault("model silent", "deadline", until_deadline, silent=True, config={"deadline": 5}),
        Fault(
            "clocks off by two hours", "kill", kill_skewed, true_clocks, before=skewed_workers, one_worker=True
        ),
        Fault("two sweeps at once", "calm", many_sweeps),
        Fault("sweep against the finish", "race", sweep_against_finish),
    )
}  # fmt: skip
