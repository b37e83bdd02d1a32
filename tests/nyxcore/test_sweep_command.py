"""`manage.py sweep`: one pass by hand, as lines or as JSON, for show or in earnest."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from nyxcore.dbtime import ago
from nyxcore.models import AuditEntry, SweepState
from tests.factories import attempts_of, make_workflow
from tests.workflows.engine_helpers import WORKER, claim, silence, statuses

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]


@pytest.fixture
def lost():
    """A workflow whose worker fell silent two minutes ago; the sweep has passed since the last outage."""
    workflow = make_workflow(start=True)
    silence(claim(), 120)
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(5), "guard_until": None})
    return workflow


def sweep(*args: str) -> str:
    out = StringIO()
    call_command("sweep", *args, stdout=out)
    return out.getvalue()


def everything() -> dict[str, list]:
    """Every row of our tables, as it is."""
    tables = [
        name for name in connection.introspection.table_names() if name.startswith(("nyxcore_", "workflows_"))
    ]
    rows = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")
            rows[table] = cursor.fetchall()
    return rows


def test_a_pass_prints_each_row_what_was_found_and_what_was_done(lost):
    said = sweep()
    attempt = attempts_of(lost, "one")[0]
    assert f"workflow {lost.pk}, attempt {attempt.pk}: lost, held by {WORKER}, last sign of life 20" in said
    assert (
        " UTC (120 s ago). The worker that ran this step disappeared. -> ended as lost; a new attempt" in said
    )
    assert said.endswith("1 found.\n")
    assert [a.status for a in attempts_of(lost, "one")] == ["failed", "pending"]


def test_a_pass_is_audited_as_the_sweep(lost):
    sweep()
    assert AuditEntry.objects.filter(
        model="stepattempt", actor="sweep", to_status="failed", reason="lost"
    ).exists()


def test_a_second_pass_finds_nothing(lost):
    sweep()
    assert sweep() == "0 found.\n"


def test_a_dry_run_tells_the_same_and_changes_nothing(lost):
    before = everything()
    said = sweep("--dry-run")
    assert "lost" in said
    assert "-> would end it" in said
    assert said.endswith("1 found, nothing changed.\n")
    assert everything() == before


def test_a_dry_run_after_an_outage_changes_nothing_either(lost):
    SweepState.objects.update(last_pass=ago(3600))
    before = everything()
    sweep("--dry-run")
    assert everything() == before


def test_json_is_one_object_per_line_and_nothing_else(lost):
    lines = [json.loads(line) for line in sweep("--json", "--dry-run").splitlines()]
    assert [line["found"] for line in lines] == ["lost"]
    assert set(lines[0]) == {"target", "run", "row", "found", "done", "worker", "last_sign", "said"}
    assert lines[0]["run"] == lost.pk
    assert lines[0]["said"].partition(" UTC (")[0] in sweep("--dry-run")
    assert lines[0]["worker"] == WORKER


def test_json_of_nothing_is_nothing():
    assert sweep("--json") == ""


def test_older_than_leaves_younger_rows_alone(lost):
    assert sweep("--older-than", "300") == "0 found.\n"
    assert statuses(lost)["one"] == "running"
    assert "1 found." in sweep("--older-than", "60")


def test_older_than_leaves_runs_alone_that_stand_still_for_less(lost):
    """An active run with nothing open has no alarm; its last change counts."""
    from workflows.models import StepAttempt

    StepAttempt.objects.filter(step__workflow=lost).delete()
    assert sweep("--older-than", "300", "--dry-run") == "0 found, nothing changed.\n"
    assert f"workflow {lost.pk}: active with nothing at work, last sign of life 20" in sweep("--dry-run")


@pytest.mark.parametrize("word", ["-1", "nan", "inf", "soon"])
def test_older_than_takes_no_nonsense(word):
    with pytest.raises(CommandError, match="a number of seconds from 0"):
        sweep(f"--older-than={word}")


def test_a_pending_attempt_that_nobody_picks_up_is_rung_for():
    workflow = make_workflow(start=True)
    attempt = attempts_of(workflow, "one")[0]
    type(attempt).objects.filter(pk=attempt.pk).update(due_at=ago(1))
    assert f"attempt {attempt.pk}: pending, not picked up" in sweep()
    attempt.refresh_from_db()
    assert attempt.status == "pending"
