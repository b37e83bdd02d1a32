"""A database whose server seems to have started yesterday: the sweep's guard after a start is another story."""

from __future__ import annotations

from typing import Any

# Found before the function of PostgreSQL itself, by every connection to this database.
YESTERDAY = """
CREATE SCHEMA IF NOT EXISTS yesterday;
CREATE OR REPLACE FUNCTION yesterday.pg_postmaster_start_time() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.pg_postmaster_start_time() - interval ''1 day''';
"""


def season(execute: Any, database: str) -> None:
    """Of the database that `execute` speaks to; its connections that are open already do not notice."""
    execute(YESTERDAY)
    execute(f'ALTER DATABASE "{database}" SET search_path TO public, yesterday, pg_catalog')
