"""`manage.py export_workflow PK`: the definition that a workflow holds, as YAML."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from workflows import services, shell, specs
from workflows.models import Workflow


class Command(BaseCommand):
    help = "Write a workflow's definition as YAML, ready for import_workflow and run_workflow; its input stays here."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("pk", type=int)
        parser.add_argument("--output", metavar="FILE", help="write to FILE, which must not exist yet")

    def handle(self, *, pk: int, output: str | None, **options: Any) -> None:
        workflow = Workflow.objects.filter(pk=pk).first()
        if workflow is None:
            raise shell.BadInput(f"There is no workflow {pk}.")
        text = specs.dump_yaml(services.spec_of(workflow))
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            with Path(output).open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise shell.BadInput(f"{output} exists already. Name a new file.") from None
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}.") from None
