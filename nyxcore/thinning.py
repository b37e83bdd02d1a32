"""Old attempts lose their long texts, in small batches: prompts as sent, and answers that nothing reads any more.

Everything else of an attempt stays: status, reason, sizes, tokens, cost, who caused it. What a step or unit was
accepted with stands there and is never touched, nor is anything of a run that has not ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import OperationalError, connection, transaction

from nyxcore.claim import Queue

AT_MOST, AT_LEAST = 5_000, 10  # attempts looked at in one statement
SLOW = 0.03  # s; a statement beyond that makes the next one smaller
NEVER = (
    0.08  # s; a statement beyond that is undone and made smaller: nobody waits for a row longer than 0.1 s
)

_UPTO = "SELECT max(id) FROM (SELECT id FROM {attempts} WHERE id > %s ORDER BY id LIMIT %s) few"

# `size` is what is stored, compressed as it is. SKIP LOCKED: nobody waits for us, and we for nobody.
_OLD = """
SELECT a.id, pg_column_size(a.request) + pg_column_size(a.output) AS size, unread,
       jsonb_strip_nulls(jsonb_build_object(
           'prompt', length(a.request->>'prompt'), 'system', length(a.request->>'system'),
           'content', length(a.request->>'content'),
           'output', CASE WHEN unread THEN nullif(length(a.output), 0) END)) AS lengths
  FROM {attempts} a
  JOIN {items} i ON i.id = a.{item}_id
  JOIN {runs} r ON r.id = i.{run}_id,
       LATERAL (SELECT {unread}) x (unread)
 WHERE a.id > %(after)s AND a.id <= %(upto)s AND a.finished_at IS NOT NULL
   AND r.status IN ('completed', 'failed', 'cancelled')
   AND r.finished_at < clock_timestamp() - make_interval(days => %(days)s)
   AND (a.request ?| ARRAY['prompt', 'system', 'content'] OR unread AND a.output <> '')
"""
_DRY = f"SELECT count(*), coalesce(sum(size), 0) FROM ({_OLD}) old"
_THIN = f"""
WITH old AS MATERIALIZED ({_OLD} FOR UPDATE OF a SKIP LOCKED), thinned AS (
    UPDATE {{attempts}} a
       SET request = (a.request - ARRAY['prompt', 'system', 'content'])
                     || jsonb_build_object('thinned', coalesce(a.request->'thinned', '{{{{}}}}') || old.lengths),
           output = CASE WHEN old.unread THEN '' ELSE a.output END
      FROM old WHERE a.id = old.id
    RETURNING old.size - pg_column_size(a.request) - pg_column_size(a.output) AS freed
)
SELECT count(*), coalesce(sum(freed), 0) FROM thinned
"""


@dataclass(frozen=True)
class Texts:
    """An app's tables; `unread` is SQL over a (attempt) and i (item): is its answer read no more?"""

    queue: Queue
    unread: str

    def query(self, template: str) -> str:
        return template.format(**self.queue.__dict__ | {"unread": self.unread})


@dataclass(frozen=True)
class Batch:
    """One statement: how many attempts it thinned, what that freed, and how far it came."""

    attempts: int
    freed: int  # bytes as stored; in a dry run the size of what would be thinned
    upto: int
    seconds: float  # that its rows were locked


TEXTS: dict[str, Texts] = {}  # by the name of the app


def register(app: str, texts: Texts) -> None:
    """Called by an app when it is ready."""
    TEXTS[app] = texts


def thin(texts: Texts, days: int, *, batch: int = 1_000, dry_run: bool = False) -> Iterator[Batch]:
    """Go through all attempts by their key; each batch is a transaction of its own, so it may be ended at any time.

    What is thinned is marked, so a second run passes over it.
    """
    after = 0
    while (upto := _upto(texts, after, batch)) is not None:
        begun = time.monotonic()
        found = _thinned(texts, {"after": after, "upto": upto, "days": days}, batch, dry_run=dry_run)
        took = time.monotonic() - begun
        if found is None:
            batch = max(1, batch // 4)
            continue
        yield Batch(*found, upto, took)
        after = upto
        if took > SLOW:
            batch = max(min(AT_LEAST, batch), batch // 2)
        elif took < SLOW / 2:
            batch = min(AT_MOST, batch + batch // 4 + 1)


def _thinned(texts: Texts, values: dict[str, Any], batch: int, *, dry_run: bool) -> tuple[int, int] | None:
    """(attempts, bytes) of one batch; None where it took too long, and nothing was done.

    A single attempt may take as long as it takes. That a crash undoes the last batches is no harm, so the commit does
    not wait for the disk with the rows locked.
    """
    limit = 0 if dry_run or batch == 1 else round(1000 * NEVER)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true), set_config('synchronous_commit', 'off', true)",
                [str(limit)],
            )
            cursor.execute(texts.query(_DRY if dry_run else _THIN), values)
            attempts, freed = cursor.fetchone()
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
    except OperationalError as error:
        if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            return None
        raise
    return attempts, int(freed)


def _upto(texts: Texts, after: int, batch: int) -> int | None:
    """The key of the last attempt of the next batch; None behind the last one."""
    with connection.cursor() as cursor:
        cursor.execute(texts.query(_UPTO), [after, batch])
        found: int | None = cursor.fetchone()[0]
    return found
