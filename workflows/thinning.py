"""Old attempts lose their long texts, in small batches: prompts as sent, and answers that a later one has replaced.

Everything else of an attempt stays: status, reason, sizes, tokens, cost, who caused it. What a step was accepted with
stands in the step and is never touched, nor is anything of a run that has not ended. Kept are also the answers that a
resume could build on: the last whole or cut one of a step, all that came after it, and the parts of a continued one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.db import connection

AT_MOST, AT_LEAST = 5_000, 10  # attempts looked at in one statement
SLOW = 0.03  # s; a statement beyond that makes the next one smaller, long before 0.1 s

_UPTO = "SELECT max(id) FROM (SELECT id FROM workflows_stepattempt WHERE id > %s ORDER BY id LIMIT %s) few"

# `size` is what is stored, compressed as it is. SKIP LOCKED: nobody waits for us, and we for nobody.
_OLD = """
SELECT a.id, pg_column_size(a.request) + pg_column_size(a.output) AS size, superseded,
       jsonb_strip_nulls(jsonb_build_object(
           'prompt', length(a.request->>'prompt'), 'system', length(a.request->>'system'),
           'content', length(a.request->>'content'),
           'output', CASE WHEN superseded THEN nullif(length(a.output), 0) END)) AS lengths
  FROM workflows_stepattempt a
  JOIN workflows_step s ON s.id = a.step_id
  JOIN workflows_workflow w ON w.id = s.workflow_id,
       LATERAL (SELECT EXISTS (SELECT FROM workflows_stepattempt b
                                WHERE b.step_id = a.step_id AND b.branch = a.branch AND b.number > a.number
                                  AND b.status IN ('completed', 'cut_off'))
                   AND NOT EXISTS (SELECT FROM workflows_stepattempt c WHERE c.continues_id = a.id)) x (superseded)
 WHERE a.id > %(after)s AND a.id <= %(upto)s AND a.finished_at IS NOT NULL
   AND w.status IN ('completed', 'failed', 'cancelled')
   AND w.finished_at < clock_timestamp() - make_interval(days => %(days)s)
   AND (a.request ?| ARRAY['prompt', 'system', 'content'] OR superseded AND a.output <> '')
"""
_DRY = f"SELECT count(*), coalesce(sum(size), 0) FROM ({_OLD}) old"
_THIN = f"""
WITH old AS MATERIALIZED ({_OLD} FOR UPDATE OF a SKIP LOCKED), thinned AS (
    UPDATE workflows_stepattempt a
       SET request = (a.request - ARRAY['prompt', 'system', 'content'])
                     || jsonb_build_object('thinned', coalesce(a.request->'thinned', '{{}}') || old.lengths),
           output = CASE WHEN old.superseded THEN '' ELSE a.output END
      FROM old WHERE a.id = old.id
    RETURNING old.size - pg_column_size(a.request) - pg_column_size(a.output) AS freed
)
SELECT count(*), coalesce(sum(freed), 0) FROM thinned
"""


@dataclass(frozen=True)
class Batch:
    """One statement: how many attempts it thinned, what that freed, and how far it came."""

    attempts: int
    freed: int  # bytes as stored; in a dry run the size of what would be thinned
    upto: int
    seconds: float


def thin(days: int, *, batch: int = 1_000, dry_run: bool = False) -> Iterator[Batch]:
    """Go through all attempts by their key; each batch is a transaction of its own, so it may be ended at any time.

    What is thinned is marked, so a second run passes over it.
    """
    after = 0
    while (upto := _upto(after, batch)) is not None:
        begun = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(_DRY if dry_run else _THIN, {"after": after, "upto": upto, "days": days})
            attempts, freed = cursor.fetchone()
        took = time.monotonic() - begun
        yield Batch(attempts, int(freed), upto, took)
        after = upto
        if took > SLOW:
            batch = max(AT_LEAST, batch // 2)
        elif took < SLOW / 2:
            batch = min(AT_MOST, batch + batch // 4 + 1)


def _upto(after: int, batch: int) -> int | None:
    """The key of the last attempt of the next batch; None behind the last one."""
    with connection.cursor() as cursor:
        cursor.execute(_UPTO, [after, batch])
        found: int | None = cursor.fetchone()[0]
    return found
