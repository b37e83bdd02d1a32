"""Many rows in a scratch database, written by SQL as if workers had run them: what is measured is how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

TABLES = ("workflows_workflow", "workflows_step", "workflows_stepattempt")

_RUNS = """
INSERT INTO workflows_workflow (owner_id, name, description, inputs, input, template_slug, template_version,
       default_model, on_cut_off, status, reason, version, created_at, started_at, finished_at)
SELECT %(owner)s, 'Run ' || n, '', '[]', '{}', 'bench', 1, '', 'stop', %(status)s, '', 1, t, t,
       CASE WHEN %(status)s = 'completed' THEN t + interval '1 min' END
  FROM generate_series(1, %(runs)s) n, LATERAL (SELECT now() - %(age)s * interval '1 s' + n * interval '1 ms' AS t) x
RETURNING id
"""
_STEPS = """
INSERT INTO workflows_step (workflow_id, workflow_phase, position, key, title, kind, config, needs, output, notes,
       origin, status, reason, version, started_at, finished_at)
SELECT w.id, w.phase, n, 's' || n, 'Step ' || n, 'noop', '{"prompt": "x"}',
       CASE WHEN n = 1 THEN '{}'::text[] ELSE ARRAY['s' || n - 1] END, '', '', 'template',
       CASE WHEN w.status = 'completed' THEN 'completed' WHEN n = 1 THEN 'running' ELSE 'pending' END, '', 1,
       CASE WHEN w.status = 'completed' OR n = 1 THEN w.started_at END, w.finished_at
  FROM workflows_workflow w, generate_series(1, %(steps)s) n WHERE w.id = ANY(%(pks)s)
"""
_ATTEMPTS = """
INSERT INTO workflows_stepattempt (step_id, kind, branch, number, cause, status, reason, version, queued_at, started_at,
       finished_at, heartbeat_at, due_at, deadline_at, comment, request, output, stop_reason, model, input_tokens,
       output_tokens, usage, cost, cost_estimated, request_id, worker, error, served_for)
SELECT s.id, s.kind, '', n, 'start', st, CASE st WHEN 'failed' THEN 'lost' ELSE '' END, 1, w.started_at,
       CASE WHEN st <> 'pending' THEN w.started_at END, CASE WHEN st IN ('completed', 'failed') THEN w.started_at END,
       CASE WHEN st <> 'pending' THEN w.started_at END,
       CASE st WHEN 'pending' THEN now() + interval '15 s' WHEN 'running' THEN w.started_at + interval '60 s' END,
       CASE WHEN st = 'running' THEN now() + interval '1 h' END,
       '', CASE WHEN st = 'pending' THEN '{}' ELSE '{"model": "practice", "prompt": "Write."}' END::jsonb, %(output)s,
       CASE WHEN st = 'completed' THEN 'end_turn' ELSE '' END, 'practice',
       CASE WHEN st IN ('completed', 'failed') THEN 900 END, CASE WHEN st IN ('completed', 'failed') THEN 700 END, '{}',
       CASE WHEN st IN ('completed', 'failed') THEN 0.01 END, false, '',
       CASE WHEN st = 'pending' THEN '' ELSE %(worker)s END, '', w.owner_id
  FROM workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id, generate_series(1, %(attempts)s) n,
       LATERAL (SELECT CASE WHEN n < %(attempts)s THEN 'failed' ELSE %(status)s END AS st) x
 WHERE w.id = ANY(%(pks)s) AND (w.status = 'completed' OR s.position = 1)
"""


@contextmanager
def without_triggers() -> Iterator[None]:
    """The rules for single moves are left aside; what a row must hold is not."""
    with transaction.atomic(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def fill(
    owner: Any, runs: int, status: str, *, steps: int = 10, attempts: int = 1, age: float = 3600.0,
    worker: str = "bench:gone", output: str = "words ",
) -> list[int]:  # fmt: skip
    """Runs that began `age` s ago; `status` is that of the last attempt of each step that was tried.

    `completed`: all steps are done. `pending`: the first step is queued. `running`: its worker fell silent then.
    """
    values: dict[str, Any] = {
        "owner": owner.pk, "runs": runs, "steps": steps, "attempts": attempts, "age": age, "worker": worker,
        "output": output,
    }  # fmt: skip
    with without_triggers(), connection.cursor() as cursor:
        cursor.execute(_RUNS, values | {"status": "completed" if status == "completed" else "running"})
        pks = [row[0] for row in cursor.fetchall()]
        cursor.execute(_STEPS, values | {"pks": pks})
        cursor.execute(_ATTEMPTS, values | {"pks": pks, "status": status})
    return pks


def analyze() -> None:
    """Statistics and a visibility map as autovacuum leaves them."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"VACUUM ANALYZE {table}")
