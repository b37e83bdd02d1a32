"""Runs that were closed come back by a person's verb, and then can reach their end."""

from __future__ import annotations

import pytest

from nyxcore.states import Status
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, run_all, statuses
from tests.workflows.test_stories import set_request
from workflows import engine, services
from workflows.models import Workflow
from workflows.services import Refused
from workflows.work import Result

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]


def cancelled() -> Workflow:
    workflow = make_workflow(start=True)
    claim()
    services.cancel_workflow(workflow, by=workflow.owner)
    return workflow


@pytest.mark.parametrize("verb", [services.retry_step, services.skip_step])
def test_cancelled_run_goes_on_to_its_end_after(verb):
    workflow = cancelled()
    verb(step_of(workflow, "one"), by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_gate_that_a_failure_closed_asks_again_after_the_retry():
    steps = [
        {"key": "draft"},
        {"key": "check", "kind": "gate", "needs": ["draft"], "config": {"shows": "draft"}},
        {"key": "other", "needs": ["draft"]},
    ]
    workflow = make_workflow(steps, start=True)
    finish(claim())
    gate, other = claim(), claim()
    shown = {"shows": "draft", "content": "x"}
    engine.finish(gate, Result(Status.WAITING, text="x", request=shown), WORKER, claim=False)
    fail(other)
    assert statuses(workflow) == {"": "failed", "draft": "completed", "check": "cancelled", "other": "failed"}
    services.retry_step(step_of(workflow, "other"), by=workflow.owner)
    run_all()
    assert statuses(workflow) == {
        "": "paused",
        "draft": "completed",
        "check": "waiting",
        "other": "completed",
    }


def cut_and_cancelled() -> Workflow:
    workflow = make_workflow(start=True, default_model="claude-opus-5-5")
    finish(set_request(claim()), "Half ", stop_reason="max_tokens")
    services.cancel_workflow(workflow, by=workflow.owner)
    return workflow


def test_cancel_in_between_does_not_make_resume_repeat_a_cut():
    workflow = cut_and_cancelled()
    with pytest.raises(Refused, match="One"):
        services.resume_workflow(workflow, by=workflow.owner)
    with pytest.raises(Refused, match="same limit"):
        services.retry_step(step_of(workflow, "one"), by=workflow.owner)


def test_cut_and_cancelled_step_goes_on_with_more_room():
    workflow = cut_and_cancelled()
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, max_tokens=32_768)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_cut_and_cancelled_step_can_be_continued():
    workflow = cut_and_cancelled()
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)
    finish(claim(), "and half.")
    assert step_of(workflow, "one").output == "Half and half."


def test_resume_goes_on_where_the_settings_give_a_cut_and_cancelled_step_more_room():
    workflow = cut_and_cancelled()
    services.update_settings(workflow, by=workflow.owner, steps={"one": {"max_tokens": 50_000}})
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_retry_that_names_the_limit_of_the_cut_is_refused():
    workflow = make_workflow(start=True, default_model="claude-opus-5-5")
    finish(set_request(claim()), "Half", stop_reason="max_tokens")
    with pytest.raises(Refused, match="same limit"):
        services.retry_step(step_of(workflow, "one"), by=workflow.owner, max_tokens=16_384)


@pytest.mark.parametrize("end", [finish, fail])
def test_hold_ends_with_the_run_that_it_held(end):
    """A stale hold would stop the next rerun at once, and tell of a failed run that somebody paused it."""
    workflow = make_workflow([{"key": "one"}], start=True)
    attempt = claim()
    services.pause_workflow(workflow, by=workflow.owner)
    end(attempt)
    workflow.refresh_from_db()
    assert workflow.held_by is None
    services.rerun_from(step_of(workflow, "one"), by=workflow.owner)
    assert statuses(workflow)[""] == "running"
    assert len(attempts_of(workflow, "one")) == 2
