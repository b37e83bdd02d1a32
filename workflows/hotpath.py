"""The hot path: "completed, go on" and the start, each one call of a function in the database.

Beside `transition()` and `engine.settle()` this is the second writer of statuses, for the plain case only: a running
workflow without hold, budget, failure or cut, whose step has completed. Everything else goes through the engine. The
same triggers and CHECKs guard both, and a property test compares them over random graphs. The functions stand in
migrations/0003_hot_path.py.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from nyxcore import events
from nyxcore.attempts import RING_AFTER
from nyxcore.models import Hint
from nyxcore.pulse import ring
from workflows.models import Workflow, live_version
from workflows.work import Job

log = logging.getLogger(__name__)
NOT_PLAIN = "NX001"


def load_job(attempt_pk: int) -> Job:
    """The job of a claimed attempt."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT workflows_job(%s::bigint)", [attempt_pk])
        return Job(**json.loads(cursor.fetchone()[0]))


def go_on(job: Job, text: str, request: dict[str, Any] | None, worker: str, *, claim: bool) -> Job | bool:
    """End `job` as completed with `text` and open what follows.

    Returns the next job if one was claimed for `worker`, True if there is none, False if this is not the plain
    case: nothing has changed then, and the engine has to do it. `request` is stored with the attempt unless None.
    """
    values = [
        *(job.attempt, worker, claim, text, json.dumps(request) if request is not None else None),
        *(settings.NYXCORE_LEASE, settings.NYXCORE_STEP_DEADLINE, RING_AFTER),
    ]
    casts = "%s::bigint, %s, %s, %s, %s::jsonb, %s::float8, %s::float8, %s::float8"
    found = _call(f"SELECT workflows_go_on({casts})", values)
    if found is None:
        return False
    _announce(job.workflow, found)
    return Job(**found["next"]) if found["next"] else True


def open_first(workflow: Workflow, user_pk: int | None) -> bool:
    """Open the first steps of a locked workflow that was just started; False if this is not the plain case."""
    if workflow.budget is not None or workflow.is_held:
        return False
    values = [workflow.pk, user_pk, settings.NYXCORE_LEASE, settings.NYXCORE_STEP_DEADLINE, RING_AFTER]
    casts = "%s::bigint, NULL, '', %s::bigint, %s::float8, %s::float8, %s::float8"
    found = _call(f"SELECT workflows_open_ready({casts})", values)
    if found is None:
        return False
    _announce(workflow.pk, found)
    return True


def _call(query: str, values: list[Any]) -> dict[str, Any] | None:
    """The function's answer; None when it declined. A refusal inside is undone by a savepoint where one is needed."""
    try:
        with (
            transaction.atomic() if connection.in_atomic_block else connection.cursor(),
            connection.cursor() as cursor,
        ):
            cursor.execute(query, values)
            answer = cursor.fetchone()[0]
            return json.loads(answer) if answer else None
    except DatabaseError as error:
        if getattr(error.__cause__, "sqlstate", "") != NOT_PLAIN:
            raise
        return None


def _announce(workflow_pk: int, found: dict[str, Any]) -> None:
    """Log and hint what the function has changed; ring for the attempts it opened for others."""
    for kind, pk, version, frm, to in found["hints"]:
        log.info("%s %s %s>%s", kind, pk, frm, to)
        shown = live_version(version) if kind == "step" else version
        events.publish(Hint(f"{kind}-{pk}", f"workflow-{workflow_pk}", shown, to))
    if found["ring"]:
        transaction.on_commit(lambda: ring(found["ring"]))
