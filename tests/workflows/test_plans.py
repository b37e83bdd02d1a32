"""Each question that is asked all the time is answered by a small index: its plan never reads all attempts.

The plans are PostgreSQL's own, for a table of a hundred thousand ended attempts and fresh statistics, where reading all
of it costs what it costs in a larger one: more than any of these indexes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from bench import rows
from nyxcore import health, sweep, workers
from nyxcore.calls import CALLS, Call
from nyxcore.dbtime import ago
from nyxcore.pulse import Process
from tests.factories import make_user
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


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def plan_of(query: str, values: Any = None) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {query}", values)
        found = cursor.fetchone()[0]
    return list(nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"]))


def captured(action: Callable[[], Any]) -> list[tuple[str, Any]]:
    """The statements of an action that touch attempts. What it wrote is undone, so that each begins alike."""
    point = transaction.savepoint()
    with CaptureQueriesContext(connection) as seen:
        action()
    transaction.savepoint_rollback(point)
    words = ("SELECT", "UPDATE", "WITH")
    return [
        (query["sql"].replace("%", "%%"), ())
        for query in seen.captured_queries
        if ATTEMPTS in query["sql"] or "nyxcore_active" in query["sql"]
        if query["sql"].lstrip().startswith(words)
    ]


class Heard:
    """In place of the pulse's own connection: keeps what is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def execute(self, query: str, values: Any = None) -> Any:
        self.asked.append((query, values))
        assert connection.connection is not None
        return connection.connection.execute(query, values)


def pulse() -> list[tuple[str, Any]]:
    """A beat of a worker that holds sixteen attempts."""
    heard = Heard()
    with ExitStack() as stack:
        for attempt in StepAttempt.objects.filter(status="running")[:16]:
            stack.enter_context(CALLS.holding(Call((ATTEMPTS, attempt.pk), "c", "e", attempt.worker, 1e12)))
        Process(worker="bench", threads=16)._beat(heard)  # type: ignore[arg-type]
    return [(query, values) for query, values in heard.asked if ATTEMPTS in query]


def test_no_question_that_is_asked_all_the_time_reads_all_attempts():
    owner = fill()
    client = Client()
    client.force_login(owner)
    client.get("/workflows/")
    stale = list(StepAttempt.objects.filter(status="running", due_at__lt=ago(0)).values_list("pk", flat=True))
    asked = {
        "claim": captured(lambda: runner.claim("bench:1")),
        "pulse": pulse(),
        "sweep: find": captured(lambda: sweep.run_pass(dry_run=True)),
        "sweep: ring": captured(lambda: recovery.RECOVERY.redeliver(stale)),
        "sweep: end many": captured(lambda: recovery.RECOVERY.expire_together(stale)),
        "list page": captured(lambda: client.get("/workflows/")),
        "active page": captured(lambda: client.get("/active/")),
        "count in the navigation": captured(lambda: client.get("/active/count/")),
        "figures": captured(health.metrics_text),
        "workers": captured(workers.overview),
    }
    plans = {name: [plan_of(*query) for query in queries] for name, queries in asked.items()}
    found = {
        name: [node for plan in many for node in plan if node.get("Relation Name") == ATTEMPTS]
        for name, many in plans.items()
    }
    whole = {
        name: node["Node Type"]
        for name, some in found.items()
        for node in some
        if node["Node Type"] == "Seq Scan"
    }
    assert whole == {}
    indexes = {
        name: {node["Index Name"] for plan in many for node in plan if "Index Name" in node}
        for name, many in plans.items()
    }
    assert {"attempt_pending", "attempt_running"} <= indexes["claim"]
    assert indexes["sweep: find"] >= {"attempt_pending", "attempt_running", "attempt_waiting"}
    assert indexes["figures"] & PARTIAL >= {"attempt_pending", "attempt_running", "attempt_waiting"}
    assert indexes["pulse"] & (BY_KEY | PARTIAL)
    for name, some in indexes.items():
        ours = {index for index in some if index.startswith(("attempt_", "workflows_stepattempt"))}
        assert ours <= PARTIAL | BY_KEY, name
    assert all(found[name] for name in set(asked) - {"count in the navigation"})


def test_the_search_for_plans_finds_a_scan_of_all():
    rows.fill(make_user(), 5, "completed")
    scans = plan_of(f"SELECT count(*) FROM {ATTEMPTS} WHERE error = 'x'")
    assert any(node["Node Type"] == "Seq Scan" for node in scans)
