"""Each question that is asked all the time is answered by a small index: its plan never reads all attempts.

The plans are PostgreSQL's own, for a table of a hundred thousand ended attempts and fresh statistics, where reading all
of it costs what it costs in a larger one: more than any of these indexes.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from bench import rows
from nyxcore import health, sweep, workers
from nyxcore.dbtime import ago
from tests.factories import make_user
from tests.plans import Plans, captured, of_pulse, plan_of
from workflows import recovery, runner
from workflows.models import StepAttempt

pytestmark = pytest.mark.django_db

ATTEMPTS = StepAttempt._meta.db_table
PARTIAL = {"attempt_pending", "attempt_running", "attempt_waiting", "attempt_one_open"}
BY_KEY = {"workflows_stepattempt_pkey", "attempt_number", "attempt_continues"}


def fill() -> Any:
    """Ended runs, a queue, some that run, and some whose worker fell silent; the owner of the queue."""
    busy, other = make_user("busy"), make_user("other")
    rows.fill(busy, 500, "completed", steps=10, attempts=20, output="")
    rows.fill(busy, 2_000, "pending", steps=2)
    rows.fill(other, 5, "pending", steps=2)
    rows.fill(other, 30, "running", steps=2, age=1)
    rows.fill(busy, 50, "running", steps=2, age=120)
    with connection.cursor() as cursor:
        for table in rows.TABLES:
            cursor.execute(f"ANALYZE {table}")
    return busy


def test_no_question_that_is_asked_all_the_time_reads_all_attempts():
    owner = fill()
    client = Client()
    client.force_login(owner)
    client.get("/workflows/")
    stale = list(StepAttempt.objects.filter(status="running", due_at__lt=ago(0)).values_list("pk", flat=True))
    plans = Plans(
        ATTEMPTS,
        {
            "claim": captured(ATTEMPTS, lambda: runner.claim("bench:1")),
            "pulse": of_pulse(StepAttempt),
            "sweep: find": captured(ATTEMPTS, lambda: sweep.run_pass(dry_run=True)),
            "sweep: ring": captured(ATTEMPTS, lambda: recovery.RECOVERY.redeliver(stale)),
            "sweep: end many": captured(ATTEMPTS, lambda: recovery.RECOVERY.expire_together(stale)),
            "list page": captured(ATTEMPTS, lambda: client.get("/workflows/")),
            "active page": captured(ATTEMPTS, lambda: client.get("/active/")),
            "count in the navigation": captured(ATTEMPTS, lambda: client.get("/active/count/")),
            "figures": captured(ATTEMPTS, health.metrics_text),
            "workers": captured(ATTEMPTS, workers.overview),
        },
    )
    assert plans.whole == set()
    indexes = plans.indexes
    assert {"attempt_pending", "attempt_running"} <= indexes["claim"]
    assert indexes["sweep: find"] >= {"attempt_pending", "attempt_running", "attempt_waiting"}
    assert indexes["figures"] & PARTIAL >= {"attempt_pending", "attempt_running", "attempt_waiting"}
    assert indexes["pulse"] & (BY_KEY | PARTIAL)
    for name, some in indexes.items():
        ours = {index for index in some if index.startswith(("attempt_", "workflows_stepattempt"))}
        assert ours <= PARTIAL | BY_KEY, name
    assert {name for name, some in plans.found.items() if not some} <= {"count in the navigation"}


def test_the_search_for_plans_finds_a_scan_of_all():
    rows.fill(make_user(), 5, "completed")
    scans = plan_of(f"SELECT count(*) FROM {ATTEMPTS} WHERE error = 'x'")
    assert any(node["Node Type"] == "Seq Scan" for node in scans)
