"""As for workflows: each question on analyses that is asked all the time is answered by a small index."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client

from analysis import recovery, runner
from analysis.models import UnitAttempt
from nyxcore import health, sweep, workers
from nyxcore.dbtime import ago
from nyxcore.states import Status, transition
from tests.analysis.rows_made import make_run
from tests.factories import make_user
from tests.plans import Plans, captured, of_pulse

pytestmark = pytest.mark.django_db

ATTEMPTS = UnitAttempt._meta.db_table
PARTIAL = {"unit_attempt_pending", "unit_attempt_running", "unit_attempt_waiting", "unit_attempt_one_open"}
BY_KEY = {"analysis_unitattempt_pkey", "unit_attempt_number"}

UNITS = """
INSERT INTO analysis_unit (run_id, run_phase, kind, key, analyzer, title, position, chunk, tokens, reused, result,
       status, reason, version, started_at, finished_at, status_changed_at)
SELECT %(run)s, 'open', 'chunk', %(status)s || n, 'correctness', 'src', n, '{}', 900, false, '{}',
       CASE %(status)s WHEN 'completed' THEN 'completed' ELSE 'running' END, '', 1, now(),
       CASE %(status)s WHEN 'completed' THEN now() END, now()
  FROM generate_series(1, %(units)s) n RETURNING id
"""
TRIES = """
INSERT INTO analysis_unitattempt (unit_id, kind, number, cause, status, reason, version, status_changed_at, queued_at,
       started_at, finished_at, heartbeat_at, due_at, deadline_at, request, output, stop_reason, model, usage,
       cost_estimated, request_id, worker, error, served_for)
SELECT u, 'chunk', n, 'start', st, CASE st WHEN 'failed' THEN 'lost' ELSE '' END, 1, t, t,
       CASE WHEN st <> 'pending' THEN t END, CASE WHEN st IN ('completed', 'failed') THEN t END, t,
       CASE WHEN st IN ('pending', 'running') THEN t + interval '60 s' END,
       CASE WHEN st = 'running' THEN now() + interval '1 h' END, '{}', '',
       CASE WHEN st = 'completed' THEN 'end_turn' ELSE '' END, 'practice', '{}', false, '',
       CASE WHEN st = 'pending' THEN '' ELSE 'bench:gone' END, '', %(owner)s
  FROM unnest(%(pks)s::bigint[]) u, generate_series(1, %(tries)s) n,
       LATERAL (SELECT CASE WHEN n < %(tries)s THEN 'failed' ELSE %(status)s END AS st,
                       now() - %(age)s * interval '1 s' AS t) x
"""


def add(run: Any, status: str, units: int, *, tries: int = 1, age: float = 1) -> None:
    """Units of a run with attempts, the last one of each in that status, begun `age` s ago."""
    values = {
        "run": run.pk,
        "owner": run.owner_id,
        "status": status,
        "units": units,
        "tries": tries,
        "age": age,
    }
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {ATTEMPTS} DISABLE TRIGGER USER")
        cursor.execute(UNITS, values)
        cursor.execute(TRIES, values | {"pks": [row[0] for row in cursor.fetchall()]})
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {ATTEMPTS} ENABLE TRIGGER USER")


def fill() -> Any:
    """A hundred thousand ended attempts, a queue, some that run, some whose worker fell silent; the queue's owner."""
    busy, other = make_user("busy"), make_user("other")
    for number in range(50):
        run = make_run(busy, name=f"old{number}")
        add(run, "completed", 100, tries=20)
        transition(run, Status.ANALYZING, Status.COMPLETED)
    add(make_run(busy, name="queue"), "pending", 2_000)
    add(make_run(other), "running", 30)
    add(make_run(busy, name="lost"), "running", 50, age=120)
    with connection.cursor() as cursor:
        for table in (ATTEMPTS, "analysis_unit", "analysis_analysisrun"):
            cursor.execute(f"ANALYZE {table}")
    return busy


def test_no_question_that_is_asked_all_the_time_reads_all_attempts() -> None:
    owner = fill()
    client = Client()
    client.force_login(owner)
    client.get("/analysis/")
    stale = list(UnitAttempt.objects.filter(status="running", due_at__lt=ago(0)).values_list("pk", flat=True))
    assert len(stale) == 50
    plans = Plans(
        ATTEMPTS,
        {
            "claim": captured(ATTEMPTS, lambda: runner.next_attempt("bench:1")),
            "pulse": of_pulse(UnitAttempt),
            "sweep: find": captured(ATTEMPTS, lambda: sweep.run_pass(dry_run=True)),
            "sweep: ring": captured(ATTEMPTS, lambda: recovery.RECOVERY.redeliver(stale)),
            "sweep: end many": captured(ATTEMPTS, lambda: recovery.RECOVERY.expire_together(stale)),
            "active page": captured(ATTEMPTS, lambda: client.get("/active/")),
            "figures": captured(ATTEMPTS, health.metrics_text),
            "workers": captured(ATTEMPTS, workers.overview),
        },
    )
    assert plans.whole == set()
    indexes = plans.indexes
    assert {"unit_attempt_pending", "unit_attempt_running"} <= indexes["claim"]
    assert indexes["sweep: find"] >= {"unit_attempt_running", "unit_attempt_waiting"}
    for name, some in indexes.items():
        ours = {index for index in some if index.startswith(("unit_attempt", "analysis_unitattempt"))}
        assert ours <= PARTIAL | BY_KEY, name
    assert all(plans.found.values())
