"""`manage.py analyze PATH_OR_URL`: read a source, ask, wait, and tell what was found."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from analysis import exports, follow, report, services
from analysis.analyzers import MODEL_ANALYZERS
from analysis.analyzers.base import SEVERITIES
from analysis.documents import DOCUMENTS
from analysis.explain import explain
from analysis.models import AnalysisRun
from analysis.plain import Options
from analysis.rows import estimate_of
from nyxcore import pulse, standby, ui
from nyxcore.llm import is_practice
from nyxcore.processes import StartError
from nyxcore.shell import (
    INTERRUPTED,
    LOOK_EVERY,
    TIMED_OUT,
    BadInput,
    GaveUp,
    Teller,
    find_owner,
    money,
    seconds,
    told_to_end,
    with_patience,
)
from nyxcore.states import Status

S = Status
EXIT_CODES = {S.COMPLETED: 0, S.PAUSED: 3, S.WAITING: 3}  # any other end is 1
MOST_TOLD = 100  # findings that are told one by one in a terminal
FOUND = 4  # findings as severe as --fail-on says


class Command(BaseCommand):
    help = (
        "Analyse a git address, an archive, or a folder below NYXCORE_ANALYSIS_ROOT. Exit code: 0 completed, "
        "1 failed or cancelled, 2 bad input, 3 waits for a decision, 4 completed with findings as severe as "
        "--fail-on says."
    )
    requires_system_checks: list[str] = []
    standby: Callable[[], Any] = standby.Standby

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "source",
            metavar="PATH_OR_URL",
            help="a folder, a zip or tar, or an address that begins with https://",
        )
        parser.add_argument("--ref", default="", help="branch, tag or commit (default: the default branch)")
        parser.add_argument(
            "--sub-path", default="", help="read only what lies below this folder of the source"
        )
        parser.add_argument("--follow", action="store_true", help="show how far it is")
        parser.add_argument(
            "--yes", action="store_true", help="do not wait for somebody to confirm the estimate"
        )
        parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
        parser.add_argument("--sarif", metavar="FILE", help="write the findings as SARIF 2.1.0")
        parser.add_argument("--markdown", metavar="FILE", help="write the report as Markdown")
        parser.add_argument(
            "--fail-on", choices=SEVERITIES, help=f"exit code {FOUND} where a finding is as severe as this"
        )
        parser.add_argument(
            "--analyzers", default="", metavar="NAMES", help=f"of {', '.join(MODEL_ANALYZERS)}"
        )
        parser.add_argument("--documents", default="", metavar="SLUGS", help=f"of {', '.join(DOCUMENTS)}")
        parser.add_argument(
            "--exclude", action="append", default=[], metavar="PATTERN", help="as in .gitignore"
        )
        parser.add_argument(
            "--include", action="append", default=[], metavar="PATTERN", help="as in .gitignore"
        )
        parser.add_argument(
            "--tokens",
            type=int,
            default=Options.max_tokens_read,
            metavar="NUMBER",
            help="read at most so many tokens of files, the highest-ranked first (default: %(default)s)",
        )
        parser.add_argument("--model", default="", help="the model that is asked")
        parser.add_argument("--budget", type=money, metavar="USD", help="pause before it is exceeded")
        parser.add_argument("--owner", default="", help="user name of the owner (default: admin)")
        parser.add_argument("--name", default="", help="name of the analysis")
        parser.add_argument(
            "--timeout",
            type=seconds,
            metavar="SECONDS",
            help=f"give up waiting after so long (exit code {TIMED_OUT})",
        )

    def handle(self, **options: Any) -> None:
        if getattr(self, "_called_from_command_line", False) and not os.environ.get("LOG_LEVEL"):
            logging.getLogger().setLevel(logging.WARNING)  # the engine's own lines are for servers
        self.teller = Teller(self.stderr if options["json"] else self.stdout)
        for file in (options["sarif"], options["markdown"]):
            if file and not Path(file).absolute().parent.is_dir():
                raise BadInput(f"The folder of {file} does not exist.")
        try:
            owner = find_owner(options["owner"])
            code = self._run(self._create(owner, options), owner, options)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"PostgreSQL cannot be reached: {str(error).strip()}") from None
        if code:
            sys.exit(code)

    def _create(self, owner: Any, options: dict[str, Any]) -> AnalysisRun:
        source = options["source"]
        try:
            return services.create_analysis(
                owner=owner,
                **_source(source, owner),
                ref=options["ref"],
                sub_path=options["sub_path"],
                options=Options(
                    include=tuple(options["include"]),
                    exclude=tuple(options["exclude"]),
                    analyzers=_names(options["analyzers"]),
                    documents=_names(options["documents"]),
                    model=options["model"],
                    max_tokens_read=options["tokens"],
                    confirm=not options["yes"],
                ),
                name=options["name"],
                budget=options["budget"],
                kind="operator",
            )
        except services.Refused as error:
            raise BadInput(str(error)) from None

    def _run(self, run: AnalysisRun, owner: Any, options: dict[str, Any]) -> int:
        """Start it and wait; the exit code."""
        self.teller.say(f"Analysis {run.pk} of {run.location}: {standby.address()}{run.get_absolute_url()}")
        if is_practice():
            self.teller.say("The practice model answers: made-up text, no language model.")
        with self.standby() as worker, told_to_end():
            try:
                services.start_analysis(run, by=owner, kind="operator")
                pulse.drain()
                code = self._wait(run, worker, options)
            except KeyboardInterrupt:
                code = self._leave(run, owner, worker, "Interrupted", INTERRUPTED)
            except GaveUp as reason:
                code = self._leave(run, owner, worker, reason.why, reason.code)
            except (services.Refused, StartError) as error:
                code = self._leave(run, owner, worker, str(error).rstrip("."), 1)
        return self._conclude(AnalysisRun.objects.get(pk=run.pk), code, options)

    def _wait(self, run: AnalysisRun, worker: Any, options: dict[str, Any]) -> int:
        until = time.monotonic() + options["timeout"] if options["timeout"] else None
        view = follow.Lines(self.teller) if options["follow"] else None
        while True:
            now = with_patience(lambda: follow.look(run.pk))
            if view:
                view.show(now)
            if now.stands:
                return EXIT_CODES.get(Status(now.status), 1)
            if until and time.monotonic() > until:
                raise GaveUp(f"Not done after {options['timeout']:g} s", TIMED_OUT)
            with_patience(worker.look)
            time.sleep(LOOK_EVERY)

    def _leave(self, run: AnalysisRun, owner: Any, worker: Any, why: str, code: int) -> int:
        """We go before the run has ended: it goes on if somebody else's worker lives, else it is cancelled."""
        if worker.others():
            self.teller.say(f"{why}. Analysis {run.pk} goes on: a worker lives.")
            return code
        try:
            services.cancel_analysis(run, by=owner, kind="operator")
            pulse.drain()
        except services.Refused:
            self.teller.say(f"{why}. Analysis {run.pk} had ended already.")
        else:
            self.teller.say(
                f"{why}. Analysis {run.pk} is cancelled, since no other worker lives; findings are kept."
            )
        return code

    def _conclude(self, run: AnalysisRun, code: int, options: dict[str, Any]) -> int:
        """The last words and files, in the forms that were asked for; the exit code."""
        if options["sarif"]:
            _write(options["sarif"], json.dumps(exports.as_sarif(run), indent=2))
        if options["markdown"]:
            _write(options["markdown"], exports.as_markdown(run))
        if options["json"]:
            url = f"{standby.address()}{run.get_absolute_url()}"
            told = {"analysis": run.pk, "status": run.status, "reason": run.reason, "url": url}
            self.stdout.write(json.dumps(told | exports.as_json(run), indent=2))
        else:
            self._tell(run)
        shown = report.shown(exports.reported(run))
        if code == 0 and options["fail_on"]:
            severe = SEVERITIES[: SEVERITIES.index(options["fail_on"]) + 1]
            if any(one.finding.raw.severity in severe for one in shown):
                return FOUND
        return code

    def _tell(self, run: AnalysisRun) -> None:
        if run.status == S.COMPLETED:
            found = exports.result_of(run)
            self.teller.say(report.verdict(found))
            shown = report.shown(found.findings)
            for one in shown[:MOST_TOLD]:
                place = f"{one.finding.raw.path}:{one.finding.place.start_line}"
                self.teller.say(f"{one.finding.raw.severity:8} {place} {one.finding.raw.title}")
            if len(shown) > MOST_TOLD:
                left = len(shown) - MOST_TOLD
                self.teller.say(
                    f"and {left:,} more, none more severe; the page, --sarif, --markdown and --json hold all"
                )
            for gap in found.coverage.gaps:
                self.teller.say(f"gap      {gap}")
            return
        for line in explain(run):
            self.teller.say(line)
        estimate = estimate_of(run)
        if run.status == S.WAITING and estimate:
            low, high = ui.money(estimate.low) or "unknown", ui.money(estimate.high) or "unknown"
            self.teller.say(f"It may cost {low} to {high}. Confirm it on its page, or give --yes.")


def _source(said: str, owner: Any) -> dict[str, Any]:
    """Where the source is: an address, a folder, or an archive, which is handed over as one that is uploaded."""
    path = Path(said)
    if "://" in said:
        return {"source_kind": "git", "location": said}
    if path.is_file():
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInput(f"{said} cannot be read: {error.strerror}.") from None
        return {
            "source_kind": "upload",
            "upload": services.store_upload(owner=owner, name=path.name, data=data),
        }
    if not path.is_dir():
        raise BadInput(f"There is no folder or archive {said}.")
    return {"source_kind": "path", "location": str(path.resolve())}


def _names(words: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in words.split(",") if word.strip())


def _write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
