"""Each promise of the database about analyses, attacked with raw SQL."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from analysis.models import (
    AnalysisRun,
    Document,
    Finding,
    FindingChange,
    SourceFile,
    TrackedFinding,
    Unit,
    UnitAttempt,
    Verdict,
)
from nyxcore.states import (
    ANALYSIS_EDGES,
    ANALYSIS_PERSON_EDGES,
    ATTEMPT_EDGES,
    ENDED,
    UNIT_EDGES,
    UNIT_PERSON_EDGES,
    Status,
)
from tests.factories import make_user
from tests.workflows.test_invariants import NOW, pairs, race, refused, sql

S = Status
pytestmark = pytest.mark.django_db
START, END = "2026-01-01T00:00Z", "2026-01-01T00:01Z"


def times(status: str) -> dict[str, Any]:
    found: dict[str, Any] = {} if status == "pending" else {"started_at": START}
    return found | ({"finished_at": END} if status in ENDED else {})


def run_row(status: str = "analyzing", **fields: Any) -> AnalysisRun:
    row = {"owner": make_user(), "name": "r", "source_kind": "git", "location": "x", "source_key": "k"}
    return AnalysisRun.objects.create(**row | {"status": status} | times(status) | fields)


def unit_row(run: AnalysisRun, key: str = "one", status: str = "running", **fields: Any) -> Unit:
    row = {"run": run, "kind": "chunk", "key": key, "status": status}
    return Unit.objects.create(**row | times(status) | fields)


def attempt_row(unit: Unit, status: str = "running", **fields: Any) -> UnitAttempt:
    row: dict[str, Any] = {
        "unit": unit,
        "kind": "chunk",
        "number": unit.attempts.count() + 1,
        "status": status,
    }
    if status in ("running", "pending", "waiting"):
        row["due_at"] = END
    if status == "running":
        row |= {"worker": "w:1", "deadline_at": "2026-01-01T01:00Z"}
    if status == "completed":
        row["stop_reason"] = "end_turn"
    return UnitAttempt.objects.create(**row | times(status) | fields)


def finding_row(unit: Unit, **fields: Any) -> Finding:
    row = {
        "run": unit.run, "unit": unit, "analyzer": "correctness", "rule_id": "r", "title": "t", "message": "m",
        "severity": "high", "level": "error", "path": "a.py", "start_line": 1, "end_line": 1, "match": "exact",
        "excerpt": "x", "fingerprint": "f",
    }  # fmt: skip
    return Finding.objects.create(**row | fields)


@pytest.fixture
def unit(db: Any) -> Unit:
    return unit_row(run_row())


# 1. A running attempt is held; every open attempt has an alarm.


@pytest.mark.parametrize("column", ["due_at", "deadline_at", "started_at"])
def test_running_attempt_cannot_lose(unit: Unit, column: str) -> None:
    pk = attempt_row(unit).pk
    assert "check constraint" in refused(f"UPDATE analysis_unitattempt SET {column} = NULL WHERE id = %s", pk)


def test_running_attempt_cannot_lose_its_worker(unit: Unit) -> None:
    pk = attempt_row(unit).pk
    assert "running_is_held" in refused("UPDATE analysis_unitattempt SET worker = '' WHERE id = %s", pk)


def test_open_attempt_cannot_lose_its_alarm(unit: Unit) -> None:
    pk = attempt_row(unit, "pending").pk
    assert "open_has_due_at" in refused("UPDATE analysis_unitattempt SET due_at = NULL WHERE id = %s", pk)


def test_active_run_without_start_time_is_refused() -> None:
    pk = run_row("pending").pk
    told = refused("UPDATE analysis_analysisrun SET status = 'scanning' WHERE id = %s", pk)
    assert "analysis_started" in told


# 2. One open attempt for a unit.


@pytest.mark.parametrize("first", ["pending", "running", "waiting"])
def test_second_open_attempt_is_refused(unit: Unit, first: str) -> None:
    attempt_row(unit, first)
    with pytest.raises(IntegrityError, match="unit_attempt_one_open"), transaction.atomic():
        attempt_row(unit, "pending")


@pytest.mark.django_db(transaction=True)
def test_race_of_two_attempts_leaves_one() -> None:
    unit = unit_row(run_row())
    together = threading.Barrier(2)

    def open_one() -> None:
        with transaction.atomic():
            together.wait(5)
            attempt_row(unit, "pending", number=1)

    errors = race(open_one, open_one)
    assert (UnitAttempt.objects.filter(unit=unit).count(), len(errors)) == (1, 1)


# 3. Only edges of the tables; some need a person.

TABLES = {
    "analysisrun": (ANALYSIS_EDGES, ANALYSIS_PERSON_EDGES),
    "unit": (UNIT_EDGES, UNIT_PERSON_EDGES),
    "unitattempt": (ATTEMPT_EDGES, set()),
}


def row_in(table: str, status: str) -> int:
    if table == "analysisrun":
        return int(run_row(status).pk)
    if table == "unit":
        return int(unit_row(run_row(), status=status).pk)
    return int(attempt_row(unit_row(run_row()), status, stop_reason="end_turn").pk)


def follow(table: str, pk: int, to: str) -> None:
    """An UPDATE that meets every CHECK, so that only the edge trigger can refuse it."""
    extra = ", worker = 'w:1', deadline_at = now(), due_at = now()" if table == "unitattempt" else ""
    finished = NOW if to in ENDED else "NULL"
    sql(
        f"UPDATE analysis_{table} SET status = %s, started_at = '{START}', finished_at = {finished}{extra} "
        "WHERE id = %s",
        to,
        pk,
    )


@pytest.mark.parametrize("table", TABLES)
def test_the_database_knows_the_same_edges_as_the_tables(table: str) -> None:
    edges, by_person = TABLES[table]
    for frm, to in pairs(edges):
        pk = row_in(table, frm)
        allowed = S(to) in edges[S(frm)]
        free = allowed and (S(frm), S(to)) not in by_person
        assert moves(table, pk, to, "") == free, f"{frm} > {to}"
        if not free:
            assert moves(table, pk, to, "person:ada") == allowed, f"{frm} > {to} by a person"


def moves(table: str, pk: int, to: str, actor: str) -> bool:
    try:
        with transaction.atomic():
            sql("SELECT set_config('nyxcore.actor', %s, true)", actor)
            follow(table, pk, to)
    except DatabaseError as error:
        assert "may not go" in str(error), error
        return False
    return True


# 4. A completed run has only ended units; a failed or cancelled one has none at work.


@pytest.mark.parametrize("open_", ["pending", "running", "cancelled"])
def test_run_with_an_open_unit_cannot_complete(open_: str) -> None:
    run = run_row("generating")
    unit_row(run, status=open_)
    told = refused(
        f"UPDATE analysis_analysisrun SET status = 'completed', finished_at = {NOW} WHERE id = %s", run.pk
    )
    assert "unit_of_completed_is_ended" in told


def test_run_with_gaps_completes() -> None:
    run = run_row("generating")
    for status in ("completed", "skipped", "failed"):
        unit_row(run, status, status)
    sql(f"UPDATE analysis_analysisrun SET status = 'completed', finished_at = {NOW} WHERE id = %s", run.pk)
    assert set(run.units.values_list("run_phase", flat=True)) == {"completed"}


@pytest.mark.parametrize("closed", ["failed", "cancelled"])
def test_run_with_a_running_unit_cannot_close(unit: Unit, closed: str) -> None:
    told = refused(
        f"UPDATE analysis_analysisrun SET status = %s, finished_at = {NOW} WHERE id = %s", closed, unit.run_id
    )
    assert "unit_of_closed_is_idle" in told


def test_open_unit_cannot_join_a_completed_run() -> None:
    run = run_row("completed")
    with pytest.raises(IntegrityError), transaction.atomic():
        unit_row(run, status="pending")


def test_phase_of_a_unit_cannot_be_forged() -> None:
    unit = unit_row(run_row(), status="failed")
    assert "unit_run_phase" in refused("UPDATE analysis_unit SET run_phase = 'closed' WHERE id = %s", unit.pk)


# 5. Ended rows have finished_at, open ones have not.


def test_ended_unit_without_its_time_is_refused(unit: Unit) -> None:
    told = refused("UPDATE analysis_unit SET status = 'completed' WHERE id = %s", unit.pk)
    assert "unit_finished_when_ended" in told


def test_end_before_the_start_is_refused(unit: Unit) -> None:
    told = refused(
        "UPDATE analysis_unit SET status = 'failed', finished_at = '2025-01-01T00:00Z' WHERE id = %s", unit.pk
    )
    assert "unit_finished_after_start" in told


# 6. Attempts are numbered without gaps, and none is rewritten.


def test_a_gap_in_the_numbers_is_refused(unit: Unit) -> None:
    with pytest.raises(DatabaseError, match="would leave a gap"), transaction.atomic():
        attempt_row(unit, "failed", number=2)


@pytest.mark.parametrize("change", ["number = 5", "kind = 'verify'"])
def test_an_attempt_is_not_rewritten(unit: Unit, change: str) -> None:
    pk = attempt_row(unit).pk
    assert "history" in refused(f"UPDATE analysis_unitattempt SET {change} WHERE id = %s", pk)


def test_an_attempt_below_later_ones_cannot_go(unit: Unit) -> None:
    first = attempt_row(unit, "failed")
    attempt_row(unit, "failed")
    assert "cannot go alone" in refused("DELETE FROM analysis_unitattempt WHERE id = %s", first.pk)


# 7. A completed attempt of a model call has a good stop reason.


@pytest.mark.parametrize("kind", ["overview", "chunk", "verify", "document"])
def test_completed_call_without_its_stop_reason_is_refused(unit: Unit, kind: str) -> None:
    with pytest.raises(IntegrityError, match="unit_attempt_complete_answer"), transaction.atomic():
        attempt_row(unit, "completed", kind=kind, stop_reason="max_tokens")


def test_a_unit_without_a_model_needs_none(unit: Unit) -> None:
    assert attempt_row(unit, "completed", kind="merge", stop_reason="").pk


# 8. Units, paths, changes, versions are there once; findings do not change.


def test_second_unit_with_the_same_key_is_refused(unit: Unit) -> None:
    with pytest.raises(IntegrityError, match="unit_key"), transaction.atomic():
        unit_row(unit.run)


def test_second_line_for_a_path_is_refused(unit: Unit) -> None:
    SourceFile.objects.create(run=unit.run, path="a.py", blob="b", size=1)
    with pytest.raises(IntegrityError, match="file_path"), transaction.atomic():
        SourceFile.objects.create(run=unit.run, path="a.py", blob="b", size=1)


@pytest.mark.parametrize("change", ["title = 'other'", "start_line = 7", "severity = 'low'", "excerpt = ''"])
def test_a_finding_does_not_change(unit: Unit, change: str) -> None:
    pk = finding_row(unit).pk
    assert "is history" in refused(f"UPDATE analysis_finding SET {change} WHERE id = %s", pk)


def test_a_finding_takes_its_links(unit: Unit) -> None:
    one, other = finding_row(unit), finding_row(unit)
    sql("UPDATE analysis_finding SET kept_as_id = %s WHERE id = %s", other.pk, one.pk)
    assert Finding.objects.kept().get() == other


def test_unknown_verdict_is_refused(unit: Unit) -> None:
    with pytest.raises(IntegrityError, match="verdict_known"), transaction.atomic():
        Verdict.objects.create(finding=finding_row(unit), unit=unit, verdict="maybe", reason="r")


def tracked_row(**fields: Any) -> TrackedFinding:
    row = {"owner": make_user(), "source_key": "k", "fingerprint": "f", "title": "t", "path": "p"}
    return TrackedFinding.objects.create(**row | fields)


def test_the_same_problem_is_tracked_once() -> None:
    tracked_row()
    with pytest.raises(IntegrityError, match="tracked_once"), transaction.atomic():
        tracked_row()
        sql("SET CONSTRAINTS ALL IMMEDIATE")


@pytest.mark.parametrize("fields", [{"triage": "dismissed"}, {"dismissal": "later"}])
def test_a_dismissal_and_its_reason_come_together(fields: dict[str, str]) -> None:
    with pytest.raises(IntegrityError, match="tracked_dismissal_has_reason"), transaction.atomic():
        tracked_row(**fields)


def test_one_change_for_a_run_and_problem(unit: Unit) -> None:
    tracked = tracked_row()
    FindingChange.objects.create(run=unit.run, tracked=tracked, state="new")
    with pytest.raises(IntegrityError, match="change_once"), transaction.atomic():
        FindingChange.objects.create(run=unit.run, tracked=tracked, state="gone")


def test_a_version_of_a_document_is_there_once(unit: Unit) -> None:
    row = {
        "owner": unit.run.owner,
        "source_key": "k",
        "run": unit.run,
        "slug": "s",
        "title": "t",
        "version": 1,
    }
    Document.objects.create(**row)
    with pytest.raises(IntegrityError, match="document_version"), transaction.atomic():
        Document.objects.create(**row)


def test_budget_of_nothing_is_refused() -> None:
    with pytest.raises(IntegrityError, match="analysis_budget_positive"), transaction.atomic():
        run_row(budget=0)


def test_who_an_attempt_is_served_for_is_set_by_the_database(unit: Unit) -> None:
    attempt = attempt_row(unit, "pending")
    with connection.cursor() as cursor:
        cursor.execute("SELECT served_for FROM analysis_unitattempt WHERE id = %s", [attempt.pk])
        assert cursor.fetchone()[0] == unit.run.owner_id
