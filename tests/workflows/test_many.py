"""Long queues and many lost rows: fair between owners, nothing hidden behind others, many ended as one is."""

from __future__ import annotations

import pytest

from nyxcore import sweep
from nyxcore.dbtime import ago, later
from nyxcore.models import AuditEntry, SweepState
from tests.factories import attempts_of, make_user, make_workflow
from tests.workflows.engine_helpers import claim, finish, run_all, silence, statuses
from workflows import again, engine, recovery, runner, services
from workflows.models import StepAttempt, Workflow

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

MANY = sweep.FEW + 2
ONE = [{"key": "one"}]


@pytest.fixture
def passed(db):
    """The sweep has passed a moment ago, so no guard holds."""
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(5), "guard_until": None})


def owner_of(attempt: StepAttempt) -> str:
    return attempt.step.workflow.owner.username


def queued(owner: str, count: int) -> list[Workflow]:
    return [make_workflow(ONE, owner=make_user(owner), start=True) for _ in range(count)]


def lost(count: int = MANY, seconds: float = 120, **fields) -> list[Workflow]:
    """So many runs whose worker fell silent."""
    runs = [make_workflow(start=True, **fields) for _ in range(count)]
    for _ in runs:
        silence(claim(), seconds)
    return runs


def sweep_now() -> list[sweep.Found]:
    return sweep.run_pass(scope=sweep.Scope())


# --- claims ---


def test_the_owner_with_the_fewest_running_attempts_comes_first():
    queued("ada", 3)
    queued("eve", 2)
    assert [owner_of(claim()) for _ in range(5)] == ["ada", "eve", "ada", "eve", "ada"]


def test_a_long_queue_does_not_starve_another_owners_only_run():
    queued("ada", 4)
    claim()
    queued("eve", 1)
    assert owner_of(claim()) == "eve"


def test_of_one_owner_the_oldest_comes_first():
    first, second = queued("ada", 2)
    StepAttempt.objects.filter(step__workflow=first).update(queued_at=ago(1))
    StepAttempt.objects.filter(step__workflow=second).update(queued_at=ago(100))
    assert claim().step.workflow == second


def test_a_back_off_does_not_stand_before_what_may_run():
    later_one, now = queued("ada", 2)
    StepAttempt.objects.filter(step__workflow=later_one).update(queued_at=later(60), due_at=later(60))
    assert claim().step.workflow == now
    assert runner.claim("test:2") is None


def test_an_owner_whose_runs_are_all_held_does_not_block_others():
    (held,) = queued("ada", 1)
    queued("eve", 1)
    Workflow.objects.filter(pk=held.pk).update(held_by=held.owner)  # between the hold and its settling
    assert owner_of(claim()) == "eve"
    assert runner.claim("test:2") is None


def test_the_database_says_whom_an_attempt_is_served_for(user):
    attempt = attempts_of(make_workflow(start=True, owner=user), "one")[0]
    assert attempt.served_for == user.pk


def test_an_attempt_from_before_is_claimed_too():
    queued("ada", 1)
    StepAttempt.objects.update(served_for=0)
    assert claim().status == "running"


# --- many silent rows ---


def test_lost_rows_are_found_behind_a_queue_longer_than_a_batch(passed, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 3)
    queued("ada", 5)
    StepAttempt.objects.update(due_at=ago(1), queued_at=later(60))
    (run,) = lost(1)
    sweep_now()
    assert [a.reason for a in attempts_of(run, "one")] == ["lost", ""]


def story(run: Workflow) -> list[tuple]:
    """What must be the same, however many are ended at once."""
    attempts = StepAttempt.objects.filter(step__workflow=run).order_by("pk")
    rows = list(
        attempts.values_list("status", "reason", "cause", "cost", "cost_estimated", "output", "reserved")
    )
    steps = run.steps.order_by("position").values_list("status", "reason")
    ended = attempts.exclude(error="").first()
    error = ended.error.startswith("Worker test:1 gave its last sign of life at 20") if ended else None
    run.refresh_from_db()
    names = ("model", "from_status", "to_status", "reason", "actor")
    pks = {"workflow": [run.pk], "step": list(run.steps.values_list("pk", flat=True))}
    pks["stepattempt"] = list(attempts.values_list("pk", flat=True))
    by_sweep = AuditEntry.objects.filter(actor="sweep").order_by("pk")
    audit = [list(by_sweep.filter(model=model, row__in=pks[model]).values_list(*names)) for model in pks]
    return [run.status, run.reason, rows, list(steps), error, audit]


SILENT = {"lost": 120.0, "stuck": 1200.0}


@pytest.mark.parametrize("reason", SILENT)
@pytest.mark.parametrize("retries", [0, 1])
def test_many_end_as_one_does(passed, settings, reason, retries):
    settings.NYXCORE_LOST_RETRIES = retries
    (alone,) = lost(1, SILENT[reason])
    StepAttempt.objects.update(output="Half", request={"prompt": "p", "model": "practice"})
    (alike,) = [line.done for line in sweep_now() if line.found == reason]
    expected = story(alone)
    StepAttempt.objects.filter(status="pending").update(queued_at=later(60))  # not claimed below
    together = lost(MANY, SILENT[reason])
    StepAttempt.objects.filter(step__workflow__in=together).update(
        output="Half", request={"prompt": "p", "model": "practice"}
    )
    found = [line for line in sweep_now() if line.found == reason]
    assert [line.done for line in found] == [alike] * MANY
    assert story(together[0])[2][0][:2] == ("failed", reason)
    assert [story(run) for run in together] == [expected] * MANY


def test_a_deadline_ends_many_living_rows(passed):
    runs = lost()
    StepAttempt.objects.filter(status="running").update(due_at=later(60), deadline_at=ago(100))
    sweep_now()
    assert {(run.status, run.reason) for run in Workflow.objects.filter(pk__in=[r.pk for r in runs])} == {
        ("failed", "deadline")
    }


def test_stored_answers_among_many_are_finished(passed):
    runs = lost()
    stored = attempts_of(runs[3], "one")[0]
    StepAttempt.objects.filter(pk=stored.pk).update(output="All of it.", stop_reason="end_turn")
    sweep_now()
    assert statuses(runs[3])["one"] == "completed"
    assert attempts_of(runs[4], "one")[0].reason == "lost"


def test_a_row_renewed_in_the_meantime_is_left_alone(passed):
    runs = lost()
    pks = list(StepAttempt.objects.filter(status="running").values_list("pk", flat=True))
    alive = attempts_of(runs[0], "one")[0]
    StepAttempt.objects.filter(pk=alive.pk).update(due_at=later(60))
    done = recovery.RECOVERY.expire_together(pks)
    assert set(done) == set(pks) - {alive.pk}
    alive.refresh_from_db()
    assert alive.status == "running"


def test_tries_of_many_steps_are_counted_as_those_of_one():
    causes = (
        ("start",), ("start", "lost"), ("start", "lost", "lost"), ("start", "lost", "retry", "lost"),
        ("start", "lost", "backoff", "lost"), ("start", "lost", "edit"),
    )  # fmt: skip
    run = make_workflow([{"key": f"s{n}", "needs": []} for n in range(len(causes))])
    steps = list(run.steps.order_by("position"))
    for step, history in zip(steps, causes, strict=True):
        for number, cause in enumerate(history, 1):
            StepAttempt.objects.create(
                step=step, number=number, cause=cause, kind="llm", status="cancelled", finished_at=ago(0)
            )
    expected = {
        step.pk: (len(history), again.tries(step, "lost"))
        for step, history in zip(steps, causes, strict=True)
    }
    assert again.tries_of(list(expected), "lost") == expected
    assert {tries for _number, tries in expected.values()} == {0, 1, 2}


def test_many_that_are_lost_a_second_time_fail(passed):
    runs = lost()
    sweep_now()
    for _ in runs:
        silence(claim(), 120)
    assert {line.done for line in sweep_now() if line.found == "lost"} == {
        "ended as lost; the step is failed"
    }
    assert [statuses(run)[""] for run in runs] == ["failed"] * MANY


def test_the_late_answer_of_one_of_many_is_dropped(passed):
    (run, *_others) = lost()
    attempt = attempts_of(run, "one")[0]
    sweep_now()
    finish(attempt, "Too late.")
    old, new = attempts_of(run, "one")
    assert (old.status, old.output, new.status) == ("failed", "Too late.", "pending")


def test_a_run_that_somebody_holds_and_one_that_breaks_do_not_hold_up_the_others(passed, monkeypatch):
    runs = lost()
    broken = runs[5].pk
    settle = engine.settle

    def breaks(workflow, **kwargs):
        if workflow.pk == broken:
            raise RuntimeError("a mistake of ours")
        return settle(workflow, **kwargs)

    monkeypatch.setattr(engine, "settle", breaks)
    found = {line.row: line.done for line in sweep_now() if line.found == "lost"}
    assert found.pop(f"attempt {attempts_of(runs[5], 'one')[0].pk}").startswith("failed:")
    assert set(found.values()) == {"ended as lost; a new attempt waits for a worker"}


def test_two_siblings_of_one_run_are_lost_together(passed):
    steps = [{"key": f"s{n}", "needs": []} for n in range(MANY)]
    run = make_workflow(steps, start=True)
    for _ in range(MANY):
        silence(claim(), 120)
    sweep_now()
    assert StepAttempt.objects.filter(step__workflow=run, status="pending", cause="lost").count() == MANY
    run_all()
    assert statuses(run)[""] == "completed"


def test_lost_rows_of_a_held_run_open_nothing(passed):
    runs = lost()
    services.pause_workflow(runs[0], by=runs[0].owner)
    sweep_now()
    assert statuses(runs[0]) == {"": "paused", "one": "pending", "two": "pending", "three": "pending"}


def test_the_periodic_pass_finds_runs_that_stand_still(passed):
    (run,) = lost(1)
    StepAttempt.objects.filter(step__workflow=run).delete()
    found = sweep.run_pass(force=True)
    assert [line.row for line in found] == [f"workflow {run.pk}"]
