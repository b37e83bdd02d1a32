"""The plans of what an action asks the database, as PostgreSQL makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from nyxcore.calls import CALLS, Call
from nyxcore.models import PaidAttempt
from nyxcore.pulse import Process

Query = tuple[str, Any]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def plan_of(query: str, values: Any = None) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {query}", values)
        found = cursor.fetchone()[0]
    return list(nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"]))


def captured(table: str, action: Callable[[], Any]) -> list[Query]:
    """The statements of an action that touch a table. What it wrote is undone, so that each begins alike."""
    point = transaction.savepoint()
    with CaptureQueriesContext(connection) as seen:
        action()
    transaction.savepoint_rollback(point)
    words = ("SELECT", "UPDATE", "WITH")
    return [
        (query["sql"].replace("%", "%%"), ())
        for query in seen.captured_queries
        if table in query["sql"] or "nyxcore_active" in query["sql"]
        if query["sql"].lstrip().startswith(words)
    ]


class Heard:
    """In place of the pulse's own connection: keeps what is asked."""

    def __init__(self) -> None:
        self.asked: list[Query] = []

    def execute(self, query: str, values: Any = None) -> Any:
        self.asked.append((query, values))
        assert connection.connection is not None
        return connection.connection.execute(query, values)


def of_pulse(attempts: type[PaidAttempt]) -> list[Query]:
    """A beat of a worker that holds sixteen attempts."""
    heard, table = Heard(), attempts._meta.db_table
    with ExitStack() as stack:
        for attempt in attempts._default_manager.filter(status="running")[:16]:
            stack.enter_context(CALLS.holding(Call((table, attempt.pk), "c", "e", attempt.worker, 1e12)))
        Process(worker="bench", threads=16)._beat(heard)  # type: ignore[arg-type]
    return [(query, values) for query, values in heard.asked if table in query]


class Plans:
    """How a table is read by each of some actions."""

    def __init__(self, table: str, asked: dict[str, list[Query]]) -> None:
        plans = {
            name: [node for query in queries for node in plan_of(*query)] for name, queries in asked.items()
        }
        self.found = {
            name: [node for node in many if node.get("Relation Name") == table]
            for name, many in plans.items()
        }
        self.indexes = {
            name: {node["Index Name"] for node in many if "Index Name" in node}
            for name, many in plans.items()
        }

    @property
    def whole(self) -> set[str]:
        """The actions that read all of the table."""
        return {name for name, some in self.found.items() if any(n["Node Type"] == "Seq Scan" for n in some)}
