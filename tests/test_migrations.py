"""Migrations run while workers stream and people click: none takes a lock on a busy table that lasts.

A lock that is short by itself (a column without a default, a constraint that is not validated) is allowed: it waits for
at most `lock_timeout`, gives up, and the migration is run again. What reads or rewrites the whole table under its
lock is not, except in the migrations that make the tables.
"""

from __future__ import annotations

import io
import re

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

APPS = [config.label for config in apps.get_app_configs() if "site-packages" not in config.path]
TABLES = [model._meta.db_table for label in APPS for model in apps.get_app_config(label).get_models()]
# What takes long locks, and why that is right there.
JUSTIFIED = {
    ("analysis", "0002_storage"): "the tables are made by the migration before it, in the same version",
    (
        "analysis",
        "0005_source_port",
    ): "only runs on an address with a port and what belongs to them, one by one",
    ("workflows", "0002_storage"): "the tables are made by the migration before it, in the same version",
}

ON = r'(?:ONLY )?"?(?:public"?\."?)?(?P<table>\w+)"?'
LASTING = {
    rf"CREATE (UNIQUE )?INDEX (?!CONCURRENTLY).* ON {ON}": "builds an index and holds up every writer meanwhile",
    rf"ALTER TABLE {ON} .*ALTER COLUMN \S+ (SET DATA )?TYPE": "may rewrite the table",
    rf"ALTER TABLE {ON} .*ALTER COLUMN \S+ SET NOT NULL": "reads the table while nobody may use it",
    rf"ALTER TABLE {ON} .*ADD (COLUMN )?(?!CONSTRAINT).*GENERATED ALWAYS AS .* STORED": "rewrites the table",
    rf"ALTER TABLE {ON} .*ADD (COLUMN )?(?!CONSTRAINT).*DEFAULT \(?(clock_timestamp|gen_random_uuid|random|nextval)":
        "writes a value into every row",
    rf"ALTER TABLE {ON} .*ADD CONSTRAINT \S+ (CHECK|FOREIGN KEY)(?!.*NOT VALID)": "reads the table to validate it",
    rf"ALTER TABLE {ON} .*ADD CONSTRAINT \S+ (UNIQUE|PRIMARY KEY)(?!.*USING INDEX)": "builds an index under its lock",
    rf"UPDATE {ON} SET": "locks every row it writes until it commits",
    rf"DELETE FROM {ON}": "locks every row it deletes until it commits",
    rf"LOCK TABLE {ON}": "locks the table on purpose",
    rf"(VACUUM FULL|CLUSTER|REINDEX TABLE) {ON}": "rewrites the table",
    r"-- Raw Python operation": "changes rows in Python; look at it, and give its reason in JUSTIFIED",
}  # fmt: skip


def lasting_locks(sql: str, tables: list[str] = TABLES) -> list[str]:
    """What in these statements holds a lock for long, on one of `tables` that they have not made themselves."""
    sql = re.sub(r"\$(\w*)\$.*?\$\1\$", "''", sql, flags=re.S)  # bodies of functions
    made = set(re.findall(r'CREATE TABLE "?(\w+)"?', sql))
    found = []
    for statement in re.split(r";\s*\n", sql + "\n"):
        flat = " ".join(line for line in statement.splitlines() if not re.match(r"--(?! Raw Python)", line))
        flat = re.sub(r"\s+", " ", flat).strip()
        for pattern, why in LASTING.items():
            hit = re.match(pattern, flat, re.I)
            table = (hit.groupdict().get("table") or "") if hit else ""
            if hit and (not table or (table in tables and table not in made)):
                found.append(f"{flat[:100]}: {why}")
    return found


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE INDEX "i" ON "workflows_stepattempt" ("step_id");',
        'CREATE UNIQUE INDEX "i" ON "workflows_step" ("key") WHERE key <> \'\';',
        'ALTER TABLE "workflows_step" ALTER COLUMN "title" TYPE text USING "title"::text;',
        'ALTER TABLE "workflows_step" ALTER COLUMN "title" SET NOT NULL;',
        "ALTER TABLE workflows_step\n    ADD CONSTRAINT c CHECK (position > 0);",
        'ALTER TABLE "workflows_step" ADD CONSTRAINT f FOREIGN KEY ("x_id") REFERENCES "y" ("id");',
        'ALTER TABLE "workflows_step" ADD CONSTRAINT u UNIQUE ("key");',
        'ALTER TABLE "workflows_step" ADD COLUMN "at" timestamptz DEFAULT clock_timestamp() NOT NULL;',
        'ALTER TABLE "workflows_workflow" ADD COLUMN "p" text GENERATED ALWAYS AS (CASE WHEN 1 THEN 2 END) STORED;',
        "UPDATE workflows_step SET title = '';",
        "-- Raw Python operation\n-- THIS OPERATION CANNOT BE WRITTEN AS SQL\n",
    ],
)
def test_the_search_for_lasting_locks_finds(sql):
    assert len(lasting_locks(sql)) == 1


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE INDEX CONCURRENTLY "i" ON "workflows_stepattempt" ("step_id");',
        'ALTER TABLE "workflows_step" ADD COLUMN "note" text DEFAULT \'\' NOT NULL;',
        'ALTER TABLE "workflows_step" ADD COLUMN "note" text NULL;',
        'ALTER TABLE "workflows_step" ADD CONSTRAINT c CHECK (position > 0) NOT VALID;',
        'ALTER TABLE "workflows_step" VALIDATE CONSTRAINT c;',
        'CREATE TABLE "workflows_new" ("id" bigint);\nCREATE INDEX "i" ON "workflows_new" ("id");',
        'CREATE INDEX "i" ON "somebody_elses" ("id");',
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$\nUPDATE workflows_step SET title = '';\n$$;",
    ],
)
def test_the_search_for_lasting_locks_leaves(sql):
    assert lasting_locks(sql) == []


def later_migrations() -> list[tuple[str, str]]:
    """All of ours that are not the first of their app."""
    loader = MigrationLoader(connection, ignore_no_migrations=True)
    found = [
        key for key, migration in loader.disk_migrations.items() if key[0] in APPS and not migration.initial
    ]
    return sorted(key for key in found if not key[1].startswith("0001_"))


@pytest.mark.django_db(transaction=True)  # an index is built beside others only outside of one
def test_no_migration_takes_a_lock_on_a_busy_table_that_lasts():
    found = {}
    for app, name in later_migrations():
        said = io.StringIO()
        call_command("sqlmigrate", app, name, stdout=said)
        if locks := lasting_locks(said.getvalue()):
            found[app, name] = locks
    assert set(found) == set(JUSTIFIED), found


@pytest.mark.django_db(transaction=True)  # an index is built beside others only outside of one
def test_an_index_that_is_built_beside_the_work_can_be_built_again_after_an_interruption():
    """A build that was cut short leaves an index that is invalid: the same migration has to remove it first."""
    for app, name in later_migrations():
        said = io.StringIO()
        call_command("sqlmigrate", app, name, stdout=said)
        for index in re.findall(r'CREATE (?:UNIQUE )?INDEX CONCURRENTLY "?(\w+)"?', said.getvalue()):
            assert f"DROP INDEX CONCURRENTLY IF EXISTS {index}" in said.getvalue(), (app, name)
