"""`manage.py analyze PATH_OR_URL`: read a source, ask, wait, and tell what was found."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from analysis import exports, follow, report, services
from analysis.analyzers import MODEL_ANALYZERS
from analysis.analyzers.base import SEVERITIES
from analysis.documents import DOCUMENTS
from analysis.explain import explain
from analysis.models import AnalysisRun
from analysis.plain import Options
from analysis.rows import estimate_of
from nyxcore import ui
from nyxcore.runcommand import RunCommand, address, check_folder, write
from nyxcore.shell import BadInput
from nyxcore.states import Status

S = Status
MOST_TOLD = 100  # findings that are told one by one in a terminal
FOUND = 4  # findings as severe as --fail-on says


class Command(RunCommand):
    help = (
        "Analyse a git address, an archive, or a folder below NYXCORE_ANALYSIS_ROOT. Exit code: 0 completed, "
        "1 failed or cancelled, 2 bad input, 3 waits for a decision, 4 completed with findings as severe as "
        "--fail-on says."
    )
    noun = "analysis"
    kept = "findings are kept"
    ends = {S.COMPLETED: 0, S.PAUSED: 3, S.WAITING: 3}

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
        parser.add_argument(
            "--yes", action="store_true", help="do not wait for somebody to confirm the estimate"
        )
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
        super().add_arguments(parser)

    def check_given(self, options: dict[str, Any]) -> None:
        for file in (options["sarif"], options["markdown"]):
            check_folder(file)

    def create(self, owner: Any, options: dict[str, Any]) -> AnalysisRun:
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

    def start(self, run: AnalysisRun, owner: Any) -> None:
        services.start_analysis(run, by=owner, kind="operator")

    def cancel(self, run: AnalysisRun, owner: Any) -> None:
        services.cancel_analysis(run, by=owner, kind="operator")

    def look(self, run: AnalysisRun) -> follow.Now:
        return follow.look(run.pk)

    def view(self) -> follow.Lines:
        return follow.Lines(self.teller)

    def about(self, run: AnalysisRun) -> str:
        return f"of {run.location}"

    def conclude(self, run: AnalysisRun, code: int, options: dict[str, Any]) -> int:
        run.refresh_from_db()
        if options["sarif"]:
            write(options["sarif"], json.dumps(exports.as_sarif(run), indent=2))
        if options["markdown"]:
            write(options["markdown"], exports.as_markdown(run))
        if options["json"]:
            told = {"analysis": run.pk, "status": run.status, "reason": run.reason, "url": address(run)}
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
