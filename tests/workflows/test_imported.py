"""Rows that no rule allows, as a dump brings them that was loaded without constraints: found and repaired by the sweep.

All tests here look at one scratch database; that an intact one refuses such rows stands in test_invariants.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from nyxcore import sweep
from nyxcore.models import AuditEntry, SweepState
from tests import dumps
from tests.factories import attempts_of, make_workflow, step_of
from tests.invariants import violations
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
FIRST = ATTEMPT.replace("'three'", "'one'")
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
    "completed with an answer that was cut": (
        "completed", [ATTEMPT.format("stop_reason = 'max_tokens'")],
        "counts as complete, but it ended with “max_tokens”", "failed",
    ),
    "completed with an answer that tells no end": (
        "completed", [ATTEMPT.format("stop_reason = ''")], "counts as complete, but it ended with “”", "failed",
    ),
    "completed, and its first answer is a refusal": (
        "completed", [FIRST.format("stop_reason = 'refusal'")], "at its step “One” counts as complete", "failed",
    ),
    "at work below an answer that was cut": (
        "running", [FIRST.format("stop_reason = 'max_tokens'")], "at its step “One” counts as complete", "paused",
    ),
    "an attempt that ended without a start": (
        "completed", [ATTEMPT.format("started_at = NULL")], "at its step “Three” do not fit", "completed",
    ),
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


@pytest.fixture(scope="module")
def scratch(django_db_setup: Any, django_db_blocker: Any, seasoned_postgres: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), dumps.scratch_database("imported"):
        yield


def steps_and_attempts(workflow: Workflow) -> dict[str, tuple[str, str, str]]:
    """For each step its status and reason, and the status of its last attempt."""
    last = {key: attempts_of(workflow, key) for key in workflow.steps.values_list("key", flat=True)}
    steps = workflow.steps.values_list("key", "status", "reason")
    return {key: (status, reason, last[key][-1].status if last[key] else "") for key, status, reason in steps}


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
        dumps.dumped_and_loaded(TABLES, broken)
        before = sql(EVERYTHING)
        self.shown = dumps.swept("--dry-run")
        self.unchanged = sql(EVERYTHING) == before
        AuditEntry.objects.all().delete()
        self.said = dumps.swept()
        self.audited = set(AuditEntry.objects.values_list("actor", "reason"))
        self.said_again = dumps.swept()
        self.repaired = self.statuses()
        with connection.cursor() as cursor:
            self.broken = violations(cursor)
        self.was_unvalidated = sweep._unvalidated()
        dumps.validate(TABLES)
        self.is_unvalidated = sweep._unvalidated()
        self.stands = {name: steps_and_attempts(workflow) for name, workflow in self.runs.items()}
        for workflow in Workflow.objects.exclude(status="completed"):
            self.resume(workflow)
        self.resumed = self.statuses()

    @staticmethod
    def resume(workflow: Workflow) -> None:
        for step in workflow.steps.filter(status="cut_off"):
            services.retry_step(step, by=workflow.owner, max_tokens=20_000)
            run_all()
        workflow.refresh_from_db()
        if workflow.status != "completed":
            services.resume_workflow(workflow, by=workflow.owner)
            run_all()
        workflow.refresh_from_db()
        if workflow.status == "paused":
            services.approve_step(step_of(workflow, "three"), by=workflow.owner)

    def statuses(self) -> dict[str, str]:
        found = dict(Workflow.objects.values_list("pk", "status"))
        return {name: found[workflow.pk] for name, workflow in self.runs.items()}

    def about(self, name: str, lines: list[str]) -> str:
        """The lines on the run of a story."""
        return dumps.about(f"workflow {self.runs[name].pk}", lines)


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


def test_what_was_cut_or_broke_off_is_called_so(imported: Imported) -> None:
    cut, broken = ("cut_off", "cut_off:max_tokens", "cut_off"), ("failed", "transport", "failed")
    assert imported.stands["completed with an answer that was cut"]["three"] == cut
    assert imported.stands["completed with an answer that tells no end"]["three"] == broken


def test_what_rests_on_a_broken_answer_stands_in_line_again(imported: Imported) -> None:
    refused = imported.stands["completed, and its first answer is a refusal"]
    assert {key: found[:2] for key, found in refused.items()} == {
        "one": ("failed", "refused"), "two": ("pending", ""), "three": ("pending", ""),
    }  # fmt: skip
    below_cut = imported.stands["at work below an answer that was cut"]
    assert [found[0] for found in below_cut.values()] == ["cut_off", "pending", "pending"]
