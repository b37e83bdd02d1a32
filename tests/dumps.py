"""A scratch database, and rows in it as a dump brings them that was loaded without its constraints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO, StringIO
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connection

from tests.processes.tools import database_url


@contextmanager
def scratch_database(suffix: str) -> Iterator[None]:
    """A database of its own, like the one of the tests; the connection of Django leads there."""
    own = connection.settings_dict["NAME"]
    name = f"{own}_{suffix}"
    connection.close()
    with psycopg.connect(database_url().rpartition("/")[0] + "/postgres", autocommit=True) as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [own])
        server.execute(f"CREATE DATABASE {name} TEMPLATE {own}")
        try:
            server.execute(f"ALTER DATABASE {name} SET search_path TO public, yesterday, pg_catalog")
            connection.settings_dict["NAME"] = name
            yield
        finally:
            connection.close()
            connection.settings_dict["NAME"] = own
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def constraints(tables: Sequence[str]) -> list[tuple[str, str, str]]:
    """(table, name, definition) of each CHECK and foreign key."""
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
                WHERE c.conrelid = ANY(%s::regclass[]) AND c.contype IN ('c', 'f')""",
            [list(tables)],
        )
        return list(cursor.fetchall())


def validate(tables: Sequence[str]) -> None:
    """Raises where a row breaks a constraint."""
    with connection.cursor() as cursor:
        for table, name, _definition in constraints(tables):
            cursor.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def dumped_and_loaded(tables: Sequence[str], broken: Iterable[tuple[str, int]]) -> None:
    """Without constraints the rows are made what the dump says (a statement for each run), dumped, removed and loaded;
    then everything is put back as NOT VALID."""
    kept = constraints(tables)
    with connection.cursor() as cursor:
        for table, name, _definition in kept:
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement, pk in broken:
            cursor.execute(statement, {"run": pk})
        dumps = {table: _columns_and_rows(cursor, table) for table in tables}
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")
        for table, (columns, rows) in dumps.items():
            with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                copy.write(rows)
        for table in tables:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        for table, name, definition in kept:
            cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition} NOT VALID")


def _columns_and_rows(cursor: Any, table: str) -> tuple[str, bytes]:
    cursor.execute(
        """SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
            WHERE table_name = %s AND is_generated = 'NEVER'""",
        [table],
    )
    columns = cursor.fetchone()[0]
    rows = BytesIO()
    with cursor.copy(f"COPY {table} ({columns}) TO STDOUT") as copy:
        for chunk in copy:
            rows.write(chunk)
    return columns, rows.getvalue()


def swept(*args: str) -> list[str]:
    """The lines of `manage.py sweep`."""
    out = StringIO()
    call_command("sweep", *args, stdout=out)
    return out.getvalue().splitlines()


def about(row: str, lines: list[str]) -> str:
    """The lines on one run."""
    return "\n".join(line for line in lines if line.startswith((f"{row}:", f"{row},")))
