"""`manage.py thin_attempts --older-than DAYS`: the long texts of old attempts go, the facts stay."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from nyxcore import thinning, ui
from nyxcore.words import counted


class Command(BaseCommand):
    help = (
        "Take the prompts, and the answers that nothing reads any more, out of the attempts of workflows and analyses "
        "that ended that long ago. Accepted outputs, findings, tokens, cost and reasons stay. It may be ended and run "
        "again at any time."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--older-than", type=_count, required=True, metavar="DAYS", help="since the end of the run"
        )
        parser.add_argument("--dry-run", action="store_true", help="only tell, change nothing")
        parser.add_argument(
            "--batch", type=_count, default=1_000, metavar="N",
            help="attempts in the first statement; later ones grow or shrink, so that none takes long (1000)",
        )  # fmt: skip

    def handle(self, *, older_than: int, dry_run: bool, batch: int, **options: Any) -> None:
        attempts = freed = statements = 0
        longest = 0.0
        for app, texts in thinning.TEXTS.items():
            for done in thinning.thin(texts, older_than, batch=max(1, batch), dry_run=dry_run):
                attempts, freed, statements = attempts + done.attempts, freed + done.freed, statements + 1
                longest = max(longest, done.seconds)
                if done.attempts and options["verbosity"] > 1:
                    self.stdout.write(
                        f"{app}, up to attempt {done.upto}: {done.attempts:,}, {ui.size(done.freed)}"
                    )
        what = counted(attempts, "attempt")
        if dry_run:
            self.stdout.write(f"{what} would be thinned; their texts take {ui.size(freed)}.")
            return
        self.stdout.write(
            f"{what} thinned, {ui.size(freed)} freed, in {statements:,} statements; the longest took "
            f"{1000 * longest:.0f} ms. PostgreSQL uses the room again by itself."
        )


def _count(word: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 7):
        raise ArgumentTypeError(f"a whole number from 0, not {word!r}")
    return int(word)
