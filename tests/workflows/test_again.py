"""A step that opens again is asked for what still stands: a comment, more room, the rest of a cut answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from nyxcore.llm import models as registry
from nyxcore.states import Status
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, run_all, silence, statuses
from tests.workflows.test_stories import GATED, gated, lapse, set_request
from workflows import engine, services
from workflows.models import StepAttempt, Workflow
from workflows.services import Refused
from workflows.work import Result

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]
OPUS = "claude-opus-5-5"


def sent_back() -> Workflow:
    workflow = gated()
    services.send_back_step(step_of(workflow, "check"), by=workflow.owner, comment="Shorter.")
    return workflow


def pause_and_resume(workflow: Workflow) -> None:
    services.pause_workflow(workflow, by=workflow.owner)
    services.resume_workflow(workflow, by=workflow.owner)


def cancel_and_resume(workflow: Workflow) -> None:
    services.cancel_workflow(workflow, by=workflow.owner)
    services.resume_workflow(workflow, by=workflow.owner)


def fail_and_retry(workflow: Workflow) -> None:
    fail(claim(), "auth")
    services.retry_step(step_of(workflow, "draft"), by=workflow.owner)


def change_and_retry(workflow: Workflow) -> None:
    fail(claim(), "bad_request")
    services.retry_step(step_of(workflow, "draft"), by=workflow.owner, prompt="Write otherwise.")


def cut_and_retry(workflow: Workflow) -> None:
    finish(claim(), "Half", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "draft"), by=workflow.owner, max_tokens=32_768)


@pytest.mark.parametrize(
    "happens", [pause_and_resume, cancel_and_resume, fail_and_retry, change_and_retry, cut_and_retry]
)
def test_comment_of_a_reviewer_stands_until_it_is_answered(happens):
    workflow = sent_back()
    happens(workflow)
    attempt = claim()
    assert (attempt.step.key, attempt.comment) == ("draft", "Shorter.")


def test_answered_comment_is_not_asked_for_again():
    workflow = sent_back()
    finish(claim(), "Short.")
    run_all()
    services.approve_step(step_of(workflow, "check"), by=workflow.owner)
    run_all()
    services.rerun_from(step_of(workflow, "draft"), by=workflow.owner)
    assert claim().comment == ""


def test_continuation_that_nobody_had_claimed_goes_on_after_a_pause():
    workflow = make_workflow(start=True, on_cut_off="continue")
    finish(set_request(claim()), "One, ", stop_reason="max_tokens")
    pause_and_resume(workflow)
    finish(set_request(claim()), "two.")
    assert step_of(workflow, "one").output == "One, two."


def test_doubled_room_stands_after_a_pause():
    workflow = make_workflow(start=True, on_cut_off="raise")
    finish(set_request(claim()), "Half", stop_reason="max_tokens")
    pause_and_resume(workflow)
    assert claim().max_tokens == 32_768


def test_continuation_does_not_outlive_a_new_answer_of_what_it_stands_on():
    workflow = make_workflow(start=True, on_cut_off="continue")
    finish(claim(), "First.")
    finish(set_request(claim()), "Half ", stop_reason="max_tokens")
    services.cancel_workflow(workflow, by=workflow.owner)
    services.rerun_from(step_of(workflow, "one"), by=workflow.owner)
    finish(claim(), "First again.")
    attempt = claim()
    assert (attempt.step.key, attempt.continues, attempt.cause) == ("two", None, "rerun")


def test_rerun_says_that_it_is_one():
    workflow = make_workflow(start=True)
    run_all()
    services.rerun_from(step_of(workflow, "two"), by=workflow.owner)
    run_all()
    assert [attempts_of(workflow, key)[-1].cause for key in ("two", "three")] == ["rerun", "rerun"]


# --- money ---


def priced(settings: Any, budget: str, steps: list[dict[str, Any]] | None = None, **fields: Any) -> Workflow:
    """A started workflow whose calls have a price."""
    settings.NYXCORE_LLM = "anthropic"
    return make_workflow(steps, start=True, default_model=OPUS, budget=budget, **fields)


def cut_at(attempt: StepAttempt, cost: str) -> None:
    """The answer of a claimed attempt ends at its limit, for that much money."""
    set_request(attempt)
    engine.write_facts(
        attempt.pk, WORKER, {"output": "Half", "stop_reason": "max_tokens", "cost": Decimal(cost)}
    )
    engine.finish(attempt, Result(Status.CUT_OFF, "cut_off:max_tokens", text="Half"), WORKER, claim=False)


def test_cut_answer_is_not_asked_for_again_when_the_budget_forbids_more_room(settings):
    """The call with the old room would fit and be cut again, and again, until the budget is spent."""
    workflow = priced(settings, "0.50", on_cut_off="raise")
    cut_at(claim(), "0.05")
    assert statuses(workflow) == {"": "paused", "one": "cut_off", "two": "pending", "three": "pending"}
    assert workflow.reason == "cut_off:max_tokens"


def test_cut_answer_is_not_begun_anew_when_the_budget_forbids_to_go_on(settings):
    workflow = priced(settings, "0.60", on_cut_off="continue")
    worst = claim().reserved
    attempt = attempts_of(workflow, "one")[0]
    cut_at(attempt, str(Decimal("0.60") - worst))
    assert statuses(workflow)["one"] == "cut_off"
    with pytest.raises(Refused, match="budget"):
        services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)


def test_lost_call_waits_for_money_and_keeps_its_cause(settings):
    """It opens by itself as soon as a sibling gives money back; that is no new try of a person."""
    steps = [{"key": "a", "needs": []}, {"key": "b", "needs": []}]
    workflow = priced(settings, "0.70", steps)
    first, second = claim(), claim()
    StepAttempt.objects.filter(pk=first.pk).update(cost=Decimal("0.10"))
    lapse(first)
    assert statuses(workflow) == {"": "running", "a": "pending", "b": "running"}
    engine.write_facts(second.pk, WORKER, {"output": "x", "stop_reason": "end_turn", "cost": Decimal("0.01")})
    engine.finish(second, Result(Status.COMPLETED, text="x"), WORKER, claim=False)
    assert [a.cause for a in attempts_of(workflow, "a")] == ["start", "lost"]


def test_free_step_opens_though_the_budget_is_overspent(settings):
    workflow = priced(settings, "0.50", GATED)
    engine.write_facts(
        (draft := claim()).pk, WORKER, {"output": "x", "stop_reason": "end_turn", "cost": "0.6"}
    )
    engine.finish(draft, Result(Status.COMPLETED, text="x"), WORKER, claim=False)
    assert statuses(workflow)["check"] == "running"


def test_revision_reserves_for_the_earlier_answer_that_it_sends_along(settings):
    workflow = priced(settings, "5", GATED)
    draft = claim()
    before = draft.reserved
    engine.write_facts(draft.pk, WORKER, {"stop_reason": "end_turn", "cost": "0.1"})
    engine.finish(draft, Result(Status.COMPLETED, text="x"), WORKER, claim=False)
    StepAttempt.objects.filter(pk=draft.pk).update(output="word " * 20_000)
    run_all()
    services.send_back_step(step_of(workflow, "check"), by=workflow.owner, comment="Shorter.")
    again = attempts_of(workflow, "draft")[-1].reserved
    assert again - before >= registry.worst_case(OPUS, 40_000, 0) > 0


def test_step_that_cannot_be_priced_any_more_says_so(settings, monkeypatch):
    """A follow-up attempt that cannot be opened leaves a row with the sentence, as a first one does."""
    workflow = priced(settings, "5")
    attempt = claim()
    monkeypatch.setattr("nyxcore.llm.models.worst_case", lambda *args: None)
    silence(attempt, 61)
    lapse(attempt)
    assert statuses(workflow)[""] == "failed"
    assert "price" in attempts_of(workflow, "one")[-1].error
