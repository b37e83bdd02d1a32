"""The sweep can be trusted: it ends what is dead and nothing else, its verdict stays, and each of its callers is enough
alone. Rows are moved in time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import transaction

from nyxcore import asgi, pulse, sweep
from nyxcore.calls import CALLS, Call
from nyxcore.dbtime import ago, later
from nyxcore.models import SweepState
from nyxcore.states import SWEEP, Status, acting, transition
from tests.factories import attempts_of, make_user, make_workflow, step_of
from tests.processes.tools import eventually
from tests.workflows.engine_helpers import claim, fail, finish, run_all, silence, statuses
from workflows import engine, operating, recovery, services
from workflows.models import StepAttempt, Workflow
from workflows.work import Result

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

NEVER = 10_000.0  # s: no second pass


def passed(seconds: float = 9) -> None:
    """The last pass of the sweep was so long ago; no guard holds."""
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(seconds), "guard_until": None})


def dead(owner: str = "ada") -> Workflow:
    """A run whose worker has died; nobody has looked since."""
    workflow = make_workflow(owner=make_user(owner), start=True)
    silence(claim("dead:1"), 120)
    passed()
    return workflow


def known(workflow: Workflow) -> bool:
    return attempts_of(workflow, "one")[0].reason == "lost"


# --- a step that lives ---


def test_a_slow_step_that_lives_is_touched_by_no_sweep_start_or_check_until_its_deadline(client):
    """Fifty sweeps over hours, with processes and runs that start and pages that open between them."""
    workflow = make_workflow(start=True)
    attempt = claim()
    row = StepAttempt.objects.filter(pk=attempt.pk)
    client.force_login(workflow.owner)
    for number in range(50):
        age = 200.0 * number
        row.update(started_at=ago(age + 10), queued_at=ago(age + 20), heartbeat_at=ago(1), due_at=later(59),
                   deadline_at=later(10_100 - age))  # fmt: skip
        passed()
        sweep.run_pass()
        if number % 10 == 0:
            passed()
            _start_up()
            client.get(f"/workflows/{workflow.pk}/")
            services.cancel_workflow(make_workflow(start=True), by=workflow.owner)
    assert list(row.values_list("status", "number")) == [("running", 1)]
    row.update(deadline_at=ago(59))
    sweep.run_pass(scope=sweep.Scope())
    assert statuses(workflow)["one"] == "running", "it may still end by itself"
    row.update(deadline_at=ago(61))
    sweep.run_pass(scope=sweep.Scope())
    assert (statuses(workflow)[""], step_of(workflow, "one").reason) == ("failed", "deadline")


def _start_up() -> None:
    """What the start of a process does."""
    sweep.run_pass()


# --- the verdict stays, and can be undone by a person ---


@pytest.mark.parametrize("stop_reason", ["end_turn", "max_tokens"])
def test_a_late_worker_does_not_overwrite_the_verdict(stop_reason):
    workflow = make_workflow(start=True)
    attempt = claim()
    silence(attempt, 1200)
    passed()
    sweep.run_pass()
    before = (statuses(workflow), attempts_of(workflow, "one")[0].finished_at)
    finish(attempt, "Too late.", stop_reason=stop_reason)
    fail(attempt)
    after = attempts_of(workflow, "one")[0]
    assert (statuses(workflow), after.finished_at) == before
    assert (after.status, after.reason, after.output) == ("failed", "stuck", "Too late.")


@pytest.mark.parametrize("swept", [True, False])
def test_resume_goes_on_alike_after_a_sweep_and_after_a_failure(swept):
    workflow = make_workflow(start=True)
    finish(claim())
    attempt = claim()
    if swept:
        silence(attempt, 1200)
        passed()
        sweep.run_pass()
    else:
        fail(attempt)
    assert statuses(workflow)[""] == "failed"
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"
    assert [len(attempts_of(workflow, key)) for key in ("one", "two", "three")] == [1, 2, 1]
    assert attempts_of(workflow, "two")[1].cause == "retry"


# --- each caller alone ---


@contextmanager
def process(settings: Any, every: float, worker: str = "") -> Iterator[None]:
    """The threads of a process that passes so often."""
    settings.NYXCORE_LEASE, settings.NYXCORE_SWEEP_EVERY = 3 * every, every
    one = pulse.Process(worker=worker, threads=1)
    CALLS.draining = bool(worker)  # it shall claim nothing
    one.start()
    try:
        yield
    finally:
        one.close()


def test_the_periodic_pass_alone_finds_it(settings):
    """The process has passed at its start already when the worker dies."""
    with process(settings, 0.2):
        eventually(lambda: SweepState.objects.filter(last_pass__isnull=False).exists())
        workflow = dead()
        eventually(lambda: known(workflow))


@pytest.mark.parametrize("took", [0.0, 1.0, 8.5, 60.0])
def test_a_process_looks_for_its_next_pass_before_the_interval_is_over(settings, took):
    """By a margin for a busy machine, but not so early that its own last pass turns it away."""
    every = settings.NYXCORE_SWEEP_EVERY
    again = took + sweep.wait_after(took)
    assert again > sweep.MAY_PASS * every
    assert again == pytest.approx(max(0.9 * every, took + 0.1 * every))


def test_the_start_of_a_worker_alone_finds_it(settings):
    workflow = dead()
    passed(NEVER * 1.5)
    with process(settings, NEVER, worker="fresh:1"):
        eventually(lambda: known(workflow))


def test_the_start_of_a_web_process_alone_finds_it(settings):
    """By the server's own start-up message, as uvicorn sends it."""
    settings.NYXCORE_LEASE, settings.NYXCORE_SWEEP_EVERY = 3 * NEVER, NEVER
    workflow = dead()
    passed(NEVER * 1.5)
    said: list[dict[str, Any]] = []

    async def serve() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        messages.put_nowait({"type": "lifespan.startup"})

        async def send(message: dict[str, Any]) -> None:
            said.append(message)
            if len(said) == 1:
                await asyncio.to_thread(eventually, lambda: known_elsewhere(workflow))
                messages.put_nowait({"type": "lifespan.shutdown"})

        await asyncio.wait_for(asgi.application({"type": "lifespan"}, messages.get, send), 30)

    asyncio.run(serve())
    assert known(workflow)


def known_elsewhere(workflow: Workflow) -> bool:
    from django.db import connection

    try:
        return known(workflow)
    finally:
        connection.close()


def test_the_check_before_a_start_alone_finds_it():
    workflow = dead()
    make_workflow(owner=workflow.owner, start=True)
    assert known(workflow)


def test_the_start_of_another_owners_run_is_no_such_check():
    workflow = dead("bob")
    make_workflow(start=True)
    assert not known(workflow)


def test_the_page_that_opens_alone_finds_it(client):
    workflow = dead()
    client.force_login(workflow.owner)
    assert client.get(f"/workflows/{workflow.pk}/").status_code == 200
    assert known(workflow)


def test_fragments_of_an_open_page_sweep_nothing(client):
    workflow = dead()
    client.force_login(workflow.owner)
    assert client.get(f"/workflows/{workflow.pk}/?part=run").status_code == 200
    assert not known(workflow)


# --- after an outage ---


def test_after_an_outage_of_two_leases_ten_live_steps_survive_and_one_dead_is_swept_a_lease_later():
    """Nobody could reach the database for that long, so every lease has passed; the pulse renews the ten."""
    steps = [{"key": f"s{n}", "needs": []} for n in range(11)]
    workflow = make_workflow(steps, start=True)
    attempts = [claim(f"live:1/{n}") for n in range(10)] + [claim("dead:1/0")]
    for attempt in attempts:
        silence(attempt, 130)
    passed(130)
    assert {line.done for line in sweep.run_pass()} == {"left alone: the guard after an outage holds"}
    with ExitStack() as stack:
        for attempt in attempts[:10]:
            call = Call((services.TABLE, attempt.pk), "c", "d", attempt.worker, deadline=1e12)
            stack.enter_context(CALLS.holding(call))
        pulse.Process(worker="live:1", threads=10)._beat(stack.enter_context(pulse.connect()))
        assert not any(call.stop.is_set() for call in CALLS.all())
    SweepState.objects.update(last_pass=ago(9), guard_until=ago(0))  # a lease later
    found = sweep.run_pass()
    assert [(line.row, line.found) for line in found] == [(f"attempt {attempts[10].pk}", "lost")]
    running = StepAttempt.objects.filter(step__workflow=workflow, status="running")
    assert list(running.order_by("pk")) == attempts[:10]


# --- a pass is complete ---


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)


def several_dead(count: int) -> list[Workflow]:
    workflows = [make_workflow(start=True) for _ in range(count)]
    for _ in workflows:
        silence(claim(), 120)
    passed()
    return workflows


def test_a_page_full_of_rows_that_cannot_be_moved_hides_no_later_ones(small_pages):
    """Their runs are locked by somebody; the next pages come all the same."""
    workflows = several_dead(5)
    with pulse.connect() as other, other.transaction():
        other.execute(
            "SELECT FROM workflows_workflow WHERE id = ANY(%s) FOR UPDATE", [[w.pk for w in workflows[:3]]]
        )
        sweep.run_pass()
    assert [known(w) for w in workflows] == [False, False, False, True, True]


def test_a_page_full_of_rows_whose_handler_raises_hides_no_later_ones(small_pages, monkeypatch):
    workflows = several_dead(5)
    bad = {w.pk for w in workflows[:3]}
    original = engine.follow

    def follow(workflow: Workflow, attempt: StepAttempt, result: Result) -> None:
        if workflow.pk in bad:
            raise ValueError("cannot be ended")
        original(workflow, attempt, result)

    monkeypatch.setattr(engine, "follow", follow)
    found = sweep.run_pass()
    assert [line.done for line in found[:3]] == ["failed: cannot be ended"] * 3
    assert [known(w) for w in workflows] == [False, False, False, True, True]


def test_many_that_wait_for_a_worker_hide_no_dead_one(small_pages):
    """In the order of their keys they come before it, and their number grows with the load."""
    waiting = [make_workflow(start=True) for _ in range(5)]
    StepAttempt.objects.filter(step__workflow__in=waiting).update(queued_at=later(5), due_at=ago(1))
    workflow = make_workflow(start=True)
    silence(claim(), 120)
    passed()
    sweep.run_pass()
    assert known(workflow)


def test_a_page_full_of_idle_runs_hides_no_later_ones(small_pages, monkeypatch):
    workflows = [make_workflow(start=True) for _ in range(5)]
    StepAttempt.objects.all().delete()
    bad = {w.pk for w in workflows[:3]}
    original = engine.settle
    monkeypatch.setattr(engine, "settle", lambda w, **kw: 1 / 0 if w.pk in bad else original(w, **kw))
    sweep.run_pass(scope=sweep.Scope())
    assert [len(attempts_of(w, "one")) for w in workflows] == [0, 0, 0, 1, 1]


def test_a_pending_attempt_that_somebody_has_locked_does_not_end_the_pass():
    """Else one forgotten lock keeps every dead step in the system running."""
    workflow = dead()
    other = make_workflow(start=True)
    StepAttempt.objects.filter(step__workflow=other).update(due_at=ago(1))
    passed()
    with pulse.connect() as conn, conn.transaction():
        conn.execute(
            "SELECT FROM workflows_stepattempt WHERE step_id = %s FOR UPDATE", [step_of(other, "one").pk]
        )
        sweep.run_pass()
    assert known(workflow)


def test_a_ring_that_fails_does_not_end_the_pass(monkeypatch):
    workflow = dead()
    target = recovery.SWEPT
    StepAttempt.objects.filter(step__workflow=make_workflow(start=True)).update(due_at=ago(1))
    passed()
    from dataclasses import replace

    monkeypatch.setattr(sweep, "TARGETS", [replace(target, ring=lambda pks: 1 / 0)])
    found = sweep.run_pass()
    assert {line.done for line in found} >= {"failed: division by zero"}
    assert known(workflow)


def test_a_running_run_with_nothing_at_work_is_settled_though_a_step_of_it_was_cut():
    """As an import may bring it: no alarm of an attempt would ever go off."""
    workflow = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    with transaction.atomic(), acting(SWEEP):
        transition(engine.lock(workflow.pk), Status.PAUSED, Status.RUNNING)
    sweep.run_pass(scope=sweep.Scope())
    assert (statuses(workflow)[""], Workflow.objects.get(pk=workflow.pk).reason) == (
        "paused",
        "cut_off:max_tokens",
    )


# --- beside the operators ---


def test_a_run_that_was_paused_and_marked_failed_starts_when_it_is_run_again():
    """The hold of the pause must not outlive the run that it held."""
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    operating.mark_failed(workflow, by=make_user("root"))
    services.rerun_from(step_of(workflow, "one"), by=workflow.owner)
    assert statuses(workflow)[""] == "running"


def test_a_release_looks_at_a_locked_row(monkeypatch):
    """Else an answer that is stored in this very moment is thrown away and paid for again."""
    workflow = make_workflow(start=True)
    attempt = claim()
    free: list[Any] = []
    original = operating._release

    def release(*args: Any) -> bool:
        with pulse.connect() as other:
            query = "SELECT id FROM workflows_stepattempt WHERE id = %s FOR UPDATE SKIP LOCKED"
            free.extend(other.execute(query, [attempt.pk]).fetchall())
        return original(*args)

    monkeypatch.setattr(operating, "_release", release)
    operating.release_workflow(workflow, by=make_user("root"))
    assert free == []
    assert attempts_of(workflow, "one")[0].reason == "lost"
