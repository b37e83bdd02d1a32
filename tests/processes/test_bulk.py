"""A bulk action outlives the worker that does it, and needs no thread that a model call could hold."""

from __future__ import annotations

import pytest

from nyxcore import bulk
from nyxcore.models import AuditEntry, BulkAction
from tests.factories import make_user, make_workflow
from tests.processes.tools import SLOW, eventually, saved
from workflows.bulk import SOURCE
from workflows.models import Workflow

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


def cancel_all(count: int) -> BulkAction:
    """Ask for the cancel of that many pending workflows."""
    rows = [make_workflow([{"key": "one"}], name="Run").pk for _ in range(count)]
    verb = SOURCE.verbs["cancel"]
    return bulk.begin(by=make_user(), source=SOURCE, verb=verb, query="q=run", said="“run”", rows=rows)


def done(action: BulkAction) -> int:
    action.refresh_from_db()
    return action.done


def test_a_killed_workers_bulk_is_ended_by_another_and_each_row_is_done_once(start_worker):
    first = start_worker("first")
    action = cancel_all(150)
    eventually(lambda: done(action) >= 10, what="for the first worker to begin")
    first.kill()
    assert 10 <= done(action) < 150
    start_worker("second")
    eventually(lambda: done(action) == 150, 60, "for the second worker")
    eventually(lambda: BulkAction.objects.filter(pk=action.pk, status="completed").exists())
    assert set(Workflow.objects.values_list("status", flat=True)) == {"cancelled"}
    assert AuditEntry.objects.filter(model="workflow", action="cancel").count() == 150


def test_a_worker_that_is_told_to_go_hands_its_bulk_over_at_once(start_worker):
    first = start_worker("first", NYXCORE_LEASE="60")
    action = cancel_all(150)
    eventually(lambda: done(action) >= 10, what="for the first worker to begin")
    first.end(20)
    assert done(action) < 150
    start_worker("second", NYXCORE_LEASE="60")
    eventually(lambda: done(action) == 150, 40, "for the second worker, long before the lease is over")


def test_bulk_goes_on_while_every_thread_is_in_a_call(start_worker):
    start_worker("only", NYXCORE_WORKER_THREADS="1", **SLOW)
    busy = make_workflow([{"key": "one"}], start=True)
    saved()
    action = cancel_all(3)
    eventually(lambda: done(action) == 3)
    busy.refresh_from_db()
    assert busy.status == "running"
