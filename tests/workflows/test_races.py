"""Forced meetings of two who write at once: each test makes the one order happen that a plan did not foresee."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from tests.factories import attempts_of, make_workflow
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from workflows import engine, runner, services

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

FORK = [{"key": "start"}, {"key": "left", "needs": ["start"]}, {"key": "right", "needs": ["start"]}]


def elsewhere(action: Callable[[], Any]) -> Any:
    """Do `action` in a thread, and so in a transaction, of its own; what it returned."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(action())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert found, "the other side did not come through"
    return found[0]


def once_after(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, action: Callable[[], Any]) -> None:
    """Let `action` happen elsewhere as soon as `owner.name` has been called for the first time."""
    original = getattr(owner, name)
    left = [action]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if left:
            elsewhere(left.pop())
        return result

    monkeypatch.setattr(owner, name, wrapped)


def forked(**fields: Any) -> Any:
    workflow = make_workflow(FORK, start=True, **fields)
    finish(claim())
    return workflow


def test_claim_while_a_failing_sibling_settles_keeps_the_run_open(monkeypatch):
    """The settle has read the sibling as queued and decided to close the run; a worker claims it just then."""
    workflow = forked()
    left = claim()
    once_after(monkeypatch, engine, "load", lambda: runner.claim("other:1"))
    fail(left)
    assert statuses(workflow) == {"": "running", "start": "completed", "left": "failed", "right": "running"}
    finish(attempts_of(workflow, "right")[0], worker="other:1")
    assert statuses(workflow)[""] == "failed"


def test_claim_while_a_pause_settles_lets_the_step_stream(monkeypatch):
    workflow = make_workflow(start=True)
    once_after(monkeypatch, engine, "load", lambda: runner.claim("other:1"))
    services.pause_workflow(workflow, by=workflow.owner)
    assert (statuses(workflow)[""], statuses(workflow)["one"]) == ("paused", "running")
    finish(attempts_of(workflow, "one")[0], worker="other:1")
    assert statuses(workflow) == {"": "paused", "one": "completed", "two": "pending", "three": "pending"}
