"""`manage.py explain workflow PK`: why a run is where it is, and what would move it."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nyxcore import sweep


class Command(BaseCommand):
    help = "Tell in sentences why a run is where it is and what would move it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=[target.name for target in sweep.TARGETS])
        parser.add_argument("pk", type=int)

    def handle(self, *, kind: str, pk: int, **options: Any) -> None:
        target = next(target for target in sweep.TARGETS if target.name == kind)
        lines = target.explain(pk)
        if lines is None:
            raise CommandError(f"There is no {kind} {pk}.")
        for line in lines:
            self.stdout.write(line)
