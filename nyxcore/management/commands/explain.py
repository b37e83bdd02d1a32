"""`manage.py explain workflow PK`: why a row is where it is, and what would move it."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from nyxcore import sweep


class Command(BaseCommand):
    help = "Tell in sentences why a run, or one row below it, is where it is and what would move it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=list(_kinds()))
        parser.add_argument("pk", type=int)

    def handle(self, *, kind: str, pk: int, **options: Any) -> None:
        lines = _kinds()[kind](pk)
        if lines is None:
            raise CommandError(f"There is no {kind} {pk}.")
        for line in lines:
            self.stdout.write(line)


def _kinds() -> dict[str, Callable[[int], list[str] | None]]:
    """What can be explained, by its word."""
    found: dict[str, Callable[[int], list[str] | None]] = {}
    for target in sweep.TARGETS:
        found |= {target.name: target.explain, **target.explain_more}
    return found
