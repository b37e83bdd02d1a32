"""`manage.py token_limits`: how well the token limits of the templates' steps fit, and what would fit better."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from nyxcore.states import Status
from nyxcore.words import counted
from workflows import limits, services, shell
from workflows.limits import Fit
from workflows.models import Step

HEAD = ("template / step", "answers", "cut", "p50", "p95", "most", "limit", "suggested")


class Command(BaseCommand):
    help = (
        "For each template step: how many answers, how many were cut, the output tokens they used (p50, p95, most), "
        "the limit, and the limit that would fit. --apply raises it in steps that have not run yet. Templates "
        "themselves are files and are changed by hand."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--template", default="", metavar="SLUG", help="only this template")
        parser.add_argument("--apply", action="store_true", help="raise pending steps where answers were cut")
        parser.add_argument(
            "--owner", default="", help="who is recorded as the one who applied it (default: admin)"
        )
        parser.add_argument("--json", action="store_true", help="one JSON object per line")

    def handle(self, *, template: str, **options: Any) -> None:
        fits = limits.measure(template)
        if options["json"]:
            for fit in fits:
                self.stdout.write(json.dumps(asdict(fit) | {"suggested": fit.suggested}))
        else:
            self._table(fits)
        if options["apply"]:
            self._apply([fit for fit in fits if fit.cut_at], options)

    def _table(self, fits: list[Fit]) -> None:
        if not fits:
            self.stdout.write("No template step has answered yet.")
            return
        rows = [HEAD] + [
            (
                f"{fit.template} / {fit.step}",
                *(f"{number:,}" for number in (fit.answers, fit.cut, fit.p50, fit.p95, fit.most, fit.cap)),
                f"{fit.suggested:,}" if fit.suggested else "too few",
            )
            for fit in fits
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        for row in rows:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            self.stdout.write("  ".join(cells))

    def _apply(self, fits: list[Fit], options: dict[str, Any]) -> None:
        """Raise, never lower: room that is not used costs nothing, a cut answer stops a run."""
        by = shell.find_owner(options["owner"])
        say = self.stderr.write if options["json"] else self.stdout.write
        raised = 0
        for fit in fits:
            for step in _pending(fit):
                had = int(step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)
                if fit.suggested is None or had >= fit.suggested:
                    continue
                edit = {step.key: {"max_tokens": fit.suggested}}
                try:
                    services.update_settings(step.workflow, by=by, steps=edit, kind="operator")
                except services.Refused as error:
                    say(f"workflow {step.workflow_id}, {step.key}: left at {had:,}. {error}")
                    continue
                say(f"workflow {step.workflow_id}, {step.key}: {had:,} > {fit.suggested:,}")
                raised += 1
        say(f"{counted(raised, 'pending step')} raised.")
        if fits:
            say("New workflows take theirs from the template: a built-in one is a file in workflows/catalog.")


def _pending(fit: Fit) -> list[Step]:
    """The steps of that template step that have not run, in workflows that may still run them."""
    open_runs = (Status.PENDING, Status.RUNNING, Status.PAUSED)
    steps = Step.objects.filter(key=fit.step, kind="llm", status=Status.PENDING)
    found = steps.filter(workflow__template_slug=fit.template, workflow__status__in=open_runs)
    return list(found.select_related("workflow").order_by("workflow"))
