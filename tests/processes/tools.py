"""What the tests with processes share: the environment of workers, and waiting for rows."""

from __future__ import annotations

import os
from urllib.parse import quote

from django.db import connection

from tests.processes.servers import eventually
from workflows.models import StepAttempt, Workflow

LEASE, SWEEP_EVERY, GRACE = 2.0, 0.5, 1.0  # s
KNOWN_WITHIN = LEASE + SWEEP_EVERY + 5  # s from the death of a worker until its row tells the truth
TIMES = {
    "NYXCORE_LEASE": str(LEASE),
    "NYXCORE_SWEEP_EVERY": str(SWEEP_EVERY),
    "NYXCORE_GRACE": str(GRACE),
    "NYXCORE_STUCK_AFTER": "600",
    "NYXCORE_WORKER_NICE": "0",  # other tests run beside these; such short leases need their share
}
FAST = {"NYXCORE_LLM": "practice", "NYXCORE_PRACTICE_SPEED": "100000"}
SLOW = {"NYXCORE_LLM": "practice", "NYXCORE_PRACTICE_SPEED": "5"}  # a minute or more for an answer
KEY = "sk-ant-secret-0123456789abcdef"


def speaking_to(url: str) -> dict[str, str]:
    """Environment of a worker that asks the server at `url`."""
    return {"NYXCORE_LLM": "anthropic", "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url}


def environment(**more: str) -> dict[str, str]:
    """Environment of a worker on the test database: the product's settings, short times."""
    product = {"DJANGO_SETTINGS_MODULE": "nyxcore.settings", "DATABASE_URL": database_url()}
    return {**os.environ, **product, **TIMES, **more}


def database_url() -> str:
    """The address of the database that this test run has made."""
    where = connection.settings_dict
    assert where["NAME"].startswith("test_"), "the test database has not been made"
    user = quote(where["USER"], safe="") + (
        f":{quote(where['PASSWORD'], safe='')}" if where["PASSWORD"] else ""
    )
    port = f":{where['PORT']}" if where["PORT"] else ""
    return f"postgresql://{user}@{quote(where['HOST'], safe='')}{port}/{where['NAME']}"


def cut_connections() -> int:
    """End every connection to the test database but ours; how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        )
        return int(cursor.fetchone()[0])


def status(workflow: Workflow) -> str:
    return str(Workflow.objects.values_list("status", flat=True).get(pk=workflow.pk))


def ends(workflow: Workflow, expected: str = "completed", seconds: float = 20) -> None:
    """Wait until the workflow has ended, and check how."""
    ended = ("completed", "failed", "cancelled", "paused")
    eventually(
        lambda: status(workflow) in ended, seconds, f"for workflow {workflow.pk}, now {story(workflow)}"
    )
    assert status(workflow) == expected, story(workflow)


def story(workflow: Workflow) -> list[tuple[str, str, str, str]]:
    """(step, cause, status, reason) of each attempt, in the order in which they were opened."""
    rows = StepAttempt.objects.filter(step__workflow=workflow).order_by("pk")
    return list(rows.values_list("step__key", "cause", "status", "reason"))


def saved(text: str = "") -> StepAttempt:
    """The running attempt, once its text so far (with `text`: exactly that) is in its row."""
    rows = StepAttempt.objects.filter(status="running").exclude(output="")
    return eventually((rows.filter(output=text) if text else rows).first, what="for the saved text")
