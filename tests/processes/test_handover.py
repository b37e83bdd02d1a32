"""SIGTERM: a worker leaves in time with a clean exit, and what it could not finish goes on elsewhere."""

from __future__ import annotations

import os

import pytest

from nyxcore.models import Worker
from tests.factories import attempts_of, make_workflow, step_of
from tests.processes import deaf
from tests.processes.tools import FAST, GRACE, SLOW, ends, eventually, saved, status, story

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

ONE = [{"key": "one"}]
LEAVES_WITHIN = GRACE + 5  # s
HANDED_OVER = [("one", "start", "cancelled", "handover"), ("one", "handover", "completed", "")]


def test_a_step_in_mid_stream_is_handed_over_with_its_text_and_uses_no_try(web, start_worker):
    first = start_worker("first", **SLOW)
    workflow = make_workflow(ONE, start=True)
    text = saved().output
    start_worker("second", **FAST)
    assert first.end(LEAVES_WITHIN) == os.EX_OK
    ends(workflow)
    assert story(workflow) == HANDED_OVER
    left, again = attempts_of(workflow, "one")
    assert left.output.startswith(text)
    assert (left.cost_estimated, left.stop_reason, left.error) == (True, "", "")
    assert step_of(workflow, "one").output == again.output
    assert Worker.objects.count() == 1


def test_a_call_that_ends_within_the_grace_time_completes_and_nothing_new_is_claimed(start_worker):
    worker = start_worker(NYXCORE_LLM="practice", NYXCORE_PRACTICE_SPEED="300", NYXCORE_GRACE="30")
    workflow = make_workflow([{"key": "one"}, {"key": "two"}], start=True)
    saved()
    worker.terminate()
    eventually(Worker.objects.filter(stopping=True).exists, what="for the worker to say that it stops")
    assert status(workflow) == "running"
    assert worker.child.wait(20) == os.EX_OK
    assert story(workflow) == [("one", "start", "completed", ""), ("two", "start", "pending", "")]
    assert step_of(workflow, "one").output


def test_a_call_that_ignores_its_stop_signal_is_handed_over_from_outside(start_worker):
    first = start_worker("first", module=deaf.__name__, NYXCORE_LLM="practice")
    workflow = make_workflow(ONE, start=True)
    saved()
    assert first.end(LEAVES_WITHIN + 1) == os.EX_OK
    assert story(workflow) == [("one", "start", "cancelled", "handover"), ("one", "handover", "pending", "")]
    assert attempts_of(workflow, "one")[0].output == deaf.TEXT


def test_a_step_that_came_without_a_doorbell_keeps_its_lease_until_it_is_handed_over(bus, web, start_worker):
    """Celery knows nothing of it and is done at once; the worker has to wait all the same."""
    grace = 5
    first = start_worker(
        "first", REDIS_URL=bus.url, **SLOW | {"NYXCORE_LEASE": "1", "NYXCORE_GRACE": str(grace)}
    )
    bus.kill()
    workflow = make_workflow(ONE, start=True)
    saved()
    assert first.end(grace + LEAVES_WITHIN) == os.EX_OK
    assert story(workflow) == [("one", "start", "cancelled", "handover"), ("one", "handover", "pending", "")]
