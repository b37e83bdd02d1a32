"""All cut steps of a run at once: each as alone, audited each, or none."""

import pytest

from nyxcore.models import AuditEntry
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from workflows import cutsteps, services
from workflows.models import StepAttempt
from workflows.services import Refused

pytestmark = pytest.mark.django_db


def cut_run(texts=("Half of one", "Half of two"), **fields):
    """Steps side by side that are all cut, and one that needs the first."""
    steps = [
        {"key": f"s{n}", "title": f"Step {n}", "needs": [], "config": {"max_tokens": 100}}
        for n in range(len(texts))
    ]
    workflow = make_workflow([*steps, {"key": "end", "needs": ["s0"]}], start=True, **fields)
    for attempt in [claim() for _text in texts]:
        attempt.request = {"model": "practice", "prompt": "Write.", "max_tokens": 100, "sizes": {}}
        attempt.save(update_fields=["request"])
        finish(attempt, texts[int(attempt.step.key[1:])], stop_reason="max_tokens")
    workflow.refresh_from_db()
    assert workflow.status == "paused"
    return workflow


def test_retry_opens_each_with_double_room():
    workflow = cut_run()
    cutsteps.retry_with_double_room(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "running", "s0": "running", "s1": "running", "end": "pending"}
    for key in ("s0", "s1"):
        assert step_of(workflow, key).config["max_tokens"] == 200
        newest = attempts_of(workflow, key)[-1]
        assert (newest.number, newest.cause, newest.caused_by) == (2, "retry", workflow.owner)


def test_accept_lets_each_pass_and_goes_on():
    workflow = cut_run()
    cutsteps.accept_all(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "running", "s0": "completed", "s1": "completed", "end": "running"}
    assert step_of(workflow, "s1").output == "Half of two"


@pytest.mark.parametrize("act", [cutsteps.retry_with_double_room, cutsteps.accept_all])
def test_each_step_is_audited(act):
    workflow = cut_run()
    AuditEntry.objects.all().delete()
    act(workflow, by=workflow.owner)
    word = "retry" if act is cutsteps.retry_with_double_room else "accept"
    entries = AuditEntry.objects.filter(action=word, row=workflow.pk, user=workflow.owner)
    assert sorted(entries.values_list("detail", flat=True)) == ["s0", "s1"]


def test_one_that_only_thought_refuses_all_and_is_named():
    workflow = cut_run(("Half of one", ""))
    with pytest.raises(Refused, match=r"Nothing was retried. “Step 1” wrote nothing but thinking"):
        cutsteps.retry_with_double_room(workflow, by=workflow.owner)
    with pytest.raises(Refused, match=r"Nothing was accepted.*“Step 1”"):
        cutsteps.accept_all(workflow, by=workflow.owner)
    assert statuses(workflow)["s0"] == "cut_off"
    assert step_of(workflow, "s0").config["max_tokens"] == 100
    assert StepAttempt.objects.count() == 2


def test_one_at_its_models_limit_refuses_all_and_is_named():
    workflow = cut_run()
    last = attempts_of(workflow, "s1")[0]
    StepAttempt.objects.filter(pk=last.pk).update(request=last.request | {"max_tokens": 128_000})
    with pytest.raises(Refused, match="“Step 1” has the 128,000 tokens already"):
        cutsteps.retry_with_double_room(workflow, by=workflow.owner)
    assert StepAttempt.objects.count() == 2


@pytest.mark.parametrize("act", [cutsteps.retry_with_double_room, cutsteps.accept_all])
def test_twice_is_refused(act):
    workflow = cut_run()
    act(workflow, by=workflow.owner)
    with pytest.raises(Refused, match="No step of this workflow is cut off"):
        act(workflow, by=workflow.owner)


# --- one step, where more room is no remedy ---


def cut_for(reason):
    workflow = cut_run(("Half",))
    step = step_of(workflow, "s0")
    step.reason = reason
    step.save(update_fields=["reason"])
    return step


@pytest.mark.parametrize("room", [None, 50_000])
def test_full_context_window_is_not_asked_again_with_more_room(room):
    step = cut_for("cut_off:context")
    with pytest.raises(Refused, match="more room does not widen"):
        services.retry_step(step, by=step.workflow.owner, max_tokens=room)


def test_full_context_window_is_asked_again_with_another_prompt():
    step = cut_for("cut_off:context")
    assert services.retry_step(step, by=step.workflow.owner, prompt="Shorter.").number == 2


def test_only_thinking_is_not_repeated_as_it_was():
    step = cut_for("cut_off:thinking")
    with pytest.raises(Refused, match="thinking again"):
        services.retry_step(step, by=step.workflow.owner)
    assert services.retry_step(step, by=step.workflow.owner, effort="low").number == 2


def test_less_or_equal_room_is_refused():
    step = cut_for("cut_off:max_tokens")
    with pytest.raises(Refused, match="same limit"):
        services.retry_step(step, by=step.workflow.owner, max_tokens=100)


# --- beside others that failed or were cut ---


def test_retry_of_one_of_two_cut_steps_runs():
    workflow = cut_run()
    services.retry_step(step_of(workflow, "s0"), by=workflow.owner, max_tokens=200)
    assert statuses(workflow) == {"": "running", "s0": "running", "s1": "cut_off", "end": "pending"}
    finish(claim(), "Whole.")
    assert statuses(workflow) == {"": "paused", "s0": "completed", "s1": "cut_off", "end": "pending"}


@pytest.mark.parametrize("more", [{"max_tokens": 200}, {"continue_text": True}])
def test_cut_step_is_retried_in_a_run_that_failed(more):
    workflow = make_workflow(
        [{"key": "a", "needs": []}, {"key": "b", "needs": [], "config": {"max_tokens": 100}}], start=True
    )
    first, second = claim(), claim()
    second.request = {"model": "practice", "prompt": "Write.", "max_tokens": 100, "sizes": {}}
    second.save(update_fields=["request"])
    finish(second, "Half ", stop_reason="max_tokens")
    fail(first)
    services.retry_step(step_of(workflow, "b"), by=workflow.owner, **more)
    assert statuses(workflow) == {"": "running", "a": "failed", "b": "running"}
    finish(claim(), "and half.")
    assert statuses(workflow) == {"": "failed", "a": "failed", "b": "completed"}


def test_pause_takes_back_a_retry_that_nobody_has_claimed():
    workflow = cut_run()
    services.retry_step(step_of(workflow, "s0"), by=workflow.owner, max_tokens=200)
    services.pause_workflow(workflow, by=workflow.owner)
    assert statuses(workflow)["s0"] == "pending"
