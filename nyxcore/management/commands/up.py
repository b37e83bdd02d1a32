"""`manage.py up` for `help` and callers inside Django; manage.py itself starts it without loading Django."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management import BaseCommand

from nyxcore import up


class Command(BaseCommand):
    help = up.DESCRIPTION
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        up.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(up.run(port=options["port"], workers=options["workers"]))
