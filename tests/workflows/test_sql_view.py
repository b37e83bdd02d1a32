"""`nyxcore_active` for those who look with psql, and the queries that docs/operations.md gives them."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection

from nyxcore import sqlview, stamp
from nyxcore.dbtime import ago, later
from nyxcore.states import Status
from tests.factories import make_user, make_workflow
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, silence
from workflows import services
from workflows.models import StepAttempt

pytestmark = pytest.mark.django_db

MANUAL = (settings.BASE_DIR / "docs/operations.md").read_text()
SECTION = MANUAL.split("## Look with psql\n")[1].split("\n## ")[0]
QUERIES = re.findall(r"\n([^\n]+):\n\n```sql\n(.*?)```", SECTION, re.S)


def rows(query: str = f"SELECT * FROM {sqlview.NAME} ORDER BY level, attempt_id") -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def one_of_each() -> None:
    """A silent attempt, a queued one, a back-off, and a run that was paused."""
    make_workflow(name="Silent", start=True)
    silent = claim()
    backs_off = make_workflow(name="Back-off", start=True)
    fail(claim(), "overloaded", retryable=True)
    StepAttempt.objects.filter(step__workflow=backs_off, status="pending").update(queued_at=later(60))
    queued = make_workflow(name="Queued", owner=make_user("eve"), start=True)
    StepAttempt.objects.filter(step__workflow=queued).update(queued_at=ago(30))
    held = make_workflow(name="Held", start=True)
    services.pause_workflow(held, by=held.owner)
    silence(silent, 90)


def test_there_is_a_row_for_each_active_run_and_each_open_attempt():
    one_of_each()
    make_workflow()
    found = [(row["level"], row["run_name"], row["status"]) for row in rows()]
    assert sorted(found) == [
        ("attempt", "Back-off", "pending"),
        ("attempt", "Queued", "pending"),
        ("attempt", "Silent", "running"),
        ("run", "Back-off", "running"),
        ("run", "Held", "paused"),
        ("run", "Queued", "running"),
        ("run", "Silent", "running"),
    ]


def test_a_row_tells_who_has_it_and_how_long_it_is_silent():
    workflow = make_workflow(start=True)
    attempt = claim()
    silence(attempt, 90)
    (row,) = rows(f"SELECT * FROM {sqlview.NAME} WHERE level = 'attempt'")
    assert (row["kind"], row["run_id"], row["item_id"], row["attempt_id"]) == (
        "workflow", workflow.pk, attempt.step_id, attempt.pk,
    )  # fmt: skip
    assert (row["worker"], row["owner"], row["item"], row["attempt_number"]) == (WORKER, "ada", "One", 1)
    assert 89 <= row["heartbeat_age_seconds"] <= 120
    assert -120 <= row["due_in_seconds"] <= -89
    assert row["deadline"] > row["since"]
    assert row["path"] == f"/workflows/{workflow.pk}/#step-{attempt.step_id}"


def test_what_has_ended_is_not_there():
    workflow = make_workflow([{"key": "one"}], start=True)
    finish(claim())
    workflow.refresh_from_db()
    assert workflow.status == Status.COMPLETED
    assert rows() == []


def test_no_name_needs_quoting():
    assert all(re.fullmatch(r"[a-z][a-z_]*", name) for name in sqlview.COLUMNS)
    rows(f"SELECT {', '.join(sqlview.COLUMNS)} FROM {sqlview.NAME}")


def test_every_column_is_told():
    told = set(re.findall(r"`(\w+)`", SECTION.split("\n\n")[1]))
    assert set(sqlview.COLUMNS) <= told


def test_five_queries_are_given():
    assert len(QUERIES) == 5


@pytest.mark.parametrize(("claim_", "query"), QUERIES, ids=[title for title, _query in QUERIES])
def test_each_query_that_is_given_finds_its_row(claim_, query):
    one_of_each()
    assert len(rows(query)) == 1, claim_


def test_a_changed_part_is_made_at_the_next_bootstrap(tmp_path, monkeypatch):
    other = tmp_path / "active.sql"
    other.write_text(sqlview.PARTS["workflow"].read_text().replace("'workflow'", "'flow'"))
    monkeypatch.setitem(sqlview.PARTS, "workflow", other)
    make_workflow(start=True)
    call_command("bootstrap", stdout=StringIO())
    assert {row["kind"] for row in rows()} == {"flow"}
    assert not sqlview.ensure()


def test_a_changed_part_is_a_changed_program(tmp_path):
    before = stamp.code_digest([str(tmp_path)])
    (tmp_path / "active.sql").write_text("SELECT 1")
    assert stamp.code_digest([str(tmp_path)]) != before
