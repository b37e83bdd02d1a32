"""Valkey is a bell: it may lose, forge or refuse every message, freeze or be gone, and the work still flows."""

from __future__ import annotations

import time

import pytest

from tests.factories import make_workflow
from tests.processes.doorbells import FORGED, NOTHING, QUEUE, message
from tests.processes.tools import FAST, GRACE, ends, eventually, story
from workflows import services
from workflows.models import StepAttempt, Workflow

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

DEAF = {
    "NYXCORE_LEASE": "900",
    "NYXCORE_SWEEP_EVERY": "300",
}  # hears doorbells only: after its start it looks for nothing by itself


def test_a_started_workflow_runs_to_its_end_by_doorbells_alone(bus, web, start_worker):
    worker = start_worker(REDIS_URL=bus.url, **FAST, **DEAF)
    steps = [{"key": "a"}, {"key": "b"}, {"key": "c", "needs": ["a"]}, {"key": "d", "needs": ["b", "c"]}]
    workflow = make_workflow(steps, start=True)
    ends(workflow)
    assert sorted(story(workflow)) == [(key, "start", "completed", "") for key in "abcd"]
    assert "Task nyxcore.work" in worker.words()


def test_forged_and_damaged_doorbells_do_not_harm_the_worker(bus, web, start_worker):
    worker = start_worker(REDIS_URL=bus.url, **FAST, **DEAF)
    with bus.client() as client:
        client.lpush(QUEUE, *FORGED)
        eventually(lambda: not client.llen(QUEUE) or not worker.alive, what="until they are read")
    ends(make_workflow(start=True))
    assert worker.alive


def test_a_flush_with_fifty_steps_queued_loses_none(bus, web, start_worker):
    workflow = make_workflow([{"key": f"s{n}", "needs": []} for n in range(50)], start=True)
    with bus.client() as client:
        eventually(lambda: client.llen(QUEUE), what="for doorbells")
        client.flushall()
    start_worker(REDIS_URL=bus.url, **FAST)
    ends(workflow)
    assert StepAttempt.objects.count() == 50


def test_work_flows_while_valkey_is_away_and_doorbells_work_when_it_is_back(bus, web, start_worker):
    worker = start_worker(REDIS_URL=bus.url, **FAST)
    bus.kill()
    workflow = make_workflow(start=True)
    ends(workflow, seconds=5)
    bus.start()
    with bus.client() as client:
        client.lpush(QUEUE, message(NOTHING))
        eventually(lambda: client.llen(QUEUE) == 0, 20, "for the worker to listen again")
    assert worker.alive
    ends(make_workflow(start=True), seconds=5)


def test_a_worker_that_starts_while_valkey_is_away_works_and_ends(bus, web, start_worker):
    bus.kill()
    worker = start_worker(REDIS_URL=bus.url, wait=False, **FAST)
    ends(make_workflow(start=True))
    assert worker.end(GRACE + 8) == 0


def test_a_frozen_valkey_holds_nobody_up(bus, web, start_worker):
    start_worker(REDIS_URL=bus.url, **FAST)
    workflow = make_workflow()
    bus.freeze()
    asked = time.monotonic()
    services.start_workflow(workflow, by=workflow.owner)
    assert time.monotonic() - asked < 1
    ends(workflow, seconds=5)
    again = make_workflow()
    asked = time.monotonic()
    services.start_workflow(again, by=again.owner)
    assert time.monotonic() - asked < 1
    ends(again, seconds=5)
    assert Workflow.objects.filter(status="completed").count() == 2
