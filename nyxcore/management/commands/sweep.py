"""`manage.py sweep`: one pass by hand."""

from __future__ import annotations

import json
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from nyxcore import pulse, sweep


class Command(BaseCommand):
    help = (
        "Look once for rows that nobody moves any more, and repair them; prints each row and what was done."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only tell, change nothing")
        parser.add_argument(
            "--older-than",
            type=_seconds,
            default=0.0,
            metavar="SECONDS",
            help="only rows whose alarm went off, or runs that stand still, for that long",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object per line")

    def handle(self, *, dry_run: bool, older_than: float, **options: Any) -> None:
        found = sweep.run_pass(dry_run=dry_run, scope=sweep.Scope(older_than=older_than))
        for line in found:
            self.stdout.write(_as_json(line) if options["json"] else line.said)
        if not options["json"]:
            self.stdout.write(f"{len(found)} found{', nothing changed' if dry_run else ''}.")
        pulse.drain()


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 10**9:  # less than 0 would end rows whose lease has not passed
        raise ArgumentTypeError(f"a number of seconds from 0, not {word!r}")
    return seconds


def _as_json(line: sweep.Found) -> str:
    fields = {
        name: getattr(line, name) for name in ("target", "run", "row", "found", "done", "worker", "said")
    }
    return json.dumps({**fields, "last_sign": line.last_sign.isoformat() if line.last_sign else None})
