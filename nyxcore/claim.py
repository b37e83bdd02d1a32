"""The SQL by which a worker takes the next attempt of an app: the queue is the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.conf import settings
from django.db import connection

# Fair: the owner with the fewest running attempts first, then the oldest. SKIP LOCKED: two claims never meet.
# The owners with something pending are found by skipping through the index over pending attempts, so that ten thousand
# units of one person cost a claim no more than one. The LATERAL join takes the owners in their order and stops at the
# first row that it can lock.
CLAIM = """
WITH RECURSIVE owner AS (
    (SELECT served_for AS pk, queued_at FROM {attempts}
      WHERE status = 'pending' ORDER BY served_for, queued_at LIMIT 1)
    UNION ALL
    SELECT later.* FROM owner, LATERAL (
        SELECT served_for, queued_at FROM {attempts}
         WHERE status = 'pending' AND served_for > owner.pk ORDER BY served_for, queued_at LIMIT 1) later
), served AS (
    SELECT served_for AS pk, count(*) AS n FROM {attempts} WHERE status = 'running' GROUP BY served_for
), line AS MATERIALIZED (
    SELECT owner.pk FROM owner LEFT JOIN served USING (pk) WHERE owner.queued_at <= statement_timestamp()
     ORDER BY coalesce(served.n, 0), owner.queued_at
), next AS (
    SELECT first.* FROM line, LATERAL (
        SELECT a.id, i.id AS item, i.version, r.id AS run, {seconds} AS seconds
          FROM {attempts} a JOIN {items} i ON i.id = a.{item}_id JOIN {runs} r ON r.id = i.{run}_id
         WHERE a.status = 'pending' AND a.served_for = line.pk AND a.queued_at <= statement_timestamp()
           AND r.held_by_id IS NULL AND {ready}
         ORDER BY a.queued_at, a.id
         LIMIT 1 FOR UPDATE OF a SKIP LOCKED) first
     LIMIT 1
)
UPDATE {attempts} a
   SET status = 'running', reason = '', version = a.version + 1, worker = %(worker)s,
       status_changed_at = clock_timestamp(), started_at = clock_timestamp(), heartbeat_at = clock_timestamp(),
       due_at = clock_timestamp() + make_interval(secs => %(lease)s),
       deadline_at = clock_timestamp() + make_interval(secs => next.seconds)
  FROM next WHERE a.id = next.id AND a.status = 'pending'
RETURNING a.id, next.item, next.version, a.version, next.run, {job}
"""


@dataclass(frozen=True)
class Claimed:
    """An attempt that is now held."""

    attempt: int
    item: int
    item_version: int
    version: int
    run: int
    job: Any  # what the queue's `job` gives


@dataclass(frozen=True)
class Queue:
    """An app's tables: attempts of items (steps, units) of runs.

    `ready` (may it be claimed?) and `seconds` (until its deadline) are SQL over a (attempt), i (item) and r (run);
    `job` is SQL over a, for what is needed to run it.
    """

    attempts: str
    items: str
    item: str
    runs: str
    run: str
    ready: str
    seconds: str = "%(deadline)s"
    job: str = "NULL"

    @cached_property
    def query(self) -> str:
        return CLAIM.format(**self.__dict__)

    def values(self, worker: str, **values: Any) -> dict[str, Any]:
        """What `query` is given to take an attempt for `worker`; `values` are those that `ready` names."""
        lease, deadline = settings.NYXCORE_LEASE, settings.NYXCORE_STEP_DEADLINE
        return {"worker": worker, "lease": lease, "deadline": deadline, **values}

    def claim(self, worker: str, **values: Any) -> Claimed | None:
        """Take the next attempt for `worker`; None when nothing is due."""
        with connection.cursor() as cursor:
            cursor.execute(self.query, self.values(worker, **values))
            row = cursor.fetchone()
        return Claimed(*row) if row else None
