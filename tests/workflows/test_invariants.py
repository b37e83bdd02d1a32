"""Each promise of the database, attacked with raw SQL: the eight invariants, and the documented way round them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from nyxcore.states import (
    ATTEMPT_EDGES,
    STEP_EDGES,
    STEP_PERSON_EDGES,
    WORKFLOW_EDGES,
    WORKFLOW_PERSON_EDGES,
    Status,
)
from tests.factories import make_user
from workflows.models import Step, StepAttempt, Workflow

S = Status
pytestmark = pytest.mark.django_db
NOW = "clock_timestamp()"


def sql(statement: str, *values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.rowcount


def refused(statement: str, *values: Any) -> str:
    """The database's words for why it refused `statement`; fails when it did not."""
    with pytest.raises((IntegrityError, DatabaseError)) as caught, transaction.atomic():
        sql(statement, *values)
        sql("SET CONSTRAINTS ALL IMMEDIATE")
    return str(caught.value)


def workflow_row(status: str = "running", **fields: Any) -> Workflow:
    times: dict[str, Any] = {"started_at": "2026-01-01T00:00Z"} if status != "pending" else {}
    if status in ("completed", "failed", "cancelled"):
        times["finished_at"] = "2026-01-01T00:01Z"
    return Workflow.objects.create(owner=make_user(), name="w", status=status, **times | fields)


def step_row(workflow: Workflow, key: str = "one", status: str = "running", **fields: Any) -> Step:
    times: dict[str, Any] = {"started_at": "2026-01-01T00:00Z"} if status != "pending" else {}
    if status in ("completed", "failed", "cancelled", "skipped", "cut_off"):
        times["finished_at"] = "2026-01-01T00:01Z"
    position = workflow.steps.count() + 1
    row = {
        "workflow": workflow,
        "key": key,
        "title": key,
        "kind": "llm",
        "position": position,
        "status": status,
    }
    return Step.objects.create(**row | times | fields)


def attempt_row(step: Step, status: str = "running", **fields: Any) -> StepAttempt:
    row: dict[str, Any] = {"step": step, "kind": "llm", "number": step.attempts.count() + 1, "status": status}
    if status in ("running", "pending", "waiting"):
        row["due_at"] = "2026-01-01T00:01Z"
    if status == "running":
        row |= {"worker": "w:1", "deadline_at": "2026-01-01T01:00Z"}
    if status != "pending":
        row["started_at"] = "2026-01-01T00:00Z"
    if status in ("completed", "failed", "cancelled", "cut_off"):
        row["finished_at"] = "2026-01-01T00:01Z"
    if status == "completed":
        row["stop_reason"] = "end_turn"
    return StepAttempt.objects.create(**row | fields)


@pytest.fixture
def step(db: Any) -> Step:
    return step_row(workflow_row())


# 1. A running attempt is held; every open attempt has an alarm.


@pytest.mark.parametrize("column", ["due_at", "deadline_at", "started_at"])
def test_running_attempt_cannot_lose(step, column):
    attempt = attempt_row(step)
    assert "check constraint" in refused(
        f"UPDATE workflows_stepattempt SET {column} = NULL WHERE id = %s", attempt.pk
    )


def test_running_attempt_cannot_lose_its_worker(step):
    attempt = attempt_row(step)
    assert "running_is_held" in refused(
        "UPDATE workflows_stepattempt SET worker = '' WHERE id = %s", attempt.pk
    )


@pytest.mark.parametrize("status", ["pending", "waiting"])
def test_open_attempt_cannot_lose_its_alarm(step, status):
    attempt = attempt_row(step, status)
    assert "open_has_due_at" in refused(
        "UPDATE workflows_stepattempt SET due_at = NULL WHERE id = %s", attempt.pk
    )


def test_active_workflow_without_start_time_is_refused():
    pk = workflow_row("pending").pk
    assert "workflow_started" in refused("UPDATE workflows_workflow SET status = 'running' WHERE id = %s", pk)


@pytest.mark.parametrize("status", ["running", "paused", "completed", "failed"])
def test_run_that_is_active_or_done_cannot_be_without_its_start(db, status):
    why = refused(
        "UPDATE workflows_workflow SET started_at = NULL WHERE id = %s",
        workflow_row(status).pk,
    )
    assert "workflow_started" in why


# 2. One open attempt for a step and branch.


@pytest.mark.parametrize("first", ["pending", "running", "waiting"])
@pytest.mark.parametrize("second", ["pending", "running"])
def test_second_open_attempt_is_refused(step, first, second):
    attempt_row(step, first)
    with pytest.raises(IntegrityError, match="attempt_one_open"), transaction.atomic():
        attempt_row(step, second)


def test_open_attempts_of_two_branches_are_allowed(step):
    attempt_row(step)
    attempt_row(step, branch="b", number=1)
    assert step.attempts.count() == 2


# 3. Only edges of the table; some need a person.


def pairs(edges: dict[Status, frozenset[Status]]) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a in edges for b in edges if a != b]


def follow(table: str, pk: int, frm: str, to: str) -> None:
    """An UPDATE that meets every CHECK, so that only the edge trigger can refuse it."""
    ended = to in ("completed", "failed", "cancelled", "skipped", "cut_off")
    extra = (
        ", worker = 'w:1', deadline_at = now(), due_at = now(), stop_reason = 'end_turn'"
        if "attempt" in table
        else ""
    )
    started, finished = "'2026-01-01T00:00Z'", NOW if ended else "NULL"
    sql(
        f"UPDATE {table} SET status = %s, started_at = {started}, finished_at = {finished}{extra} WHERE id = %s",
        to,
        pk,
    )


def attempt_edge(frm: str, to: str) -> None:
    stop = {"stop_reason": "end_turn"}
    attempt = attempt_row(step_row(workflow_row()), frm, **stop)
    follow("workflows_stepattempt", attempt.pk, frm, to)


def step_edge(frm: str, to: str) -> None:
    follow("workflows_step", step_row(workflow_row(), status=frm).pk, frm, to)


def workflow_edge(frm: str, to: str) -> None:
    follow("workflows_workflow", workflow_row(frm).pk, frm, to)


CASES = [
    pytest.param(
        edge, frm, to, Status(to) in table[Status(frm)], (frm, to) in person, id=f"{name}-{frm}-{to}"
    )
    for name, edge, table, person in [
        ("workflow", workflow_edge, WORKFLOW_EDGES, WORKFLOW_PERSON_EDGES),
        ("step", step_edge, STEP_EDGES, STEP_PERSON_EDGES),
        ("attempt", attempt_edge, ATTEMPT_EDGES, set()),
    ]
    for frm, to in pairs(table)
]


@pytest.mark.parametrize(("edge", "frm", "to", "allowed", "person_only"), CASES)
def test_database_knows_the_same_edges_as_the_tables(edge, frm, to, allowed, person_only):
    def passes(actor: str) -> bool:
        try:
            with transaction.atomic():
                sql("SELECT set_config('nyxcore.actor', %s, true)", actor)
                edge(frm, to)
                transaction.set_rollback(True)
        except DatabaseError as error:
            assert "may not go" in str(error), error
            return False
        return True

    assert (passes(""), passes("person:ada")) == (allowed and not person_only, allowed)


def test_an_operator_may_set_a_row_on_purpose(step):
    sql("SELECT set_config('nyxcore.actor', 'repair:dba', true)")
    sql("UPDATE workflows_step SET status = 'failed', finished_at = clock_timestamp() WHERE id = %s", step.pk)
    assert sql("UPDATE workflows_step SET status = 'completed' WHERE id = %s", step.pk) == 1


def test_even_a_repair_keeps_the_checks(step):
    sql("SELECT set_config('nyxcore.actor', 'repair:dba', true)")
    assert "finished_when_ended" in refused(
        "UPDATE workflows_step SET status = 'failed' WHERE id = %s", step.pk
    )


# 4. Closed workflows have no step at work; completed ones only done steps.


@pytest.mark.parametrize("status", ["pending", "running", "waiting", "cut_off", "failed", "cancelled"])
def test_completed_workflow_refuses_a_step_that_is(status):
    workflow = workflow_row()
    step_row(workflow, status=status)
    why = refused(
        "UPDATE workflows_workflow SET status = 'completed', finished_at = clock_timestamp() WHERE id = %s",
        workflow.pk,
    )
    assert "step_of_completed_is_done" in why


@pytest.mark.parametrize("status", ["running", "waiting"])
@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_closed_workflow_refuses_a_step_that_is(status, end):
    workflow = workflow_row()
    step_row(workflow, status=status)
    why = refused(
        f"UPDATE workflows_workflow SET status = '{end}', finished_at = clock_timestamp() WHERE id = %s",
        workflow.pk,
    )
    assert "step_of_closed_is_idle" in why


def test_step_cannot_be_opened_below_a_completed_workflow():
    workflow = workflow_row()
    pk = step_row(workflow, status="completed").pk
    sql(
        "UPDATE workflows_workflow SET status = 'completed', finished_at = clock_timestamp() WHERE id = %s",
        workflow.pk,
    )
    sql("SELECT set_config('nyxcore.actor', 'person:ada', true)")
    why = refused("UPDATE workflows_step SET status = 'pending', finished_at = NULL WHERE id = %s", pk)
    assert "step_of_completed_is_done" in why


def test_last_step_of_a_completed_workflow_cannot_be_pending_whoever_repairs():
    workflow = workflow_row()
    pk = step_row(workflow, status="completed").pk
    sql(
        "UPDATE workflows_workflow SET status = 'completed', finished_at = clock_timestamp() WHERE id = %s",
        workflow.pk,
    )
    sql("SELECT set_config('nyxcore.actor', 'repair:dba', true)")
    why = refused(
        "UPDATE workflows_step SET status = 'pending', started_at = NULL, finished_at = NULL WHERE id = %s",
        pk,
    )
    assert "step_of_completed_is_done" in why


def test_step_cannot_be_added_to_a_completed_workflow():
    workflow = workflow_row("completed")
    with pytest.raises(IntegrityError), transaction.atomic():
        step_row(workflow, status="pending")
        sql("SET CONSTRAINTS ALL IMMEDIATE")


def test_phase_of_a_step_cannot_be_forged(step):
    sql("SELECT set_config('nyxcore.actor', 'person:ada', true)")
    assert "step_workflow_phase" in refused(
        "UPDATE workflows_step SET workflow_phase = 'completed', status = 'completed', finished_at = now()"
        " WHERE id = %s",
        step.pk,
    )


# 5. Ended rows, and only those, have finished_at, never before started_at.


@pytest.mark.parametrize("table", ["workflows_workflow", "workflows_step", "workflows_stepattempt"])
def test_open_row_cannot_have_an_end(step, table):
    attempt_row(step)
    assert "finished_when_ended" in refused(f"UPDATE {table} SET finished_at = clock_timestamp()")


def test_ended_rows_cannot_lose_their_end(step):
    attempt_row(step, "failed")
    assert "finished_when_ended" in refused("UPDATE workflows_stepattempt SET finished_at = NULL")


def test_end_before_start_is_refused(step):
    attempt_row(step, "failed")
    assert "finished_after_start" in refused(
        "UPDATE workflows_stepattempt SET finished_at = started_at - interval '1 s'"
    )


# 6. Attempt numbers have no gap, and history stays.


@pytest.mark.parametrize("number", [0, 1, 3])
def test_attempt_number_with_a_gap_is_refused(step, number):
    attempt_row(step, "failed")
    with pytest.raises(IntegrityError, match="gap"), transaction.atomic():
        attempt_row(step, "failed", number=number)


def test_attempt_cannot_be_renumbered(step):
    attempt_row(step, "failed")
    assert "history" in refused("UPDATE workflows_stepattempt SET number = 7")


def test_an_attempt_cannot_vanish_below_later_ones(step):
    first = attempt_row(step, "failed")
    attempt_row(step, "failed")
    assert "later ones stay" in refused("DELETE FROM workflows_stepattempt WHERE id = %s", first.pk)


def test_a_workflow_takes_its_history_along(step):
    attempt_row(step, "failed")
    attempt_row(step, "failed")
    step.workflow.delete()
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    assert not StepAttempt.objects.exists()


# 7. A completed answer of a model has a good stop reason.


@pytest.mark.parametrize(
    "stop_reason", ["", "max_tokens", "refusal", "tool_use", "model_context_window_exceeded"]
)
def test_answer_without_a_good_stop_reason_is_never_complete(step, stop_reason):
    attempt = attempt_row(step, stop_reason=stop_reason)
    why = refused(
        "UPDATE workflows_stepattempt SET status = 'completed', finished_at = clock_timestamp() WHERE id = %s",
        attempt.pk,
    )
    assert "attempt_complete_answer" in why


def test_stop_reason_of_an_ended_attempt_does_not_change(step):
    attempt_row(step, "failed", stop_reason="max_tokens")
    assert "history" in refused("UPDATE workflows_stepattempt SET stop_reason = 'end_turn'")


# 8. Positions and keys are unique in a workflow.


@pytest.mark.parametrize("column", ["position", "key"])
def test_second_step_with_the_same(step, column):
    with pytest.raises(IntegrityError, match=f"step_{column}"), transaction.atomic():
        fields = {"position": step.position} if column == "position" else {"key": step.key}
        step_row(step.workflow, **{"key": "other"} | fields)
        sql("SET CONSTRAINTS ALL IMMEDIATE")


def test_unknown_status_word_is_refused(step):
    sql("SELECT set_config('nyxcore.actor', 'repair:dba', true)")
    assert "status_known" in refused("UPDATE workflows_step SET status = 'done' WHERE id = %s", step.pk)


# Two transactions at once.


@pytest.mark.django_db(transaction=True)
def test_race_of_completing_against_adding_a_step_never_breaks_invariant_4():
    """Whoever commits second meets the composite key; a deferred trigger in its place would let both through."""
    for _ in range(15):
        workflow = workflow_row()
        step_row(workflow, status="completed")
        together = threading.Barrier(2)

        def complete(pk: int = workflow.pk, together: threading.Barrier = together) -> None:
            with transaction.atomic():
                together.wait(5)
                sql(
                    "UPDATE workflows_workflow SET status='completed', finished_at=clock_timestamp() WHERE id=%s",
                    pk,
                )

        def add(workflow: Workflow = workflow, together: threading.Barrier = together) -> None:
            with transaction.atomic():
                together.wait(5)
                step_row(workflow, key="late", status="pending", position=2)

        race(complete, add)
        workflow.refresh_from_db()
        undone = workflow.steps.exclude(status="completed").exists()
        assert not (workflow.status == "completed" and undone)


@pytest.mark.django_db(transaction=True)
def test_race_of_two_attempts_leaves_one():
    for _ in range(15):
        step = step_row(workflow_row())
        together = threading.Barrier(2)

        def open_one(step: Step = step, together: threading.Barrier = together) -> None:
            with transaction.atomic():
                together.wait(5)
                StepAttempt.objects.create(
                    step=step, kind="llm", number=1, status="pending", due_at="2026-01-01T00:01Z"
                )

        errors = race(open_one, open_one)
        assert (StepAttempt.objects.filter(step=step).count(), len(errors)) == (1, 1)


def race(*actions: Any) -> list[Exception]:
    """Run the actions in threads of their own; the database errors that they met."""
    errors: list[Exception] = []

    def run(action: Any) -> None:
        try:
            action()
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return errors
