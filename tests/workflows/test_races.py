"""Forced meetings of two who write at once: each test makes the one order happen that a plan did not foresee."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from nyxcore import pulse, sweep
from nyxcore.calls import CALLS, Call
from nyxcore.dbtime import ago
from nyxcore.models import SweepState
from nyxcore.states import Status
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, answer, claim, fail, finish, run_all, silence, statuses
from tests.workflows.test_stories import lapse, set_request
from workflows import engine, hotpath, requests, runner, services
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome
from workflows.models import Step, StepAttempt
from workflows.recovery import repair_run
from workflows.work import Result

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


# --- the pulse beside the thread that finishes ---


def call_of(attempt: Any, text: str) -> Call:
    call = Call(
        (runner.TABLE, attempt.pk), "workflow-1", "step-1", attempt.worker, deadline=time.monotonic() + 60
    )
    call.on_text(text)
    return call


@contextmanager
def pulsing(*calls: Call) -> Iterator[tuple[pulse.Process, Any]]:
    """A worker process that makes these calls, and the connection of its pulse."""
    with ExitStack() as stack:
        for call in calls:
            stack.enter_context(CALLS.holding(call))
        yield pulse.Process(worker="test:1", threads=2), stack.enter_context(pulse.connect())


def test_late_saving_of_partial_text_never_overwrites_the_answer():
    """The pulse has read the text so far when the last words come; its UPDATE arrives after the answer was stored."""
    workflow = make_workflow(start=True)
    attempt = claim()
    with pulsing(call_of(attempt, "The whole")) as (process, conn):
        engine.write_facts(attempt.pk, WORKER, {"output": "The whole answer.", "stop_reason": "end_turn"})
        process._save_texts(conn)
    assert attempts_of(workflow, "one")[0].output == "The whole answer."


def test_row_locked_by_somebody_holds_up_no_other_lease():
    """One UPDATE renews all leases; a lock that is not given back must not cost the other steps theirs."""
    workflow = forked()
    left, right = claim(), claim()
    for attempt in (left, right):
        silence(attempt, 1)
    with pulsing(call_of(left, "a"), call_of(right, "b")) as (process, conn), pulse.connect() as other:
        with other.transaction():
            other.execute("SELECT FROM workflows_stepattempt WHERE id = %s FOR UPDATE", [left.pk])
            process._beat(conn)
            process._save_texts(conn)
        assert not any(call.stop.is_set() for call in CALLS.all()), "both are still ours"
    renewed = StepAttempt.objects.filter(due_at__gt=ago(0)).values_list("pk", flat=True)
    assert list(renewed) == [right.pk]
    assert [a.output for a in (*attempts_of(workflow, "left"), *attempts_of(workflow, "right"))] == ["", "b"]


def test_pulse_stops_a_call_whose_attempt_was_ended():
    workflow = make_workflow(start=True)
    attempt = claim()
    services.cancel_workflow(workflow, by=workflow.owner)
    with pulsing(call := call_of(attempt, "a")) as (process, conn):
        process._beat(conn)
    assert call.stop.cause == "gone"


def test_pulse_outlives_an_error_of_its_own(monkeypatch):
    """Without it every lease of the process lapses, while its steps go on and are paid for."""
    beats: list[int] = []
    enough = threading.Event()

    def beat(self: pulse.Process, conn: Any) -> None:
        beats.append(1)
        if len(beats) == 1:
            raise ValueError("not an error of the database")
        enough.set()

    monkeypatch.setattr(pulse.Process, "_beat", beat)
    process = pulse.Process(worker="test:1", threads=1)
    process.start()
    try:
        assert enough.wait(10)
    finally:
        process.close()


# --- an answer that cannot be written, a reply that is lost ---


def answering(monkeypatch: pytest.MonkeyPatch, text: str = "An answer.", **fields: Any) -> list[int]:
    """Have the model answer so; the numbers of the attempts that asked it."""
    asked: list[int] = []

    def run(step: Any) -> Outcome:
        asked.append(step.number)
        step.on_text(text)
        return Outcome("completed", text=text, completion=replace(answer(text), **fields))

    monkeypatch.setattr(KINDS["llm"], "run", run)
    return asked


def test_answer_with_half_a_surrogate_pair_is_stored(monkeypatch):
    workflow = make_workflow([{"key": "one"}], start=True)
    answering(monkeypatch, "Half \ud83d of a pair, and \x00.")
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert step_of(workflow, "one").output == "Half ? of a pair, and ."


def test_names_that_a_provider_makes_too_long_are_cut(monkeypatch):
    workflow = make_workflow([{"key": "one"}], start=True)
    answering(monkeypatch, request_id="r" * 500, model="m" * 500)
    run_all()
    attempt = attempts_of(workflow, "one")[0]
    assert (statuses(workflow)[""], len(attempt.request_id), len(attempt.model)) == ("completed", 120, 120)


def test_answer_that_cannot_be_written_fails_its_step_at_once(monkeypatch):
    """It must not stay running until its lease ends, be taken for lost, and be paid for again."""
    workflow = make_workflow([{"key": "one"}], start=True)
    asked = answering(monkeypatch)
    original = engine.write_facts

    def refused(pk: int, worker: str, facts: dict[str, Any]) -> bool:
        if "stop_reason" in facts:
            raise IntegrityError("no such value")
        return original(pk, worker, facts)

    monkeypatch.setattr(engine, "write_facts", refused)
    run_all()
    attempt = attempts_of(workflow, "one")[0]
    assert (statuses(workflow)[""], attempt.reason, attempt.output) == ("failed", "internal", "An answer.")
    assert "no such value" in attempt.error
    assert asked == [1]


def test_finish_that_breaks_in_the_sweep_fails_the_step_instead_of_staying_for_ever(monkeypatch):
    workflow = make_workflow(start=True)
    attempt = claim()
    engine.write_facts(attempt.pk, WORKER, {"output": "x", "stop_reason": "end_turn"})
    monkeypatch.setattr(requests, "result_from_row", lambda attempt: 1 / 0)
    lapse(attempt)
    assert (statuses(workflow)[""], attempts_of(workflow, "one")[0].reason) == ("failed", "internal")


def losing_the_reply_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
    """The first call of `owner.name` takes effect, but its caller sees the connection break."""
    original = getattr(owner, name)
    left = [1]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if left:
            left.pop()
            raise OperationalError("server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize(("owner", "name"), [(runner, "claim"), (hotpath, "load_job")])
def test_claim_whose_reply_was_lost_is_found_again(monkeypatch, owner, name):
    """Else it stands there until its lease ends, and counts as lost."""
    workflow = make_workflow(start=True)
    asked = answering(monkeypatch)
    losing_the_reply_of(monkeypatch, owner, name)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert asked == [1, 1, 1]
    assert StepAttempt.objects.count() == 3


def test_finish_whose_reply_was_lost_goes_on_with_what_it_had_claimed(monkeypatch):
    workflow = make_workflow(start=True)
    asked = answering(monkeypatch)
    losing_the_reply_of(monkeypatch, hotpath, "go_on")
    run_all()
    assert (statuses(workflow)[""], asked, StepAttempt.objects.count()) == ("completed", [1, 1, 1], 3)


def test_thread_whose_attempt_was_ended_takes_none_from_another_thread():
    """Both belong to one process and one run: the second has claimed just now and is about to begin."""
    workflow = forked()
    left = claim("host:1/0")
    right = claim("host:1/1")
    silence(left, 61)
    lapse(left)
    result = Result(Status.COMPLETED, text="x")
    assert engine.finish(left, result, "host:1/0", claim=True) is None
    assert statuses(workflow)["right"] == "running"
    assert right.worker == "host:1/1"


def test_threads_of_a_process_claim_under_names_of_their_own(monkeypatch):
    names: set[str] = set()
    together = threading.Barrier(2)

    def work(worker: str, wake: Any) -> None:
        names.add(worker)
        together.wait(5)

    target = replace(sweep.TARGETS[0], work=work)
    monkeypatch.setattr(sweep, "TARGETS", [target])
    process = pulse.Process(worker="host:1", threads=2)
    threads = [threading.Thread(target=process.work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert names == {"host:1/0", "host:1/1"}


def test_answer_in_parts_waits_for_the_database_too(monkeypatch):
    workflow = make_workflow([{"key": "one"}], start=True, on_cut_off="continue")
    finish(set_request(claim()), "One, ", stop_reason="max_tokens")
    answering(monkeypatch, "two.")
    losing_the_reply_of(monkeypatch, requests, "chain_text")
    run_all()
    assert step_of(workflow, "one").output == "One, two."


# --- the sweep beside others ---


def test_run_that_somebody_works_on_does_not_hold_up_the_sweep():
    busy, free = make_workflow(start=True), make_workflow(start=True)
    attempts = [claim(), claim()]
    for attempt in attempts:
        silence(attempt, 61)
    with pulse.connect() as other, other.transaction():
        other.execute("SELECT FROM workflows_workflow WHERE id = %s FOR UPDATE", [busy.pk])
        began = time.monotonic()
        lapse(*attempts)
        assert time.monotonic() - began < 2
    assert [len(attempts_of(workflow, "one")) for workflow in (busy, free)] == [1, 2]
    lapse(attempts[0])
    assert len(attempts_of(busy, "one")) == 2


def test_page_opened_while_another_process_enters_its_pass_heeds_the_guard():
    """After an outage both come at once; the one that does not get the lock must not judge what the other spares."""
    workflow = make_workflow(start=True)
    silence(claim(), 100)
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(300), "guard_until": None})
    with pulse.connect() as other, other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [sweep._LOCK])
        repair_run(workflow.pk)
    assert statuses(workflow)["one"] == "running"
    assert len(attempts_of(workflow, "one")) == 1


# --- money ---


def test_call_handed_over_from_outside_counts_as_estimated(settings):
    settings.NYXCORE_LLM = "anthropic"
    workflow = make_workflow(start=True, default_model="claude-opus-5-5", budget="5")
    attempt = set_request(claim())
    StepAttempt.objects.filter(pk=attempt.pk).update(output="Half an answer.")
    runner.hand_over(attempt.pk, WORKER)
    old, new = attempts_of(workflow, "one")
    assert (old.status, old.cost_estimated, new.cause) == ("cancelled", True, "handover")
    assert old.cost > 0


def test_lost_call_of_the_practice_model_costs_nothing():
    workflow = make_workflow(start=True, default_model="claude-opus-5-5", budget="5")
    lapse(set_request(claim()))
    assert attempts_of(workflow, "one")[0].cost == 0


def test_settings_that_are_no_longer_valid_fail_their_step_and_not_the_sweep():
    workflow = make_workflow(start=True, budget="5")
    attempt = claim()
    Step.objects.filter(workflow=workflow, key="two").update(config={"nonsense": 1})
    finish(attempt)
    assert statuses(workflow) == {"": "failed", "one": "completed", "two": "failed", "three": "pending"}
    assert "nonsense" in attempts_of(workflow, "two")[0].error
