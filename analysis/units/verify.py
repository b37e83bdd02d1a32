"""The second look at one finding: somebody with fresh eyes tries to refute it."""

from __future__ import annotations

import re

from django.db.models import Q

from analysis import verify
from analysis.analyzers import RULES
from analysis.models import AnalysisRun, Finding, SourceFile, Unit, Verdict
from analysis.plain import Ask, CheckedFinding, FileFacts
from analysis.rows import as_json, checked_of, read_files
from analysis.units.base import Digest, Work

MOST_FILES = 40  # that define something of a name which the excerpt calls
MOST_NAMES = 12
CALL = re.compile(r"\b([A-Za-z_]\w*)\s*\(")


class VerifyWork(Work):
    paid = True
    light = True
    room = verify.MAX_TOKENS

    def ask(self, run: AnalysisRun, unit: Unit) -> Ask:
        finding = checked_of(Finding.objects.get(pk=unit.chunk["finding"]))
        files = _around(run, finding)
        texts = {path: text for path, (_facts, text) in files.items()}
        facts = {path: file for path, (file, _text) in files.items()}
        return verify.ask(
            finding,
            texts.get(finding.raw.path, finding.raw.excerpt),
            verify.callees(finding, texts, facts),
            run.marker,
            rule=RULES.get(finding.raw.rule_id),
            texts=texts,
        )

    def read(self, run: AnalysisRun, unit: Unit, text: str) -> Digest:
        judged = as_json(verify.parse(text))
        return Digest(judged, judged)

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        write(run, unit, digest.rows)


def write(run: AnalysisRun, unit: Unit, judged: dict[str, str]) -> None:
    """The verdict as a row of its own: a finding does not change."""
    Verdict.objects.get_or_create(
        finding_id=unit.chunk["finding"],
        defaults={"unit": unit, "verdict": judged["verdict"], "reason": judged["reason"]},
    )


def _around(run: AnalysisRun, finding: CheckedFinding) -> dict[str, tuple[FileFacts, str]]:
    """The file, those of the evidence, and those that define what the excerpt calls."""
    paths = {finding.raw.path, *(place.path for place in finding.raw.evidence)}
    called = Q()
    for name in list(dict.fromkeys(CALL.findall(finding.raw.excerpt)))[:MOST_NAMES]:
        called |= Q(symbols__contains=[[name]])  # a symbol is a list that begins with its name
    if called:
        rows = SourceFile.objects.filter(called, run=run, read=True).order_by("path")
        paths |= set(rows.values_list("path", flat=True)[:MOST_FILES])
    return read_files(run, paths)
