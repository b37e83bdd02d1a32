"""`manage.py import_workflow FILE`: a pending workflow of the definition in a YAML file."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from nyxcore import standby
from workflows import shell


class Command(BaseCommand):
    help = "Create a workflow of the definition in a YAML file, without starting it. Exit code 2: bad input."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a file as export_workflow writes it; - reads standard input")
        parser.add_argument(
            "--input", action="append", default=[], metavar="KEY=VALUE", help="as of run_workflow"
        )
        parser.add_argument("--name", default="", help="name of the workflow (default: the file's)")
        parser.add_argument("--owner", default="", help="user name of the owner (default: admin)")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, file: str, name: str, owner: str, **options: Any) -> None:
        person = shell.find_owner(owner)
        workflow = shell.create(shell.read_spec(file), owner=person, words=options["input"], name=name)
        url = f"{standby.address()}{workflow.get_absolute_url()}"
        if options["json"]:
            self.stdout.write(json.dumps({"workflow": workflow.pk, "status": workflow.status, "url": url}))
        else:
            self.stdout.write(f"Workflow {workflow.pk} “{workflow.name}” is ready to be started: {url}")
