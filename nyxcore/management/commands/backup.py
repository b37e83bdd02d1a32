"""`manage.py backup FILE`: the whole database in one file, also while nyxcore runs."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management import BaseCommand, CommandError

from nyxcore.pgtools import run_tool


class Command(BaseCommand):
    help = "Write the whole database into FILE (pg_dump's own format). nyxcore may run meanwhile."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, help="the file to write; it must not exist yet")

    def handle(self, *args: Any, **options: Any) -> None:
        file: Path = options["file"]
        if file.exists():
            raise CommandError(f"{file} exists already. Name a new file.")
        draft = file.with_name(file.name + ".part")
        draft.touch(mode=0o600)  # it holds prompts, answers and password hashes
        try:
            run_tool("pg_dump", ["--format=custom", "--no-owner", f"--file={draft}"])
        except CommandError:
            draft.unlink(missing_ok=True)
            raise
        draft.rename(file)
        self.stdout.write(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB)")
