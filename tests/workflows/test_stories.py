"""The engine's stories on real rows: a stand-in worker claims and ends attempts, time is moved in the rows."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from nyxcore import pulse, sweep
from nyxcore.calls import CALLS
from nyxcore.dbtime import ago, later
from nyxcore.llm.base import Stopped, StopSignal
from nyxcore.models import AuditEntry, SweepState
from nyxcore.states import Actor, Status, acting, transition
from tests.factories import attempts_of, make_user, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, run_all, silence, statuses
from workflows import engine, hotpath, runner, services
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome
from workflows.models import StepAttempt, Workflow
from workflows.services import Refused
from workflows.work import Result

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

FORK = [{"key": "start"}, {"key": "left", "needs": ["start"]}, {"key": "right", "needs": ["start"]}]
JOIN = [*FORK, {"key": "join", "needs": ["left", "right"]}]


def forked(**fields) -> Workflow:
    """A workflow whose two branches are both claimed."""
    workflow = make_workflow(JOIN, start=True, **fields)
    finish(claim())
    return workflow


def lapse(*attempts: StepAttempt, seconds: float = 61) -> list[sweep.Found]:
    """Let the workers of these attempts fall silent, and sweep."""
    for attempt in attempts:
        silence(attempt, seconds)
    SweepState.objects.update(last_pass=ago(15), guard_until=None)
    return sweep.run_pass(scope=sweep.Scope())


# --- order and branches ---


def test_a_chain_runs_in_order_to_its_end():
    workflow = make_workflow(start=True)
    run_all()
    assert statuses(workflow) == {
        "": "completed",
        "one": "completed",
        "two": "completed",
        "three": "completed",
    }
    assert [len(attempts_of(workflow, key)) for key in ("one", "two", "three")] == [1, 1, 1]


def test_finish_claims_the_next_step_for_the_same_worker():
    workflow = make_workflow(start=True)
    first = claim()
    engine.write_facts(first.pk, WORKER, {"stop_reason": "end_turn", "output": "x"})
    next_pk = engine.finish(first, Result(Status.COMPLETED, text="x"), WORKER, claim=True)
    second = StepAttempt.objects.get(pk=next_pk)
    assert (second.step.key, second.status, second.worker) == ("two", "running", WORKER)
    assert statuses(workflow)["two"] == "running"


def test_branches_open_together_and_join_waits_for_both():
    workflow = forked()
    left, right = claim(), claim()
    finish(left)
    assert statuses(workflow)["join"] == "pending"
    finish(right)
    assert statuses(workflow)["join"] == "running"


def test_two_branches_that_finish_at_once_start_the_join_each_time():
    """Both finishes wait on the workflow row; a statement that locks and reads at once would miss the join."""
    for _ in range(10):
        workflow = forked()
        attempts = [claim(), claim()]
        together = threading.Barrier(2)

        def end(attempt: StepAttempt, together: threading.Barrier = together) -> None:
            together.wait(5)
            finish(attempt)
            connection.close()

        threads = [threading.Thread(target=end, args=[attempt]) for attempt in attempts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert statuses(workflow)["join"] == "running"
        assert len(attempts_of(workflow, "join")) == 1
        services.cancel_workflow(workflow, by=workflow.owner)


def test_one_branch_fails_while_the_other_streams():
    workflow = forked()
    left, right = claim(), claim()
    fail(left)
    assert statuses(workflow)[""] == "running", "the sibling streams on"
    finish(right, "Right is done.")
    assert statuses(workflow) == {
        "": "failed", "start": "completed", "left": "failed", "right": "completed", "join": "pending",
    }  # fmt: skip
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert len(attempts_of(workflow, "right")) == 1, "completed work is never paid twice"


def test_a_failure_takes_back_what_nobody_has_claimed():
    workflow = forked()
    left = claim()
    fail(left)
    assert statuses(workflow) == {
        "": "failed",
        "start": "completed",
        "left": "failed",
        "right": "pending",
        "join": "pending",
    }
    assert [a.status for a in attempts_of(workflow, "right")] == ["cancelled"]


def test_least_served_owner_comes_first():
    many = [make_workflow(owner=make_user("many"), start=True) for _ in range(3)]
    claim()
    one = make_workflow(owner=make_user("one"), start=True)
    assert claim().step.workflow_id == one.pk
    assert claim().step.workflow_id == many[1].pk


# --- pause, resume, cancel ---


def test_pause_while_two_stream_lets_them_end_and_opens_nothing():
    workflow = forked()
    left, right = claim(), claim()
    services.pause_workflow(workflow, by=workflow.owner)
    assert statuses(workflow)[""] == "paused"
    finish(left)
    finish(right)
    assert statuses(workflow) == {
        "": "paused", "start": "completed", "left": "completed", "right": "completed", "join": "pending",
    }  # fmt: skip
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_nothing_of_a_paused_workflow_is_claimed():
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    assert runner.claim(WORKER) is None
    assert statuses(workflow)["one"] == "pending"


def test_cancel_in_mid_stream_keeps_the_text_and_the_worker_cannot_overwrite_it():
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(output="Half a sen")
    services.cancel_workflow(workflow, by=workflow.owner)
    assert statuses(workflow) == {
        "": "cancelled",
        "one": "cancelled",
        "two": "cancelled",
        "three": "cancelled",
    }
    finish(attempt, "Half a sentence more.")
    attempt.refresh_from_db()
    assert (attempt.status, attempt.stop_reason, attempt.output) == ("cancelled", "", "Half a sentence more.")
    assert statuses(workflow)[""] == "cancelled"


def test_cancel_reaches_the_running_call_within_two_seconds(monkeypatch):
    """Through PostgreSQL: NOTIFY in the cancelling transaction, LISTEN in the pulse of the worker's process."""
    workflow = make_workflow(start=True)
    began = threading.Event()

    def slow(step):
        began.set()
        step.on_text("Some text.")
        with step.stop.on_set(ended.set):
            ended.wait(10)
        raise Stopped("stopped", reason=step.stop.cause, partial="Some text.")

    ended = threading.Event()
    monkeypatch.setattr(KINDS["llm"], "run", slow)
    process = pulse.Process(worker=WORKER, threads=2)
    process.start()
    thread = threading.Thread(target=lambda: (process.work(), connection.close()))
    thread.start()
    try:
        assert began.wait(5)
        asked = time.monotonic()
        services.cancel_workflow(workflow, by=workflow.owner)
        assert ended.wait(5)
        assert time.monotonic() - asked < 2
        thread.join(5)
    finally:
        process.close()
    assert attempts_of(workflow, "one")[0].output == "Some text."
    assert statuses(workflow)["one"] == "cancelled"


def test_resume_after_cancel_runs_only_the_rest():
    workflow = make_workflow(start=True)
    finish(claim())
    services.cancel_workflow(workflow, by=workflow.owner)
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert [len(attempts_of(workflow, key)) for key in ("one", "two")] == [1, 2]


@pytest.mark.parametrize("verb", [services.pause_workflow, services.cancel_workflow, services.start_workflow])
def test_verbs_on_a_completed_workflow_are_refused(verb):
    workflow = make_workflow(start=True)
    run_all()
    before = AuditEntry.objects.count()
    with pytest.raises(Refused, match="completed"):
        verb(workflow, by=workflow.owner)
    assert AuditEntry.objects.count() == before


def test_started_twice_at_the_same_moment_runs_once():
    workflow = make_workflow()
    results: list[str] = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait(5)
        try:
            services.start_workflow(workflow, by=workflow.owner)
            results.append("started")
        except Refused:
            results.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (results.count("started"), results.count("refused")) == (1, 7)
    assert len(attempts_of(workflow, "one")) == 1


# --- cut off ---


def test_cut_answer_stops_the_workflow_and_flows_nowhere():
    workflow = make_workflow(start=True)
    finish(claim(), "Half a sen", stop_reason="max_tokens")
    assert statuses(workflow) == {"": "paused", "one": "cut_off", "two": "pending", "three": "pending"}
    assert workflow.reason == "cut_off:max_tokens"
    assert step_of(workflow, "one").output == ""
    assert attempts_of(workflow, "one")[0].output == "Half a sen"


def test_resume_names_cut_steps_instead_of_repeating_them():
    workflow = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    with pytest.raises(Refused, match="One"):
        services.resume_workflow(workflow, by=workflow.owner)


def test_retry_with_more_room_goes_on_and_pays_nothing_twice():
    workflow = make_workflow(start=True)
    finish(claim())
    finish(claim(), "Half", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "two"), by=workflow.owner, max_tokens=32_768)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert attempts_of(workflow, "two")[1].request["max_tokens"] == 32_768
    assert len(attempts_of(workflow, "one")) == 1


def test_retry_with_the_same_limit_is_refused():
    workflow = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    with pytest.raises(Refused, match="same limit"):
        services.retry_step(step_of(workflow, "one"), by=workflow.owner)


def set_request(attempt: StepAttempt, max_tokens: int = 16_384) -> StepAttempt:
    attempt.request = {"model": "claude-opus-5-5", "max_tokens": max_tokens, "prompt": "p"}
    attempt.save(update_fields=["request"])
    return attempt


def test_policy_raise_doubles_up_to_the_limit_of_the_model():
    workflow = make_workflow(start=True, on_cut_off="raise")
    finish(set_request(claim()), "Half", stop_reason="max_tokens")
    second = claim()
    assert (second.cause, second.max_tokens) == ("raise", 32_768)
    finish(set_request(second, 128_000), "Half", stop_reason="max_tokens")
    assert statuses(workflow)["one"] == "cut_off", "at the model's own limit more cannot be had"


def test_policy_continue_joins_at_most_three_parts():
    workflow = make_workflow(start=True, on_cut_off="continue")
    for part in ("One, ", "two, "):
        finish(set_request(claim()), part, stop_reason="max_tokens")
    third = claim()
    assert (third.cause, third.continues.output) == ("continue", "two, ")
    finish(set_request(third), "three.")
    assert step_of(workflow, "one").output == "One, two, three."


def test_policy_continue_stops_after_the_third_part():
    workflow = make_workflow(start=True, on_cut_off="continue")
    for _ in range(3):
        finish(set_request(claim()), "more ", stop_reason="max_tokens")
    assert statuses(workflow)["one"] == "cut_off"
    assert len(attempts_of(workflow, "one")) == 3


@pytest.mark.parametrize("policy", ["raise", "continue"])
def test_only_thinking_or_a_full_context_always_stops(policy):
    for text, stop in [("", "max_tokens"), ("Half", "model_context_window_exceeded")]:
        workflow = make_workflow(start=True, on_cut_off=policy)
        finish(set_request(claim()), text, stop_reason=stop)
        assert statuses(workflow)["one"] == "cut_off"


def test_accepted_cut_answer_is_recorded_and_used():
    workflow = make_workflow(
        [{"key": "one"}, {"key": "two", "config": {"prompt": "{{ steps.one.content }}"}}], start=True
    )
    finish(claim(), "Half a sen", stop_reason="max_tokens")
    services.accept_step(step_of(workflow, "one"), by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert attempts_of(workflow, "two")[0].request["prompt"] == "Half a sen"
    entry = AuditEntry.objects.get(model="step", from_status="cut_off")
    assert (entry.user, entry.to_status) == (workflow.owner, "completed")


def test_continue_by_a_person_asks_for_the_rest():
    workflow = make_workflow(start=True)
    finish(set_request(claim()), "The first half ", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)
    finish(claim(), "and the second.")
    assert step_of(workflow, "one").output == "The first half and the second."


# --- failures and back-off ---


def test_passing_failure_is_tried_four_times_then_fails():
    workflow = make_workflow(start=True)
    for number in range(1, 6):
        attempt = claim()
        assert (attempt.number, attempt.cause) == (number, "start" if number == 1 else "backoff")
        fail(attempt, "overloaded", retryable=True)
        StepAttempt.objects.filter(status="pending").update(queued_at=ago(1), due_at=ago(1))
    assert statuses(workflow) == {"": "failed", "one": "failed", "two": "pending", "three": "pending"}
    assert step_of(workflow, "one").reason == "overloaded"


def test_back_off_is_a_row_that_nobody_claims_early():
    workflow = make_workflow(start=True)
    attempt = claim()
    engine.finish(
        attempt,
        Result(Status.FAILED, "rate_limited", retryable=True, retry_after=65),
        WORKER,
        claim=False,
    )
    assert runner.claim(WORKER) is None
    waits = StepAttempt.objects.filter(status="pending", due_at__gt=later(60), due_at__lt=later(70))
    assert waits.count() == 1
    assert statuses(workflow)["one"] == "running"


def test_a_persons_retry_gives_new_tries():
    workflow = make_workflow(start=True)
    for _ in range(5):
        fail(claim(), "transport", retryable=True)
        StepAttempt.objects.filter(status="pending").update(queued_at=ago(1), due_at=ago(1))
    services.retry_step(step_of(workflow, "one"), by=workflow.owner)
    fail(claim(), "transport", retryable=True)
    assert attempts_of(workflow, "one")[-1].cause == "backoff"


def test_sibling_back_off_is_taken_back_when_the_run_fails():
    workflow = forked()
    left, right = claim(), claim()
    fail(left, "overloaded", retryable=True)
    fail(right)
    assert statuses(workflow) == {
        "": "failed",
        "start": "completed",
        "left": "pending",
        "right": "failed",
        "join": "pending",
    }


def test_failed_prompt_names_the_place_and_sends_nothing():
    workflow = make_workflow([{"key": "one", "config": {"prompt": "{{ input.text }}"}}],
        inputs=[{"name": "text", "label": "Text", "kind": "text"}], data={"text": "x"}, start=True)  # fmt: skip
    Workflow.objects.filter(pk=workflow.pk).update(input={})
    run_all()
    attempt = attempts_of(workflow, "one")[0]
    assert (attempt.status, attempt.reason, statuses(workflow)[""]) == ("failed", "prompt", "failed")
    assert "input.text" in attempt.error


def test_a_kind_that_breaks_never_leaves_its_step_running(monkeypatch):
    monkeypatch.setattr(KINDS["llm"], "run", lambda step: 1 / 0)
    workflow = make_workflow(start=True)
    run_all()
    attempt = attempts_of(workflow, "one")[0]
    assert (attempt.reason, statuses(workflow)[""]) == ("internal", "failed")
    assert "ZeroDivisionError" in attempt.error


# --- retry, skip, rerun ---


def test_retry_of_a_running_step_is_refused():
    workflow = make_workflow(start=True)
    claim()
    with pytest.raises(Refused, match="running"):
        services.retry_step(step_of(workflow, "one"), by=workflow.owner)
    assert len(attempts_of(workflow, "one")) == 1


def test_retry_beside_a_streaming_sibling():
    workflow = forked()
    left, right = claim(), claim()
    fail(left)
    services.retry_step(step_of(workflow, "left"), by=workflow.owner)
    finish(claim())
    finish(right)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_skip_asks_for_a_replacement_where_a_prompt_names_the_output():
    steps = [{"key": "one"}, {"key": "two", "config": {"prompt": "Use {{ steps.one.content }}"}}]
    workflow = make_workflow(steps, start=True)
    fail(claim())
    with pytest.raises(Refused, match="Two"):
        services.skip_step(step_of(workflow, "one"), by=workflow.owner)
    services.skip_step(step_of(workflow, "one"), by=workflow.owner, replacement="nothing")
    run_all()
    assert statuses(workflow) == {"": "completed", "one": "skipped", "two": "completed"}
    assert attempts_of(workflow, "two")[0].request["prompt"] == "Use nothing"


def test_rerun_from_the_middle_of_a_completed_run_keeps_what_stands_before():
    workflow = make_workflow(start=True)
    run_all()
    plan = services.plan_rerun(step_of(workflow, "two"))
    assert ([s.key for s in plan.reused], [s.key for s in plan.again]) == (["one"], ["two", "three"])
    services.rerun_from(step_of(workflow, "two"), by=workflow.owner)
    assert statuses(workflow) == {"": "running", "one": "completed", "two": "running", "three": "pending"}
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert [len(attempts_of(workflow, key)) for key in ("one", "two", "three")] == [1, 2, 2]


def test_rerun_from_the_middle_of_a_cancelled_run():
    workflow = make_workflow(start=True)
    finish(claim())
    finish(claim())
    services.cancel_workflow(workflow, by=workflow.owner)
    services.rerun_from(step_of(workflow, "two"), by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert [len(attempts_of(workflow, key)) for key in ("one", "two")] == [1, 2]


def test_rerun_with_an_edited_earlier_output_keeps_both_texts():
    steps = [{"key": "one"}, {"key": "two", "config": {"prompt": "{{ steps.one.content }}"}}]
    workflow = make_workflow(steps, start=True)
    run_all()
    before = step_of(workflow, "one").output
    services.rerun_from(step_of(workflow, "two"), by=workflow.owner, output_edits={"one": "My own words."})
    run_all()
    first, edit = attempts_of(workflow, "one")
    assert (first.output, edit.output, edit.cause) == (before, "My own words.", "edit")
    assert attempts_of(workflow, "two")[1].request["prompt"] == "My own words."


def test_rerun_of_a_live_run_is_refused():
    workflow = make_workflow(start=True)
    finish(claim())
    with pytest.raises(Refused, match="live"):
        services.rerun_from(step_of(workflow, "one"), by=workflow.owner)


def test_rerun_before_its_needs_are_done_is_refused():
    workflow = make_workflow(start=True)
    services.cancel_workflow(workflow, by=workflow.owner)
    with pytest.raises(Refused, match="needs"):
        services.rerun_from(step_of(workflow, "two"), by=workflow.owner)


# --- gates ---

GATED = [
    {"key": "draft"},
    {"key": "check", "kind": "gate", "needs": ["draft"], "config": {"shows": "draft"}},
    {"key": "use", "needs": ["check"], "config": {"prompt": "{{ steps.check.content }}"}},
]


def gated() -> Workflow:
    workflow = make_workflow(GATED, start=True)
    finish(claim(), "The draft.")
    run_all()
    return workflow


def test_a_gate_waits_for_a_person_and_holds_no_worker():
    workflow = gated()
    assert statuses(workflow) == {"": "paused", "draft": "completed", "check": "waiting", "use": "pending"}
    attempt = attempts_of(workflow, "check")[0]
    assert (attempt.status, attempt.worker, attempt.output, workflow.reason) == (
        "waiting",
        "",
        "The draft.",
        "waiting",
    )


@pytest.mark.parametrize(("text", "expected"), [(None, "The draft."), ("My version.", "My version.")])
def test_approval_as_it_is_or_edited_goes_on(text, expected):
    workflow = gated()
    services.approve_step(step_of(workflow, "check"), by=workflow.owner, text=text)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert attempts_of(workflow, "use")[0].request["prompt"] == expected


def test_sent_back_step_sees_the_comment_and_the_gate_asks_again():
    workflow = gated()
    services.send_back_step(step_of(workflow, "check"), by=workflow.owner, comment="Shorter, please.")
    again = claim()
    assert (again.step.key, again.comment) == ("draft", "Shorter, please.")
    from workflows import requests

    prompt = requests.build(workflow, again.step, comment=again.comment)["prompt"]
    assert "Shorter, please." in prompt
    assert "The draft." in prompt
    finish(again, "Short.")
    run_all()
    assert statuses(workflow)["check"] == "waiting"
    assert attempts_of(workflow, "check")[-1].output == "Short."


def test_a_decision_taken_twice_is_refused():
    workflow = gated()
    services.approve_step(step_of(workflow, "check"), by=workflow.owner)
    with pytest.raises(Refused, match="does not wait"):
        services.approve_step(step_of(workflow, "check"), by=workflow.owner)


def test_a_gate_with_a_time_limit_fails_when_nobody_decides():
    steps = [GATED[0], {**GATED[1], "config": {"shows": "draft", "timeout": 60}}]
    workflow = make_workflow(steps, start=True)
    finish(claim(), "The draft.")
    run_all()
    lapse(attempts_of(workflow, "check")[0], seconds=120)
    assert (statuses(workflow)[""], step_of(workflow, "check").reason) == ("failed", "deadline")


# --- money ---


def test_budget_stops_before_the_call_that_would_not_fit_and_goes_on_when_raised(settings):
    settings.NYXCORE_LLM = "anthropic"
    workflow = make_workflow(start=True, default_model="claude-opus-5-5", budget="0.50")
    attempt = claim()
    assert attempt.reserved > 0
    StepAttempt.objects.filter(pk=attempt.pk).update(cost="0.40")
    finish_with_cost(attempt, "0.40")
    assert (statuses(workflow)[""], workflow.reason) == ("paused", "budget")
    services.update_settings(workflow, by=workflow.owner, budget=10)
    services.resume_workflow(workflow, by=workflow.owner)
    settings.NYXCORE_LLM = "practice"
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert len(attempts_of(workflow, "one")) == 1


def finish_with_cost(attempt: StepAttempt, cost: str) -> None:
    engine.write_facts(attempt.pk, WORKER, {"output": "x", "stop_reason": "end_turn", "cost": cost})
    engine.finish(attempt, Result(Status.COMPLETED, text="x"), WORKER, claim=False)


def test_parallel_steps_cannot_spend_the_same_money(settings):
    settings.NYXCORE_LLM = "anthropic"
    steps = [{"key": "a", "needs": []}, {"key": "b", "needs": []}]
    workflow = make_workflow(steps, start=True, default_model="claude-opus-5-5", budget="0.50")
    assert [statuses(workflow)[key] for key in ("a", "b")] == ["running", "pending"]


def test_budget_is_refused_where_the_price_is_unknown(monkeypatch):
    monkeypatch.setattr("nyxcore.llm.models.worst_case", lambda *args: None)
    with pytest.raises(Refused, match="price"):
        make_workflow(budget="1")


# --- workers that vanish ---


def test_lost_worker_is_noticed_its_text_kept_and_the_step_runs_again_once():
    workflow = make_workflow(start=True)
    first = claim()
    StepAttempt.objects.filter(pk=first.pk).update(output="Half a sen")
    lapse(first)
    lost, again = attempts_of(workflow, "one")
    assert (lost.status, lost.reason, lost.output) == ("failed", "lost", "Half a sen")
    assert (again.status, again.cause) == ("pending", "lost")
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_twice_lost_step_fails_instead_of_looping():
    workflow = make_workflow(start=True)
    lapse(claim())
    lapse(claim())
    assert statuses(workflow) == {"": "failed", "one": "failed", "two": "pending", "three": "pending"}
    assert step_of(workflow, "one").reason == "lost"


def test_late_worker_loses_but_what_was_paid_is_kept():
    workflow = make_workflow(start=True)
    late = claim("late:1")
    lapse(late)
    fresh = claim()
    finish(late, "Too late.", worker="late:1")
    late.refresh_from_db()
    assert (late.status, late.output, late.stop_reason) == ("failed", "Too late.", "")
    finish(fresh, "In time.")
    assert step_of(workflow, "one").output == "In time."


def test_lost_attempt_with_its_answer_stored_is_finished_not_repeated():
    workflow = make_workflow(start=True)
    attempt = claim()
    engine.write_facts(attempt.pk, WORKER, {"output": "Whole answer.", "stop_reason": "end_turn"})
    lapse(attempt)
    assert statuses(workflow)["one"] == "completed"
    assert step_of(workflow, "one").output == "Whole answer."
    assert len(attempts_of(workflow, "one")) == 1


def test_slow_but_living_step_is_never_touched_however_old():
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(
        started_at=ago(3000),
        queued_at=ago(3000),
        heartbeat_at=ago(5),
        due_at=later(55),
        deadline_at=later(600),
    )
    sweep.run_pass(scope=sweep.Scope())
    assert statuses(workflow)["one"] == "running"


def test_living_step_past_its_deadline_is_ended():
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(
        due_at=later(55), heartbeat_at=ago(1), deadline_at=ago(61)
    )
    sweep.run_pass(scope=sweep.Scope())
    assert (statuses(workflow)[""], step_of(workflow, "one").reason) == ("failed", "deadline")


def test_both_workers_dead_for_twenty_minutes_fails_as_stuck_and_resumes():
    workflow = make_workflow(start=True)
    finish(claim())
    lapse(claim(), seconds=1200)
    assert (statuses(workflow)[""], step_of(workflow, "two").reason) == ("failed", "stuck")
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert len(attempts_of(workflow, "one")) == 1


def test_pending_work_is_never_failed_for_its_age():
    workflow = make_workflow(start=True)
    StepAttempt.objects.update(queued_at=ago(1200), due_at=ago(1200))
    sweep.run_pass(scope=sweep.Scope())
    assert statuses(workflow)["one"] == "running"
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_all_leases_expired_at_once_after_an_outage_waits_one_lease():
    """After a gap in the sweep nothing is judged until living workers could renew; the dead one goes then."""
    first, second = make_workflow(start=True), make_workflow(start=True)
    living, dead = claim(), claim()
    silence(living, 100)
    silence(dead, 100)
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(300), "guard_until": None})
    found = sweep.run_pass()
    assert {line.done for line in found} == {"left alone: the guard after an outage holds"}
    StepAttempt.objects.filter(pk=living.pk).update(due_at=later(60), heartbeat_at=later(0))
    SweepState.objects.update(guard_until=ago(1), last_pass=ago(10))
    sweep.run_pass()
    assert statuses(first)["one"] == "running"
    assert [a.reason for a in attempts_of(first, "one")] == [""]
    assert [a.reason for a in attempts_of(second, "one")] == ["lost", ""]


@pytest.mark.parametrize(("lease", "every"), [(30, 10), (30, 300), (60, 10), (60, 1)])
def test_an_outage_that_raises_no_guard_costs_the_living_nothing(settings, lease, every):
    """The longest one that looks like no gap, after a beat that was just due: whatever the settings are."""
    settings.NYXCORE_LEASE, settings.NYXCORE_SWEEP_EVERY = lease, every
    living, dead = make_workflow(start=True), make_workflow(start=True)
    for attempt, silent in ((claim(), sweep.gap() + lease / 6), (claim(), 2 * lease)):
        StepAttempt.objects.filter(pk=attempt.pk).update(
            heartbeat_at=ago(silent), due_at=later(lease - silent)
        )
    SweepState.objects.update_or_create(
        id=1, defaults={"last_pass": ago(sweep.gap() - 1), "guard_until": None}
    )
    sweep.run_pass(force=True)
    assert statuses(living)["one"] == "running"
    assert [a.reason for a in attempts_of(dead, "one")] == ["lost", ""]
    assert attempts_of(living, "one")[0].reason == ""


# --- a settle that opens one step and fails another ---


def side_by_side() -> Workflow:
    """Two steps that may start together, with a budget; the prompt of the later one cannot be filled."""
    workflow = make_workflow([{"key": "fine", "needs": []}, {"key": "broken", "needs": []}])
    Workflow.objects.filter(pk=workflow.pk).update(budget=100)
    workflow.steps.filter(key="broken").update(config={"prompt": "{{ inputs.nothing }}"})
    return workflow


def test_a_step_that_fails_as_it_opens_leaves_no_other_queued():
    """The run has failed, so a worker that takes it would be paid for nothing."""
    workflow = side_by_side()
    services.start_workflow(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "failed", "fine": "pending", "broken": "failed"}
    assert runner.claim(WORKER) is None


def test_what_the_settling_worker_has_claimed_goes_on_beside_a_step_that_fails_as_it_opens():
    workflow = side_by_side()
    with acting(Actor("person", "ada", workflow.owner_id)):
        locked = engine.lock(workflow.pk)
        transition(locked, Status.PENDING, Status.RUNNING)
        claimed = engine.settle(locked, claim_as=WORKER)
    assert statuses(workflow) == {"": "running", "fine": "running", "broken": "failed"}
    assert [a.pk for a in attempts_of(workflow, "fine")] == [claimed]
    finish(StepAttempt.objects.select_related("step__workflow").get(pk=claimed))
    assert statuses(workflow) == {"": "failed", "fine": "completed", "broken": "failed"}


# --- a hold outlives the account of who paused ---


def test_a_run_stays_paused_when_the_account_of_who_paused_it_is_deleted(client):
    workflow = make_workflow(start=True)
    root = make_user("root", is_staff=True)
    services.pause_workflow(workflow, by=root)
    root.delete()
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(9), "guard_until": None})
    assert sweep.run_pass(scope=sweep.Scope()) == []
    assert sweep.run_pass(scope=sweep.Scope(run=workflow.pk)) == []
    assert statuses(workflow) == {"": "paused", "one": "pending", "two": "pending", "three": "pending"}
    with pytest.raises(Refused):
        services.pause_workflow(workflow, by=workflow.owner)
    client.force_login(workflow.owner)
    assert "Resume" in client.get(f"/workflows/{workflow.pk}/").content.decode()
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_what_streams_below_such_a_hold_ends_and_nothing_follows():
    workflow = make_workflow(start=True)
    attempt = claim()
    root = make_user("root", is_staff=True)
    services.pause_workflow(workflow, by=root)
    root.delete()
    finish(attempt)
    assert statuses(workflow) == {"": "paused", "one": "completed", "two": "pending", "three": "pending"}
    assert Workflow.objects.get(pk=workflow.pk).reason == "user"


def test_passes_that_come_late_keep_no_guard_up(settings):
    """On a busy machine a pass may take more than two intervals; leases are good for longer than that."""
    settings.NYXCORE_SWEEP_EVERY = settings.NYXCORE_LEASE / 10
    workflow = make_workflow(start=True)
    silence(claim(), 100)
    SweepState.objects.update_or_create(
        id=1, defaults={"last_pass": ago(settings.NYXCORE_LEASE / 3), "guard_until": None}
    )
    sweep.run_pass()
    assert [a.reason for a in attempts_of(workflow, "one")] == ["lost", ""]


def test_a_second_outage_right_after_the_first_is_guarded_too():
    """The guard of the first one has passed by then; nobody could renew in the moment between them."""
    workflow = make_workflow(start=True)
    silence(claim(), 100)
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(300), "guard_until": None})
    sweep.run_pass()
    SweepState.objects.update(
        last_pass=ago(100), guard_until=ago(97)
    )  # what it wrote, a hundred seconds later
    assert [line.done for line in sweep.run_pass()] == ["left alone: the guard after an outage holds"]
    assert statuses(workflow)["one"] == "running"


def test_a_guard_is_raised_once_for_a_gap_when_only_pages_look():
    """Else a run that nothing but its page repairs would never be judged."""
    from workflows.recovery import repair_run

    workflow = make_workflow(start=True)
    silence(claim(), 100)
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(300), "guard_until": None})
    repair_run(workflow.pk)
    assert len(attempts_of(workflow, "one")) == 1
    SweepState.objects.update(guard_until=ago(0))
    repair_run(workflow.pk)
    assert [a.reason for a in attempts_of(workflow, "one")] == ["lost", ""]


def test_two_sweeps_at_once_do_everything_once():
    workflows = [make_workflow(start=True) for _ in range(5)]
    for attempt in [claim() for _ in workflows]:
        silence(attempt, 61)
    SweepState.objects.update(last_pass=ago(15), guard_until=None)

    def run() -> None:
        sweep.run_pass(scope=sweep.Scope())
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [len(attempts_of(w, "one")) for w in workflows] == [2] * 5


def test_periodic_pass_is_taken_by_one_process_in_an_interval():
    make_workflow(start=True)
    StepAttempt.objects.update(due_at=ago(20))
    assert len(sweep.run_pass()) == 1, "the owner's pass at the start did not take the interval"
    StepAttempt.objects.update(due_at=ago(20))
    assert sweep.run_pass() == []


def test_handed_over_attempt_runs_again_at_no_cost_to_its_tries():
    workflow = make_workflow(start=True)
    engine.write_facts((first := claim()).pk, WORKER, {"output": "Half"})
    engine.finish(first, Result(Status.CANCELLED, "handover"), WORKER, claim=False)
    old, new = attempts_of(workflow, "one")
    assert (old.status, old.reason, old.output, new.cause) == ("cancelled", "handover", "Half", "handover")
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_draining_worker_stops_its_calls_and_hands_them_over(monkeypatch):
    workflow = make_workflow(start=True)
    began = threading.Event()

    def streams_until_stopped(step):
        began.set()
        stopped = threading.Event()
        with step.stop.on_set(stopped.set):
            assert stopped.wait(10)
        raise Stopped("stopped", reason=step.stop.cause, partial="Half")

    monkeypatch.setattr(KINDS["llm"], "run", streams_until_stopped)
    process = pulse.Process(worker=WORKER, threads=1)
    thread = threading.Thread(target=lambda: (process.work(), connection.close()))
    thread.start()
    assert began.wait(5)
    process.drain(grace=0.1)
    thread.join(10)
    assert [(a.status, a.cause) for a in attempts_of(workflow, "one")] == [
        ("cancelled", "start"),
        ("pending", "handover"),
    ]


def test_a_worker_that_is_told_the_row_is_gone_writes_no_status():
    stop = StopSignal()
    stop.set("gone")
    workflow = make_workflow(start=True)
    attempt = claim()
    services.cancel_workflow(workflow, by=workflow.owner)
    call = runner.Call((runner.TABLE, attempt.pk), "c", "d", WORKER, time.monotonic() + 9, stop=stop)
    job = hotpath.load_job(attempt.pk)
    assert runner._stopped(job, {}, call, WORKER, Stopped("x", reason="gone", partial="Text")) is None
    attempt.refresh_from_db()
    assert (attempt.status, attempt.output) == ("cancelled", "Text")


def test_a_repeated_finish_after_a_lost_reply_finds_its_own_work():
    make_workflow(start=True)
    attempt = claim()
    engine.write_facts(attempt.pk, WORKER, {"stop_reason": "end_turn", "output": "x"})
    result = Result(Status.COMPLETED, text="x")
    first = engine.finish(attempt, result, WORKER, claim=True)
    assert engine.finish(attempt, result, WORKER, claim=True) == first


def test_page_repair_ends_a_dead_step_without_any_other_sweep():
    from workflows.recovery import repair_run

    workflow = make_workflow(start=True)
    silence(claim(), 61)
    SweepState.objects.update(last_pass=ago(5), guard_until=None)
    repair_run(workflow.pk)
    assert [a.reason for a in attempts_of(workflow, "one")] == ["lost", ""]


def test_page_repair_ends_what_no_rule_allows():
    """An attempt below a step that does not know of it: no constraint can refuse that."""
    from workflows.recovery import repair_run

    workflow = make_workflow(start=True)
    claim()
    with acting(Actor("repair", "dba")):
        transition(step_of(workflow, "one"), Status.RUNNING, Status.FAILED, reason="internal")
    repair_run(workflow.pk)
    assert (statuses(workflow)[""], attempts_of(workflow, "one")[0].reason) == ("failed", "stuck")


def test_start_of_a_new_workflow_sweeps_its_owners_rows_only():
    mine, other = make_workflow(start=True), make_workflow(owner=make_user("bob"), start=True)
    for attempt in (claim(), claim()):
        silence(attempt, 61)
    SweepState.objects.update(last_pass=ago(5), guard_until=None)
    make_workflow(start=True)
    assert len(attempts_of(mine, "one")) == 2
    assert len(attempts_of(other, "one")) == 1


def test_forged_and_doubled_doorbells_change_nothing():
    workflow = make_workflow(start=True)
    run_all()
    before = StepAttempt.objects.count()
    run_all()
    assert StepAttempt.objects.count() == before
    assert not CALLS.all()
    assert statuses(workflow)[""] == "completed"


def test_every_verb_of_a_person_is_audited():
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    services.resume_workflow(workflow, by=workflow.owner)
    services.cancel_workflow(workflow, by=workflow.owner)
    actions = list(AuditEntry.objects.exclude(action="").order_by("pk").values_list("action", "user"))
    assert actions == [(verb, workflow.owner.pk) for verb in ("start", "pause", "resume", "cancel")]


def test_outcome_of_a_free_kind_needs_no_answer():
    assert Outcome("completed").completion is None
