"""`manage.py run_workflow NAME_OR_YAML --input key=value`: create, start, wait, and tell how it ended."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError
from django.db.models import Sum
from django.db.models.functions import Coalesce
from rich.console import Console

from nyxcore import pulse, standby
from nyxcore.llm import is_practice
from nyxcore.processes import StartError
from nyxcore.shell import INTERRUPTED, LOOK_EVERY, TIMED_OUT, GaveUp, Teller, told_to_end, with_patience
from nyxcore.states import Status
from nyxcore.words import counted
from workflows import follow, services, shell
from workflows.explain import explain
from workflows.models import OnCutOff, Step, StepAttempt, Workflow
from workflows.requests import joined

EXIT_CODES = {Status.COMPLETED: 0, Status.PAUSED: 3}  # any other end is 1


class Command(BaseCommand):
    help = (
        "Create a workflow from a built-in template or a YAML file, start it and wait for its end. "
        "Exit code: 0 completed, 1 failed or cancelled, 2 bad input, 3 waits for a decision."
    )
    requires_system_checks: list[str] = []
    standby: Callable[[], Any] = standby.Standby

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "workflow", metavar="NAME_OR_YAML", help="name or slug of a template, or a YAML file"
        )
        parser.add_argument(
            "--input",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="a value of the input; KEY=@FILE reads a file, KEY=@- standard input, KEY=@@TEXT is @TEXT",
        )
        parser.add_argument("--follow", action="store_true", help="show the steps while they run")
        parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
        parser.add_argument(
            "--output", metavar="FILE", help="write the last step's text to FILE (-: standard output)"
        )
        parser.add_argument("--name", default="", help="name of the run (default: the template's)")
        parser.add_argument("--owner", default="", help="user name of the owner (default: admin)")
        parser.add_argument("--model", default="", help="the model of steps that name none")
        parser.add_argument("--budget", type=shell.money, metavar="USD", help="pause before it is exceeded")
        parser.add_argument(
            "--on-cut-off", choices=OnCutOff.values, default="", help="what follows a cut answer"
        )
        parser.add_argument(
            "--timeout",
            type=shell.seconds,
            metavar="SECONDS",
            help=f"give up waiting after so long (exit code {TIMED_OUT})",
        )

    def handle(self, **options: Any) -> None:
        if getattr(self, "_called_from_command_line", False) and not os.environ.get("LOG_LEVEL"):
            logging.getLogger().setLevel(logging.WARNING)  # the engine's own lines are for servers
        if options["json"] and options["output"] == "-":
            raise shell.BadInput("--json and --output - both want standard output; give --output a file.")
        self.teller = Teller(self.stderr if options["json"] or options["output"] == "-" else self.stdout)
        try:
            workflow, owner = self._create(options)
            code = self._run(workflow, owner, options)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"PostgreSQL cannot be reached: {str(error).strip()}") from None
        if code:
            sys.exit(code)

    def _create(self, options: dict[str, Any]) -> tuple[Workflow, Any]:
        if options["output"] not in (None, "-") and not Path(options["output"]).absolute().parent.is_dir():
            raise shell.BadInput(f"The folder of {options['output']} does not exist.")
        owner = shell.find_owner(options["owner"])
        spec = shell.find_spec(options["workflow"], owner)
        workflow = shell.create(
            spec,
            owner=owner,
            words=options["input"],
            name=options["name"],
            default_model=options["model"],
            on_cut_off=options["on_cut_off"],
            budget=options["budget"],
        )
        return workflow, owner

    def _run(self, workflow: Workflow, owner: Any, options: dict[str, Any]) -> int:
        """Start it and wait; the exit code."""
        url = f"{standby.address()}{workflow.get_absolute_url()}"
        self._say(f"Workflow {workflow.pk} “{workflow.name}”: {url}")
        if is_practice():
            self._say("The practice model answers: made-up text, no language model.")
        with self.standby() as worker, told_to_end():
            try:
                services.start_workflow(workflow, by=owner, kind="operator")
                pulse.drain()
                code = self._wait(workflow, worker, options)
            except KeyboardInterrupt:
                code = self._leave(workflow, owner, worker, "Interrupted", INTERRUPTED)
            except GaveUp as reason:
                code = self._leave(workflow, owner, worker, reason.why, reason.code)
            except (services.Refused, StartError) as error:
                code = self._leave(workflow, owner, worker, str(error).rstrip("."), 1)
            self._conclude(workflow, url, options)
        return code

    def _wait(self, workflow: Workflow, worker: Any, options: dict[str, Any]) -> int:
        until = time.monotonic() + options["timeout"] if options["timeout"] else None
        view = self._view(options["follow"])
        try:
            while True:
                now = with_patience(lambda: follow.look(workflow.pk, tail=follow.TAIL))
                view.show(now)
                if now.stands:
                    return EXIT_CODES.get(Status(now.status), 1)
                if until and time.monotonic() > until:
                    raise GaveUp(f"Not done after {options['timeout']:g} s", TIMED_OUT)
                with_patience(worker.look)
                time.sleep(LOOK_EVERY)
        finally:
            view.close()

    def _view(self, wanted: bool) -> follow.View:
        if not wanted:
            return follow.Silent()
        console = Console(file=self.teller.stream)
        if console.is_terminal and not console.is_dumb_terminal:
            return follow.Screen(console)
        return follow.Lines(self.teller)

    def _leave(self, workflow: Workflow, owner: Any, worker: Any, why: str, code: int) -> int:
        """We go before the run has ended: it goes on if somebody else's worker lives, else it is cancelled."""
        if worker.others():
            self._say(f"{why}. Workflow {workflow.pk} goes on: a worker lives.")
            return code
        try:
            services.cancel_workflow(workflow, by=owner, kind="operator")
            pulse.drain()
        except services.Refused:
            self._say(f"{why}. Workflow {workflow.pk} had ended already.")
        else:
            self._say(
                f"{why}. Workflow {workflow.pk} is cancelled, since no other worker lives; its text is kept."
            )
        return code

    def _conclude(self, workflow: Workflow, url: str, options: dict[str, Any]) -> None:
        """The last words, in the form that was asked for."""
        if options["output"]:
            _write(options["output"], _result(workflow), self.stdout)
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(workflow, url), indent=2))
            return
        run: Any = Workflow.objects.with_cost().get(pk=workflow.pk)
        if run.status != Status.COMPLETED:
            for line in explain(run):
                self._say(line)
            return
        now = follow.look(run.pk)
        cost = f", ${run.cost_total:.4f}" if run.cost_total is not None else ""
        self._say(
            f"Workflow {run.pk} is completed: {counted(now.done, 'step')} in {follow.duration(now.seconds or 0)}, "
            f"{counted(run.tokens_total or 0, 'token')}{cost}."
        )

    def _say(self, line: str) -> None:
        self.teller.say(line)


def _text_of(step: Step) -> str:
    """Its output, or what there is of a text that was cut or not finished."""
    if step.output or step.status in (Status.COMPLETED, Status.SKIPPED):
        return step.output
    last = step.attempts.order_by("-number").first()
    return joined(last, last.output) if last else ""


def _result(workflow: Workflow) -> str:
    """The text of the last step that has one."""
    steps = Step.objects.filter(workflow=workflow, status__in=(Status.COMPLETED, Status.CUT_OFF))
    texts = (_text_of(step) for step in steps.order_by("-position"))
    return next((text for text in texts if text), "")


def _write(file: str, text: str, stdout: Any) -> None:
    if file == "-":
        stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None


def _as_json(workflow: Workflow, url: str) -> dict[str, Any]:
    run: Any = Workflow.objects.with_cost().get(pk=workflow.pk)
    tokens = Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0)
    attempts = StepAttempt.objects.filter(step__workflow=run).order_by().values_list("step")
    used = dict(attempts.annotate(sum=Sum(tokens)))
    return {
        "workflow": run.pk,
        "status": run.status,
        "reason": run.reason,
        "url": url,
        "cost": _number(run.cost_total),
        "steps": [
            {
                "key": step.key,
                "status": step.status,
                "reason": step.reason,
                "output": _text_of(step),
                "tokens": used.get(step.pk, 0),
            }
            for step in Step.objects.filter(workflow=run).order_by("position")
        ],
    }


def _number(amount: Decimal | None) -> float | None:
    return float(amount) if amount is not None else None
