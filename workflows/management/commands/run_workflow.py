"""`manage.py run_workflow NAME_OR_YAML --input key=value`: create, start, wait, and tell how it ended."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from decimal import Decimal
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Coalesce
from rich.console import Console

from nyxcore.runcommand import RunCommand, View, address, check_folder, write
from nyxcore.states import Status
from nyxcore.words import counted
from workflows import follow, services, shell
from workflows.explain import explain
from workflows.models import OnCutOff, Step, StepAttempt, Workflow
from workflows.requests import joined


class Command(RunCommand):
    help = (
        "Create a workflow from a built-in template or a YAML file, start it and wait for its end. "
        "Exit code: 0 completed, 1 failed or cancelled, 2 bad input, 3 waits for a decision."
    )
    noun = "workflow"
    kept = "its text is kept"
    ends = {Status.COMPLETED: 0, Status.PAUSED: 3}

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
        parser.add_argument(
            "--output", metavar="FILE", help="write the last step's text to FILE (-: standard output)"
        )
        parser.add_argument(
            "--on-cut-off", choices=OnCutOff.values, default="", help="what follows a cut answer"
        )
        super().add_arguments(parser)

    def check_given(self, options: dict[str, Any]) -> None:
        if options["json"] and options["output"] == "-":
            raise shell.BadInput("--json and --output - both want standard output; give --output a file.")
        if options["output"] != "-":
            check_folder(options["output"])

    def to_stdout(self, options: dict[str, Any]) -> bool:
        return bool(options["json"]) or options["output"] == "-"

    def create(self, owner: Any, options: dict[str, Any]) -> Workflow:
        return shell.create(
            shell.find_spec(options["workflow"], owner),
            owner=owner,
            words=options["input"],
            name=options["name"],
            default_model=options["model"],
            on_cut_off=options["on_cut_off"],
            budget=options["budget"],
        )

    def start(self, run: Workflow, owner: Any) -> None:
        services.start_workflow(run, by=owner, kind="operator")

    def cancel(self, run: Workflow, owner: Any) -> None:
        services.cancel_workflow(run, by=owner, kind="operator")

    def look(self, run: Workflow) -> follow.RunNow:
        return follow.look(run.pk, tail=follow.TAIL)

    def view(self) -> View:
        console = Console(file=self.teller.stream)
        if console.is_terminal and not console.is_dumb_terminal:
            return follow.Screen(console)
        return follow.Lines(self.teller)

    def about(self, run: Workflow) -> str:
        return f"“{run.name}”"

    def conclude(self, run: Workflow, code: int, options: dict[str, Any]) -> int:
        if options["output"] == "-":
            self.stdout.write(_result(run))
        elif options["output"]:
            write(options["output"], _result(run))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(run), indent=2))
        else:
            self._tell(run)
        return code

    def _tell(self, workflow: Workflow) -> None:
        run: Any = Workflow.objects.with_cost().get(pk=workflow.pk)
        if run.status != Status.COMPLETED:
            for line in explain(run):
                self.teller.say(line)
            return
        now = follow.look(run.pk)
        cost = f", ${run.cost_total:.4f}" if run.cost_total is not None else ""
        self.teller.say(
            f"Workflow {run.pk} is completed: {counted(now.done, 'step')} in {follow.duration(now.seconds or 0)}, "
            f"{counted(run.tokens_total or 0, 'token')}{cost}."
        )


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


def _as_json(workflow: Workflow) -> dict[str, Any]:
    run: Any = Workflow.objects.with_cost().get(pk=workflow.pk)
    tokens = Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0)
    attempts = StepAttempt.objects.filter(step__workflow=run).order_by().values_list("step")
    used = dict(attempts.annotate(sum=Sum(tokens)))
    return {
        "workflow": run.pk,
        "status": run.status,
        "reason": run.reason,
        "url": address(run),
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
