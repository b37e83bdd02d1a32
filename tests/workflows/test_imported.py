"""Rows that no rule allows, as a dump brings them that was loaded without constraints: found and repaired by the sweep.

All tests here look at one scratch database; that an intact one refuses such rows stands in test_invariants.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO, StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from nyxcore import sweep
from nyxcore.models import AuditEntry, SweepState
from tests.factories import make_workflow, step_of
from tests.invariants import violations
from tests.processes.tools import database_url
from tests.workflows.engine_helpers import claim, finish, run_all
from tests.workflows.machine_world import EVERYTHING, sql
from workflows import services
from workflows.models import Workflow

pytestmark = pytest.mark.django_db

TABLES = ["workflows_workflow", "workflows_step", "workflows_stepattempt"]
GATED = [{"key": "one"}, {"key": "three", "kind": "gate", "needs": ["one"], "config": {"shows": "one"}}]
STEP = "UPDATE workflows_step SET {} WHERE workflow_id = %(run)s AND key = 'three'"
RUN = "UPDATE workflows_workflow SET {} WHERE id = %(run)s"
ATTEMPT = (
    "UPDATE workflows_stepattempt a SET {} FROM workflows_step s WHERE s.id = a.step_id"
    " AND s.workflow_id = %(run)s AND s.key = 'three'"
)
GONE = (
    "DELETE FROM workflows_stepattempt WHERE step_id IN"
    " (SELECT id FROM workflows_step WHERE workflow_id = %(run)s AND key = 'three')"
)
UNDONE = [GONE, STEP.format("status = 'pending', started_at = NULL, finished_at = NULL, output = ''")]
HELD = "status = 'running', worker = 'old:1', finished_at = NULL, due_at = now(), deadline_at = now()"
AT_WORK = STEP.format("status = 'running', finished_at = NULL")
CUT_LOOSE = "status = 'failed', reason = 'internal', finished_at = clock_timestamp()"

# name: (how far the run was, what the dump says of it, what the sweep finds, the status that the run gets)
STORIES: dict[str, tuple[str, list[str], str, str]] = {
    "active with no start time": (
        "running", [RUN.format("started_at = NULL")], "running, but it has no start time", "failed",
    ),
    "completed with a pending last step": (
        "completed", UNDONE, "completed, but its step “Three” is pending", "failed",
    ),
    "completed with a pending last step that takes the run for open": (
        "completed", [*UNDONE, STEP.format("workflow_phase = 'open'")], "its step “Three” takes it for open", "failed",
    ),
    "completed with a running step": (
        "completed", [AT_WORK, STEP.format("started_at = NULL"), ATTEMPT.format(HELD)],
        "completed, but its step “Three” is running", "failed",
    ),
    "completed with a running attempt": (
        "completed", [ATTEMPT.format(HELD)], "but its step “Three” is completed", "completed",
    ),
    "completed without an end": (
        "completed", [RUN.format("finished_at = NULL")], "its end time does not fit", "completed",
    ),
    "completed with a step that never began": (
        "completed", [STEP.format("started_at = NULL")], "the times of its step “Three” do not fit", "completed",
    ),
    "failed with a running step": (
        "running", [RUN.format(CUT_LOOSE), STEP.format("workflow_phase = 'closed'")],
        "failed, but its step “Three” is running", "failed",
    ),
    "cancelled with a waiting step": (
        "waiting", [RUN.format("status = 'cancelled', reason = 'user', finished_at = clock_timestamp()")],
        "cancelled, but its step “Three” is waiting", "cancelled",
    ),
    "pending with a running step": (
        "running", [RUN.format("status = 'pending', started_at = NULL")],
        "pending, but its step “Three” is running", "failed",
    ),
    "an attempt that runs without a worker": ("running", [ATTEMPT.format("worker = ''")], "nobody holds it", "failed"),
    "an attempt that runs without a deadline": (
        "running", [ATTEMPT.format("deadline_at = NULL")], "nobody holds it", "failed",
    ),
    "a running attempt without an alarm": ("running", [ATTEMPT.format("due_at = NULL")], "comes back to it", "failed"),
    "an attempt that runs below an ended step": (
        "running", [STEP.format(CUT_LOOSE)], "but its step “Three” is failed", "failed",
    ),
    "a step that waits without an attempt": ("waiting", [GONE], "waits without an attempt", "failed"),
    "a queued attempt without an alarm": ("queued", [ATTEMPT.format("due_at = NULL")], "comes back to it", "failed"),
}  # fmt: skip
# Who acted before the dump was made, and whether the answer was whole, nobody knows.
UNKNOWABLE = (
    "a cancelled run tells who",
    "a completed step has its answer from its last attempt",
    "an answer that was stored is not lost",
)


def advanced(state: str) -> Workflow:
    """A run that is so far, made by the rules; its step “Three” is the last one."""
    workflow = make_workflow(GATED if state == "waiting" else None, start=True)
    if state in ("completed", "waiting"):
        run_all()
        return workflow
    finish(claim())
    finish(claim())
    if state == "running":
        claim()
    return workflow


def constraints() -> list[tuple[str, str, str]]:
    """(table, name, definition) of each CHECK and foreign key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
                WHERE c.conrelid = ANY(%s::regclass[]) AND c.contype IN ('c', 'f')""",
            [TABLES],
        )
        return list(cursor.fetchall())


def dumped_and_loaded(cursor: Any, broken: list[tuple[str, int]]) -> None:
    """Without constraints the rows are made what the dump says, dumped, removed and loaded; then everything is put
    back as NOT VALID."""
    kept = constraints()
    for table, name, _definition in kept:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for table in TABLES:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for statement, pk in broken:
        cursor.execute(statement, {"run": pk})
    dumps = {table: columns_and_rows(cursor, table) for table in TABLES}
    cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
    for table, (columns, rows) in dumps.items():
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            copy.write(rows)
    for table in TABLES:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
    for table, name, definition in kept:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")


def columns_and_rows(cursor: Any, table: str) -> tuple[str, bytes]:
    cursor.execute(
        """SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
            WHERE table_name = %s AND is_generated = 'NEVER'""",
        [table],
    )
    columns = cursor.fetchone()[0]
    rows = BytesIO()
    with cursor.copy(f"COPY {table} ({columns}) TO STDOUT") as copy:
        for chunk in copy:
            rows.write(chunk)
    return columns, rows.getvalue()


@pytest.fixture(scope="module")
def scratch(django_db_setup: Any, django_db_blocker: Any, seasoned_postgres: Any) -> Iterator[None]:
    """A database of its own, like the one of the tests; the connection of Django leads there."""
    own = connection.settings_dict["NAME"]
    name = f"{own}_imported"
    with django_db_blocker.unblock():
        connection.close()
        with psycopg.connect(database_url().rpartition("/")[0] + "/postgres", autocommit=True) as server:
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [own])
            server.execute(f"CREATE DATABASE {name} TEMPLATE {own}")
            try:
                connection.settings_dict["NAME"] = name
                yield
            finally:
                connection.close()
                connection.settings_dict["NAME"] = own
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Imported:
    """The runs of all stories, loaded; what a dry run and a pass have said."""

    def __init__(self) -> None:
        with override_settings(NYXCORE_LEASE=3600):  # nothing may be lost while the others are made
            self.runs = {name: advanced(state) for name, (state, *_rest) in STORIES.items()}
        SweepState.objects.update_or_create(id=1, defaults={"last_pass": None, "guard_until": None})
        broken = [
            (statement, self.runs[name].pk)
            for name, (_state, statements, *_rest) in STORIES.items()
            for statement in statements
        ]
        with connection.cursor() as cursor:
            dumped_and_loaded(cursor, broken)
        before = sql(EVERYTHING)
        self.shown = self.lines("--dry-run")
        self.unchanged = sql(EVERYTHING) == before
        AuditEntry.objects.all().delete()
        self.said = self.lines()
        self.audited = set(AuditEntry.objects.values_list("actor", "reason"))
        self.said_again = self.lines()
        self.repaired = self.statuses()
        with connection.cursor() as cursor:
            self.broken = violations(cursor)
            self.was_unvalidated = sweep._unvalidated()
            for table, name, _definition in constraints():
                cursor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
        self.is_unvalidated = sweep._unvalidated()
        for workflow in Workflow.objects.exclude(status="completed"):
            self.resume(workflow)
        self.resumed = self.statuses()

    @staticmethod
    def resume(workflow: Workflow) -> None:
        services.resume_workflow(workflow, by=workflow.owner)
        run_all()
        workflow.refresh_from_db()
        if workflow.status == "paused":
            services.approve_step(step_of(workflow, "three"), by=workflow.owner)

    def statuses(self) -> dict[str, str]:
        found = dict(Workflow.objects.values_list("pk", "status"))
        return {name: found[workflow.pk] for name, workflow in self.runs.items()}

    @staticmethod
    def lines(*args: str) -> list[str]:
        out = StringIO()
        call_command("sweep", *args, stdout=out)
        return out.getvalue().splitlines()

    def about(self, name: str, lines: list[str]) -> str:
        """The lines on the run of a story."""
        head = f"workflow {self.runs[name].pk}"
        return "\n".join(line for line in lines if line.startswith((f"{head}:", f"{head},")))


@pytest.fixture(scope="module")
def imported(scratch: None, django_db_blocker: Any) -> Iterator[Imported]:
    with django_db_blocker.unblock():
        yield Imported()


@pytest.mark.parametrize("name", STORIES)
def test_a_dry_run_says_what_is_wrong(imported: Imported, name: str) -> None:
    said = imported.about(name, imported.shown)
    assert STORIES[name][2] in said
    assert "-> would repair it." in said
    assert imported.unchanged


@pytest.mark.parametrize("name", STORIES)
def test_the_sweep_repairs_it(imported: Imported, name: str) -> None:
    assert "-> repaired: " in imported.about(name, imported.said)
    assert imported.about(name, imported.said_again) == ""
    assert imported.repaired[name] == STORIES[name][3]


def test_the_repairs_are_audited(imported: Imported) -> None:
    assert ("repair", "stuck") in imported.audited


def test_after_the_repairs_every_invariant_holds(imported: Imported) -> None:
    assert [line for line in imported.broken if not line.startswith(UNKNOWABLE)] == []


def test_after_the_repairs_every_constraint_can_be_validated(imported: Imported) -> None:
    assert (imported.was_unvalidated, imported.is_unvalidated) == (True, False)


@pytest.mark.parametrize("name", STORIES)
def test_after_the_repair_a_person_can_bring_it_to_its_end(imported: Imported, name: str) -> None:
    assert imported.resumed[name] == "completed"
