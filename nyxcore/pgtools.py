"""PostgreSQL's own programs, pointed at the database of the settings."""

import os
import shutil
import subprocess
from collections.abc import Sequence

from django.core.management import CommandError
from django.db import connection


def run_tool(name: str, options: Sequence[str]) -> None:
    """Run pg_dump or the like; CommandError with its words when it fails."""
    if shutil.which(name) is None:
        raise CommandError(
            f"{name} was not found. Install PostgreSQL's client programs of the server's version."
        )
    words, extra = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    *where, database = words[1:]  # the first is psql
    connection.close()
    done = subprocess.run(
        [name, *where, f"--dbname={database}", *options],
        env=os.environ | (extra or {}),
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise CommandError(f"{name} failed: {(done.stderr.strip() or 'it said nothing').splitlines()[0]}")
