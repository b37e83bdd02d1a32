"""The hot path: what a claimed unit needs in one message, and the end of one that changes nothing but itself in another.

An analysis asks hundreds of times, and through the ORM each of these costs more than the call to a model itself takes
of this process. Beside `transition()` this is a second writer of statuses, for `running > completed` only; the same
triggers and CHECKs guard both, and a test compares them. The functions stand in migrations/0003_hot_path.py.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connection
from django.db.models import Model

from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore import events
from nyxcore.states import Status

log = logging.getLogger(__name__)
M = TypeVar("M", bound=Model)


def load(attempt_pk: int) -> UnitAttempt:
    """An attempt with its unit and its run."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT analysis_job(%s::bigint)", [attempt_pk])
        return attempt_of(cursor.fetchone()[0])


def attempt_of(job: str) -> UnitAttempt:
    """The rows that `analysis_job` gives, joined to each other. A column that it leaves out is read when asked for."""
    found = json.loads(job)
    attempt = _row(UnitAttempt, found["attempt"])
    attempt.unit = _row(Unit, found["unit"])
    attempt.unit.run = _row(AnalysisRun, found["run"])
    return attempt


def _row(model: type[M], values: Mapping[str, Any]) -> M:
    columns = [field.attname for field in model._meta.concrete_fields if field.attname in values]
    return model.from_db(DEFAULT_DB_ALIAS, columns, [values[column] for column in columns])


def end(attempt: UnitAttempt, worker: str, result: Mapping[str, Any]) -> bool:
    """End as completed an attempt that `worker` holds, and its unit with it; False when somebody else was first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT analysis_end(%s::bigint, %s, %s::jsonb)", [attempt.pk, worker, json.dumps(result)])
        version = cursor.fetchone()[0]
    if version is None:
        return False
    unit = attempt.unit
    log.info("unitattempt %s running>completed", attempt.pk)
    log.info("unit %s running>completed", unit.pk)
    events.publish(Unit.hint(unit.pk, unit.run_id, version, Status.COMPLETED))
    return True
