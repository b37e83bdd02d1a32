"""Workers that are killed, frozen or cut off from PostgreSQL: the rows tell the truth, and no result comes twice."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection

from nyxcore import sweep
from nyxcore.dbtime import ago
from nyxcore.models import SweepState, Worker
from tests.factories import attempts_of, make_workflow, step_of
from tests.processes.model import BEGINNING, HELD, REST
from tests.processes.tools import (
    FAST,
    KNOWN_WITHIN,
    SLOW,
    cut_connections,
    database_url,
    ends,
    eventually,
    saved,
    status,
    story,
)
from tests.workflows.engine_helpers import claim, run_all, silence
from workflows import services
from workflows.models import StepAttempt, Workflow

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

ONE = [{"key": "one"}]
LOST_ONCE = [("one", "start", "failed", "lost"), ("one", "lost", "completed", "")]


def known_as_lost(attempt: StepAttempt) -> None:
    eventually(StepAttempt.objects.filter(pk=attempt.pk, status="failed", reason="lost").exists, KNOWN_WITHIN)


def test_a_killed_worker_is_known_as_lost_in_time_and_its_step_runs_again_once(web, start_worker):
    first = start_worker("first", **SLOW)
    workflow = make_workflow(ONE, start=True)
    attempt = saved()
    first.kill()
    known_as_lost(attempt)
    assert story(workflow) == [("one", "start", "failed", "lost"), ("one", "lost", "pending", "")]
    start_worker("second", **FAST)
    ends(workflow)
    assert story(workflow) == LOST_ONCE
    lost, again = attempts_of(workflow, "one")
    assert lost.output.startswith(attempt.output)
    assert (lost.stop_reason, lost.cost_estimated) == ("", True)
    assert attempt.worker in lost.error
    assert step_of(workflow, "one").output == again.output


def test_a_worker_that_slept_past_its_lease_adds_facts_but_no_result(web, asking, model):
    model.play(HELD)
    first = asking("first")
    workflow = make_workflow(ONE, start=True)
    attempt = saved(BEGINNING)
    first.freeze()
    known_as_lost(attempt)
    run_all("second")
    ends(workflow)
    call = model.held()
    call.release()
    assert call.ended.wait(5)
    first.thaw()
    eventually(lambda: attempts_of(workflow, "one")[0].request_id, what="for the late facts")
    late, again = attempts_of(workflow, "one")
    assert (late.status, late.reason, late.stop_reason, late.request_id) == (
        "failed",
        "lost",
        "",
        call.request_id,
    )
    assert late.output in (BEGINNING, BEGINNING + REST)
    assert late.cost > 0
    assert step_of(workflow, "one").output == again.output
    assert story(workflow) == LOST_ONCE
    assert first.alive


def test_after_twenty_minutes_without_a_worker_running_steps_are_stuck_and_pending_ones_run(start_worker):
    first = start_worker("first", **SLOW)
    running = make_workflow(ONE, start=True)
    attempt = saved()
    first.kill()
    waiting = make_workflow(ONE, start=True)
    silence(attempt, 1200)
    StepAttempt.objects.filter(status="pending").update(queued_at=ago(1200), due_at=ago(1100))
    SweepState.objects.update(last_pass=ago(1200))
    start_worker("second", **FAST)
    ends(waiting)
    ends(running, "failed")
    assert (step_of(running, "one").reason, Workflow.objects.get(pk=running.pk).reason) == ("stuck", "stuck")
    assert story(running) == [("one", "start", "failed", "stuck")]
    assert StepAttempt.objects.get(pk=attempt.pk).output
    services.resume_workflow(running, by=running.owner)
    ends(running)
    assert story(running) == [("one", "start", "failed", "stuck"), ("one", "retry", "completed", "")]


def test_a_fresh_worker_alone_sweeps_what_an_earlier_one_left(start_worker):
    workflow = make_workflow(ONE, start=True)
    silence(claim("gone:1"), 61)
    start_worker(**FAST)
    ends(workflow)
    assert story(workflow) == LOST_ONCE


def test_a_process_that_freezes_between_two_messages_of_its_sweep_leaves_no_lock(transactional_db):
    """Every other process has to be able to sweep then. Looked at from another connection after each message."""
    held: list[int] = []

    def look(execute, *query):
        found = execute(*query)
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = %s::oid"
        held.append(other.execute(locks, [database]).fetchone()[0])
        return found

    with psycopg.connect(database_url(), autocommit=True) as other:
        database = other.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()[
            0
        ]
        with connection.execute_wrapper(look):
            sweep.run_pass()
    assert held
    assert set(held) == {0}


def test_cuts_of_all_connections_in_mid_stream_and_at_the_end_cost_nothing(start_worker):
    worker = start_worker(NYXCORE_LLM="practice", NYXCORE_PRACTICE_SPEED="600")
    keys = ("one", "two", "three")
    workflow = make_workflow([{"key": key} for key in keys], start=True)
    running = StepAttempt.objects.filter(status="running")
    for key in keys:
        eventually(
            lambda key=key: status(workflow) != "running" or running.filter(step__key=key).exclude(output="")
        )
        assert cut_connections() > 0
    eventually(lambda: status(workflow) != "running" or running.exclude(stop_reason=""))
    cut_connections()
    ends(workflow)
    assert story(workflow) == [(key, "start", "completed", "") for key in keys]
    before = Worker.objects.get().seen_at
    eventually(lambda: Worker.objects.get().seen_at > before, what="for the next pulse")
    assert worker.alive
