"""`manage.py analysis_quality`: precision and recall of the analyzers over files with planted faults."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from analysis import corpus
from analysis.analyzers import ANALYZERS, STATIC, Analyzer
from analysis.corpus import Outcome, Question, Score, Scores
from analysis.quality import by_analyzer_and_model
from nyxcore import llm

HEAD = ("rule", "reported", "right", "planted", "caught", "precision", "recall")


class Command(BaseCommand):
    help = (
        "Runs the analyzers over a folder of files with planted faults and compares the findings with its answer key. "
        "With --transcript it replays recorded answers and needs no key and no network."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--corpus", default="tests/corpus", metavar="DIR", help="files and key.yaml")
        parser.add_argument("--transcript", default="", metavar="FILE", help="replay the answers in it")
        parser.add_argument("--record", default="", metavar="FILE", help="write the answers into it")
        parser.add_argument("--model", default="", help="the model to ask (default: as set up)")
        parser.add_argument(
            "--analyzers", default="", metavar="NAMES", help="only these, with commas between"
        )
        parser.add_argument("--parallel", type=int, default=4, help="questions at once (default: 4)")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, **options: Any) -> None:
        analyzers = _chosen(options["analyzers"])
        folder = Path(settings.BASE_DIR, options["corpus"])
        if not (folder / corpus.KEY).exists():
            raise CommandError(f"There is no {corpus.KEY} in {folder}. Name a folder with --corpus.")
        files = corpus.load(folder)
        outcome, source = self._answers(files, analyzers, options)
        if STATIC in analyzers:
            scanned = corpus.scan(files)
            outcome.findings += scanned.findings
            outcome.claims += scanned.claims
            outcome.gaps += scanned.gaps
        scores = corpus.score(files, outcome.findings, {rule for one in analyzers for rule in one.rule_ids})
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(scores, outcome, source), ensure_ascii=False))
        else:
            self._print(scores, outcome, source)

    def _answers(
        self, files: corpus.Corpus, analyzers: Sequence[Analyzer], options: dict[str, Any]
    ) -> tuple[Outcome, str]:
        """What the model said, live or recorded, judged; and in words who said it."""
        made = corpus.questions(files, analyzers)
        if not made:
            return Outcome(), "no model"
        if options["transcript"]:
            try:
                recorded = corpus.read_transcript(Path(options["transcript"]))
            except (OSError, ValueError, KeyError) as error:
                raise CommandError(f"The transcript cannot be read: {error}") from error
            asked, gaps = corpus.replay(made, recorded)
            model, source = recorded.model, f"recorded: {recorded.model}. {recorded.note}"
        else:
            asked, gaps = _ask_all(made, options["model"], options["parallel"])
            model = options["model"] or llm.provider_name()
            source = f"asked now: {model}"
        if options["record"]:
            note = "Recorded by analysis_quality."
            lines = corpus.transcript_lines(model, note, asked)
            Path(options["record"]).write_text("\n".join(lines) + "\n", encoding="utf-8")
        outcome = corpus.judge(files, asked, model)
        return Outcome(outcome.findings, outcome.claims, [*gaps, *outcome.gaps]), source

    def _print(self, scores: Scores, outcome: Outcome, source: str) -> None:
        rows = [HEAD, *(_row(one) for one in (*scores.rules, scores.total))]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        self.stdout.write(f"Answers: {source}\n\n")
        for row in rows:
            self.stdout.write(
                "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
        self.stdout.write(f"\nFindings in files without a known fault: {scores.in_clean_files}")
        for quality in by_analyzer_and_model(outcome.claims):
            reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(quality.reasons.items()))
            self.stdout.write(
                f"{quality.name}: {quality.claims} claims, {quality.rejected} rejected ({reasons or 'none'})"
            )
        for fault in scores.missed:
            self.stdout.write(
                f"missed: {fault.path}:{fault.start}-{fault.end} {fault.rules[0]}: {fault.note}"
            )
        for one in scores.wrong:
            self.stdout.write(
                f"wrong: {one.raw.path}:{one.place.start_line} {one.raw.rule_id}: {one.raw.title}"
            )
        for gap in outcome.gaps:
            self.stdout.write(f"gap: {gap}")


def _chosen(names: str) -> list[Analyzer]:
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(ANALYZERS)
    unknown = [name for name in wanted if name not in ANALYZERS]
    if unknown:
        raise CommandError(f"There is no analyzer {', '.join(unknown)}. There are: {', '.join(ANALYZERS)}.")
    return [ANALYZERS[name] for name in wanted]


def _ask_all(
    made: Sequence[Question], model: str, parallel: int
) -> tuple[list[tuple[Question, str]], list[str]]:
    """Ask every question; those without a whole answer become gaps."""
    with ThreadPoolExecutor(max(parallel, 1)) as pool:
        answers = list(pool.map(lambda one: _ask(one, model), made))
    asked = [(one, text) for one, (text, _gap) in zip(made, answers, strict=True) if text]
    return asked, [gap for _text, gap in answers if gap]


def _ask(question: Question, model: str) -> tuple[str, str]:
    """(answer, "") or ("", what went wrong)."""
    ask = question.ask
    request = llm.Request(
        model=model,
        system=ask.system,
        messages=(llm.Message("user", f"{ask.shared}\n\n{ask.prompt}".strip()),),
        max_tokens=ask.max_tokens,
        schema=ask.schema,
        effort=ask.effort or None,
    )
    where = f"{question.analyzer.name} over {question.paths[0]} and its folder"
    try:
        completion = llm.complete(request)
        if llm.classify(completion)[0] != "completed":
            completion = llm.complete(replace(request, max_tokens=2 * request.max_tokens))
    except llm.LLMError as error:
        return "", f"{where}: {error.message}"
    status, reason = llm.classify(completion)
    return (completion.text, "") if status == "completed" else ("", f"{where}: the answer was cut ({reason})")


def _row(one: Score) -> tuple[str, ...]:
    counts = (str(one.reported), str(one.right), str(one.planted), str(one.caught))
    return (one.name, *counts, _share(one.precision), _share(one.recall))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _as_json(scores: Scores, outcome: Outcome, source: str) -> dict[str, Any]:
    def told(rows: Iterable[Score]) -> list[dict[str, Any]]:
        return [{**asdict(one), "precision": one.precision, "recall": one.recall} for one in rows]

    return {
        "answers": source,
        "total": told([scores.total])[0],
        "rules": told(scores.rules),
        "in_clean_files": scores.in_clean_files,
        "rejected": sum(bool(claim.rejected) for claim in outcome.claims),
        "claims": len(outcome.claims),
        "missed": [asdict(fault) for fault in scores.missed],
        "gaps": outcome.gaps,
    }
