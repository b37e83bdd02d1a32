"""`nyxcore_active`: what is active over all apps as one view, for psql and for pages that know no app.

Each app registers its part, a file of SELECTs over its own tables. The view is made anew whenever a part has changed:
after migrations, and by `manage.py bootstrap`, which `up` runs when a file in an app's `sql` folder is another one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

NAME = "nyxcore_active"
COLUMNS = (
    "kind",  # of run: workflow
    "level",  # run or attempt
    "run_id", "run_name", "owner",
    "item_id", "item",  # the step
    "attempt_id", "attempt_number",
    "status", "reason", "worker", "held_by",
    "since",  # queued or started; of a run: its last change
    "age_seconds", "heartbeat_at", "heartbeat_age_seconds", "due_in_seconds", "deadline", "error",
    "path",  # of its page
)  # fmt: skip

PARTS: dict[str, Path] = {}


def register(name: str, part: Path) -> None:
    """Called by an app when it is ready: `part` holds one SELECT, or several with UNION ALL, of COLUMNS in order."""
    PARTS[name] = part


def definition() -> str:
    """The whole query."""
    return "\nUNION ALL\n".join(part.read_text(encoding="utf-8") for _name, part in sorted(PARTS.items()))


def ensure() -> bool:
    """Make the view if it is not there as the files have it; True if it was made."""
    query = definition()
    digest = hashlib.sha256(f"{COLUMNS}{query}".encode()).hexdigest()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT obj_description(to_regclass(%s), 'pg_class')", [NAME])
        if cursor.fetchone()[0] == digest:
            return False
        cursor.execute(f"DROP VIEW IF EXISTS {NAME}")
        cursor.execute(f"CREATE VIEW {NAME} ({', '.join(COLUMNS)}) AS\n{query}")
        cursor.execute(f"COMMENT ON VIEW {NAME} IS '{digest}'")
    return True


def drop() -> None:
    """A column that a view reads cannot change its type."""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP VIEW IF EXISTS {NAME}")


def before_migrations(plan: Any = (), **_kwargs: Any) -> None:
    if plan:
        drop()


def after_migrations(**_kwargs: Any) -> None:
    """Only where all are applied: a part reads the newest columns."""
    executor = MigrationExecutor(connection)
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        ensure()
