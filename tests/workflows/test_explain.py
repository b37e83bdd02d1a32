"""`explain` tells in sentences why a run is where it is; each sentence is backed by a row."""

from decimal import Decimal
from html import unescape
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nyxcore.dbtime import ago, later
from nyxcore.models import SweepState, Worker
from nyxcore.sweep import Scope, run_pass
from tests.factories import make_user, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, run_all, silence
from workflows import services
from workflows.explain import explain
from workflows.models import StepAttempt, Workflow

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

GATE = [{"key": "draft"}, {"key": "check", "kind": "gate", "config": {"instructions": "Read it."}}]


def told(workflow: Workflow) -> str:
    return "\n".join(explain(Workflow.objects.get(pk=workflow.pk)))


def a_worker(*, seen: float = 0.0) -> None:
    worker = Worker.objects.create(name=WORKER, host="here", threads=4)
    Worker.objects.filter(pk=worker.pk).update(seen_at=ago(seen))


def test_never_started():
    said = told(make_workflow())
    assert "is pending since" in said
    assert "Step 1 “One” is pending: nothing stands before it." in said
    assert "Step 2 “Two” is pending: it waits for One." in said
    assert "It was never started. Start it." in said


def test_queued_while_no_worker_was_ever_seen():
    said = told(make_workflow(start=True))
    assert "attempt 1 (first try) is queued since" in said
    assert "What would move it: a worker. No worker has ever been seen." in said


def test_queued_since_the_last_worker_went():
    a_worker(seen=600)
    assert "What would move it: a worker. No worker since 20" in told(make_workflow(start=True))


def test_queued_with_a_worker_that_lives():
    a_worker()
    said = told(make_workflow(start=True))
    assert "1 worker process lives, 0 of 4 threads busy." in said
    assert "It goes on by itself." in said


def test_running():
    workflow = make_workflow(start=True)
    silence(claim(), 7)
    said = told(workflow)
    assert f"runs on {WORKER} since" in said
    assert "its last sign of life came 7 s ago" in said
    assert "It goes on by itself." in said


def test_back_off():
    workflow = make_workflow(start=True)
    fail(claim(), "overloaded", retryable=True)
    StepAttempt.objects.filter(status="pending").update(queued_at=later(60), due_at=later(60))
    assert "attempt 2 (again, after a passing failure) is tried again at" in told(workflow)


def test_a_gate_that_waits():
    workflow = make_workflow(GATE, start=True)
    run_all()
    said = told(workflow)
    assert "is paused since" in said
    assert "Step 2 “Check” is waiting: attempt 1 (first try) waits for a person since" in said
    assert "What would move it: Open the step that needs you and decide." in said


def test_cut_off():
    workflow = make_workflow(start=True)
    finish(claim(), "Half a sen", stop_reason="max_tokens")
    said = told(workflow)
    assert f"Step 1 “One” is cut off: attempt 1 (first try) on {WORKER} ended at" in said
    assert "The answer reached its token limit before it was finished." in said
    assert "What would move it: Retry with more room, continue the answer, or accept it as it is." in said


def test_budget(settings):
    settings.NYXCORE_LLM = "anthropic"
    workflow = make_workflow(start=True, default_model="claude-opus-5-5", budget=Decimal("0.0001"))
    said = told(workflow)
    assert "The run's budget does not allow the next call." in said
    assert "What would move it: Raise the budget, then resume." in said


def test_held_by_a_person():
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    said = told(workflow)
    assert "A person decided this. ada paused it." in said
    assert "Resume when you want to go on." in said
    assert "Last act:" in said


def test_failed():
    workflow = make_workflow(start=True)
    fail(claim(), "auth")
    said = told(workflow)
    assert f"Step 1 “One” is failed: attempt 1 (first try) on {WORKER} ended at" in said
    assert "It broke." in said
    assert "What would move it: Check the provider's key" in said


def test_stuck():
    workflow = make_workflow(start=True)
    silence(claim(), 1200)
    SweepState.objects.update(last_pass=ago(5), guard_until=None)
    run_pass(scope=Scope(run=workflow.pk))
    said = told(workflow)
    assert "There was no sign of life for too long" in said
    assert f"Worker {WORKER} gave its last sign of life at" in said
    assert "What would move it: Check that a worker runs, then resume." in said


def test_cancelled_before_a_step_ran():
    workflow = make_workflow(start=True)
    services.cancel_workflow(workflow, by=workflow.owner)
    assert "Step 2 “Two” is cancelled; it never ran." in told(workflow)


def test_completed():
    workflow = make_workflow(start=True)
    run_all()
    first, second, *acts = told(workflow).splitlines()
    assert "is completed since" in first
    assert second.startswith("It is done")
    assert [act.split(" by ")[0] for act in acts] == ["Last act: pending > running", "Before that: start"]


def test_the_number_of_queries_does_not_grow_with_the_steps():
    def queries(count: int) -> int:
        steps = [{"key": f"s{number}", "needs": []} for number in range(count)]
        workflow = Workflow.objects.get(pk=make_workflow(steps, start=True).pk)
        with CaptureQueriesContext(
            connection,
        ) as seen:
            explain(workflow)
        return len(seen)

    assert queries(3) == queries(30)


def test_the_command_prints_the_sentences():
    workflow = make_workflow()
    out = StringIO()
    call_command("explain", "workflow", str(workflow.pk), stdout=out)
    assert out.getvalue().splitlines() == explain(workflow)


@pytest.mark.parametrize("kind", ["workflow", "step", "attempt"])
def test_the_command_says_that_there_is_no_such_row(kind):
    with pytest.raises(CommandError, match=f"There is no {kind} 12345"):
        call_command("explain", kind, "12345")


def by_command(kind: str, pk: int) -> str:
    out = StringIO()
    call_command("explain", kind, str(pk), stdout=out)
    return out.getvalue()


def test_a_step_and_an_attempt_tell_who_has_them_and_what_happened_before():
    workflow = make_workflow(start=True)
    silence(claim(), 1200)
    SweepState.objects.update(last_pass=ago(5), guard_until=None)
    run_pass(scope=Scope(run=workflow.pk))
    services.retry_step(step_of(workflow, "one"), by=workflow.owner)
    silence(claim(), 1)
    step, attempts = step_of(workflow, "one"), StepAttempt.objects.order_by("pk")
    said = by_command("step", step.pk)
    assert f"Step 1 “One” is running: attempt 2 (retried by a person) runs on {WORKER} since" in said
    assert "Last act: failed > running by ada at" in said
    assert "Before that: running > failed, stuck by sweep at" in said
    assert f"Workflow {workflow.pk} “Test” of ada is running since" in said
    first, second = (by_command("attempt", attempt.pk) for attempt in attempts)
    assert f"attempt 1 (first try) on {WORKER} ended at" in first
    assert "an ended attempt never changes" in first
    assert "Its lease has passed 1 s ago" in second


def test_a_hold_is_told_below_the_run_too():
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    said = by_command("step", step_of(workflow, "two").pk)
    assert "ada paused it." in said
    assert "What would move it: Resume when you want to go on." in said


def test_the_page_says_the_same(client):
    workflow = make_workflow(start=True)
    client.force_login(workflow.owner)
    page = unescape(client.get(f"/workflows/{workflow.pk}/why/").content.decode())
    pieces = [line.split(" (")[0] for line in explain(Workflow.objects.get(pk=workflow.pk))]
    assert all(piece in page for piece in pieces)
    assert (
        f'href="/workflows/{workflow.pk}/why/"' in client.get(f"/workflows/{workflow.pk}/").content.decode()
    )


def test_the_page_is_for_those_who_may_see_the_run(client):
    workflow = make_workflow(start=True)
    client.force_login(make_user("eve"))
    assert client.get(f"/workflows/{workflow.pk}/why/").status_code == 404
    assert client.post(f"/workflows/{workflow.pk}/why/").status_code == 405


def test_a_step_that_was_skipped_is_not_in_the_way():
    workflow = make_workflow(start=True)
    fail(claim())
    services.skip_step(step_of(workflow, "one"), by=workflow.owner)
    assert "“One”" not in told(workflow)
