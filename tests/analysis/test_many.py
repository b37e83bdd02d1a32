"""Many lost units: ended as one is, nothing hidden behind others, and the guard after an outage."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from analysis import engine, recovery, runner, services
from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore import pulse, sweep
from nyxcore.calls import CALLS, Call
from nyxcore.dbtime import ago, later
from nyxcore.models import AuditEntry, SweepState
from tests.analysis.engine_helpers import (
    WORKER,
    Scripted,
    begin,
    module,
    run_all,
    silence,
    take,
    units,
    write,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

MANY = sweep.FEW + 2
PARTS = {f"part{n}/code.py": module(f"part{n}", lines=40) for n in range(MANY + 2)}
SILENT = {"lost": 120.0, "stuck": 1200.0}


def passed(seconds: float = 9) -> None:
    """The last pass of the sweep was so long ago; no guard holds."""
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(seconds), "guard_until": None})


@pytest.fixture
def run(root: Path, model: Scripted, settings: Any) -> AnalysisRun:
    """A run whose first chunk has its answer, so that all others wait for a worker."""
    settings.NYXCORE_ANALYSIS_CHUNK = 700
    passed()
    begun = begin(write(root / "parts", PARTS))
    for _ in range(3):  # source, overview, the first chunk
        runner.run_attempt(take(), WORKER)
    return begun


def hold(count: int, worker: str = "dead:1") -> list[UnitAttempt]:
    """So many chunks in the middle of their calls."""
    held = [take(worker) for _ in range(count)]
    request = {"model": "practice", "prompt_tokens": 100}
    UnitAttempt.objects.filter(pk__in=[a.pk for a in held]).update(output="Half", request=request)
    return held


def lose(held: list[UnitAttempt], seconds: float = 120) -> None:
    for attempt in held:
        silence(attempt, seconds)


def sweep_now(reason: str = "lost") -> list[sweep.Found]:
    return [line for line in sweep.run_pass(scope=sweep.Scope()) if line.found == reason]


def story(attempt: UnitAttempt) -> list[Any]:
    """What must be the same, however many are ended at once."""
    rows = UnitAttempt.objects.filter(unit=attempt.unit_id).order_by("number")
    told = rows.values_list("status", "reason", "cause", "cost", "cost_estimated", "output", "reserved")
    error = rows[0].error.startswith("Worker dead:1 gave its last sign of life at 20")
    audit = AuditEntry.objects.filter(model="unitattempt", row=attempt.pk, actor="sweep")
    unit = Unit.objects.values_list("status", "reason").get(pk=attempt.unit_id)
    return [list(told), error, unit, list(audit.values_list("from_status", "to_status", "reason"))]


@pytest.mark.parametrize("reason", SILENT)
def test_many_end_as_one_does(run: AnalysisRun, reason: str) -> None:
    (alone,) = hold(1)
    lose([alone], SILENT[reason])
    (alike,) = [line.done for line in sweep_now(reason)]
    expected = story(alone)
    UnitAttempt.objects.filter(unit=alone.unit_id, status="pending").update(queued_at=later(60))
    together = hold(MANY)
    lose(together, SILENT[reason])
    assert [line.done for line in sweep_now(reason)] == [alike] * MANY
    assert expected[0][0][:2] == ("failed", reason)
    assert [story(attempt) for attempt in together] == [expected] * MANY


def test_many_lost_units_of_one_run_settle_it_once(run: AnalysisRun, monkeypatch: Any) -> None:
    held = hold(MANY)
    settled: list[int] = []
    settle = engine.settle
    monkeypatch.setattr(engine, "settle", lambda run, **kw: (settled.append(run.pk), settle(run, **kw)))
    done = recovery.RECOVERY.expire_together([attempt.pk for attempt in held])
    assert (done, settled) == ({}, []), "they live"
    lose(held)
    done = recovery.RECOVERY.expire_together([attempt.pk for attempt in held])
    assert (len(done), settled) == (MANY, [run.pk])


def test_after_the_loss_of_a_machine_the_run_comes_to_its_end(run: AnalysisRun, model: Scripted) -> None:
    lose(hold(MANY))
    sweep_now()
    run_all()
    run.refresh_from_db()
    assert (run.status, run.gaps, len(model.asked("chunk"))) == ("completed", [], len(PARTS))


def test_stored_answers_among_many_are_finished(run: AnalysisRun) -> None:
    held = hold(MANY)
    engine.write_facts(held[3].pk, "dead:1", {"output": '{"findings": []}', "stop_reason": "end_turn"})
    lose(held)
    sweep_now()
    for attempt in held:
        attempt.refresh_from_db()
    assert [a.status for a in held] == ["failed"] * 3 + ["completed"] + ["failed"] * (MANY - 4)


def test_a_unit_renewed_in_the_meantime_is_left_alone(run: AnalysisRun) -> None:
    held = hold(MANY)
    lose(held)
    UnitAttempt.objects.filter(pk=held[0].pk).update(due_at=later(60))
    done = recovery.RECOVERY.expire_together([attempt.pk for attempt in held])
    held[0].refresh_from_db()
    assert (set(done), held[0].status) == ({attempt.pk for attempt in held[1:]}, "running")


def test_a_run_that_somebody_holds_waits_for_the_next_pass(run: AnalysisRun) -> None:
    held = hold(MANY)
    lose(held)
    with pulse.connect() as other, other.transaction():
        other.execute("SELECT FROM analysis_analysisrun WHERE id = %s FOR UPDATE", [run.pk])
        assert {line.done for line in sweep_now()} == {"nothing: somebody else was first"}
    assert {line.done for line in sweep_now()} == {"ended as lost; a new attempt waits for a worker"}


def test_a_unit_whose_end_fails_holds_up_no_other(run: AnalysisRun, monkeypatch: Any) -> None:
    held = hold(MANY)
    lose(held)
    follow = engine.follow
    bad = held[5].unit_id

    def breaks(run: Any, attempt: Any, *rest: Any) -> str:
        if attempt.unit_id == bad:
            raise ValueError("cannot be ended")
        return follow(run, attempt, *rest)

    monkeypatch.setattr(engine, "follow", breaks)
    done = {line.row: line.done for line in sweep_now()}
    assert done.pop(f"attempt {held[5].pk}") == "failed: cannot be ended"
    assert set(done.values()) == {"ended as lost; a new attempt waits for a worker"}


def test_lost_units_of_a_paused_run_open_nothing(run: AnalysisRun) -> None:
    held = hold(MANY)
    services.pause_analysis(run, by=run.owner)
    lose(held)
    sweep_now()
    run.refresh_from_db()
    assert (run.status, UnitAttempt.objects.filter(unit__run=run).open().count()) == ("paused", 0)
    assert {unit.status for unit in units(run, "chunk")} == {"completed", "pending"}


def test_after_an_outage_of_two_leases_live_units_survive_and_the_dead_one_goes_a_lease_later(
    run: AnalysisRun,
) -> None:
    """Nobody could reach the database for that long, so every lease has passed; the pulse renews the living."""
    live, (dead,) = hold(MANY, "live:1"), hold(1)
    lose([*live, dead], 130)
    passed(130)
    assert {line.done for line in sweep.run_pass()} == {"left alone: the guard after an outage holds"}
    with ExitStack() as stack:
        for attempt in live:
            call = Call((runner.TABLE, attempt.pk), "c", "d", "live:1", deadline=1e12)
            stack.enter_context(CALLS.holding(call))
        pulse.Process(worker="live:1", threads=MANY)._beat(stack.enter_context(pulse.connect()))
    SweepState.objects.update(last_pass=ago(9), guard_until=ago(0))  # a lease later
    assert [line.row for line in sweep.run_pass()] == [f"attempt {dead.pk}"]
    running = UnitAttempt.objects.filter(status="running").order_by("pk")
    assert list(running) == live
