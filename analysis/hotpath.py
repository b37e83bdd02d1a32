"""The hot path: a claim brings all that its unit needs, and the end of a unit that changes nothing but itself brings
the next claim, each in one message to the database.

An analysis asks hundreds of times, and through the ORM the rows around a call cost more than the call itself. Beside
`transition()` this is a second writer of statuses, for `running > completed` only; the same triggers and CHECKs guard
both, and a test compares them. The functions stand in migrations/0004_hot_path.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model

from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore import events
from nyxcore.claim import Claimed, Queue
from nyxcore.models import Hint, live_version
from nyxcore.states import Status

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)
QUEUE = Queue(
    attempts=UnitAttempt._meta.db_table,
    items=Unit._meta.db_table,
    item="unit",
    runs=AnalysisRun._meta.db_table,
    run="run",
    ready="r.status IN ('scanning', 'analyzing', 'generating') AND (%(paid)s OR a.kind = ANY(%(free)s))",
    job="analysis_job(a.id)",
)
END = "SELECT * FROM analysis_end(%(attempt)s::bigint, %(worker)s, %(result)s::jsonb)"


@dataclass(frozen=True)
class Ended:
    """What came of ending an attempt."""

    done: bool  # False: somebody else was first
    more: bool  # whether units of its kind wait to be opened
    following: UnitAttempt | None  # the next attempt, if one was claimed


def end(attempt: UnitAttempt, worker: str, result: Mapping[str, Any], *, claim: bool) -> Ended:
    """End as completed an attempt that `worker` holds, and its unit with it; take the next one if `claim`."""
    query = END
    values: dict[str, Any] = {"attempt": attempt.pk, "worker": worker, "result": json.dumps(result)}
    if claim:
        query, values = f"{END}; {QUEUE.query}", values | QUEUE.values(worker, paid=True, free=[])
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        version, more = cursor.fetchone()
        row = cursor.fetchone() if claim and cursor.nextset() else None
    if version is not None:
        log.info("unitattempt %s running>completed", attempt.pk)
        log.info("unit %s running>completed", attempt.unit_id)
        events.publish(Unit.hint(attempt.unit_id, attempt.unit.run_id, version, Status.COMPLETED))
    return Ended(version is not None, bool(more), _taken(Claimed(*row), worker) if row else None)


def claim(worker: str, *, paid: bool, free: list[str]) -> UnitAttempt | None:
    """The next attempt, now held; None when nothing is due. Without `paid` only the kinds `free`."""
    claimed = QUEUE.claim(worker, paid=paid, free=free)
    return _taken(claimed, worker) if claimed else None


def _taken(claimed: Claimed, worker: str) -> UnitAttempt:
    """Log and hint the claim; its rows."""
    log.info("unitattempt %s pending>running %s", claimed.attempt, worker)
    version = live_version(claimed.item_version, claimed.version)
    events.publish(Hint(f"unit-{claimed.item}", f"analysis-{claimed.run}", version, Status.RUNNING))
    return _attempt(claimed.job)


def load(attempt_pk: int) -> UnitAttempt:
    """An attempt with its unit and its run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT analysis_job(%s::bigint)", [attempt_pk])
        return _attempt(cursor.fetchone()[0])


def _attempt(job: str) -> UnitAttempt:
    """The rows that `analysis_job` gives, joined to each other. A column that it leaves out is read when asked for."""
    found = json.loads(job)
    attempt = _row(UnitAttempt, found["attempt"])
    attempt.unit = _row(Unit, found["unit"])
    attempt.unit.run = _row(AnalysisRun, found["run"])
    return attempt


def _row(model: type[M], values: Mapping[str, Any]) -> M:
    columns = [field.attname for field in model._meta.concrete_fields if field.attname in values]
    return model.from_db(DEFAULT_DB_ALIAS, columns, [values[column] for column in columns])
