"""`manage.py restore FILE`: put a back-up in the place of the present database."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError

from nyxcore.embedded import running_up
from nyxcore.pgtools import run_tool


class Command(BaseCommand):
    help = "Replace the whole database by the back-up in FILE. Stop nyxcore first."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="a file that `manage.py backup` wrote")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        if state := running_up(settings.DATA_DIR):
            raise CommandError(f"nyxcore runs with this data (process {state.owner[0]}). Stop it first.")
        if not options["yes"] and input("All present data will be replaced. Type yes to go on: ") != "yes":
            raise CommandError("Nothing was changed.")
        # In one transaction: a back-up that cannot be read leaves the present data as they are.
        replace = ["--clean", "--if-exists", "--no-owner", "--single-transaction", "--exit-on-error"]
        run_tool("pg_restore", [*replace, str(file)])
        self.stdout.write("restored; the next start brings the schema up to date")
