"""The second look at one finding: somebody with fresh eyes tries to refute it."""

from __future__ import annotations

from analysis import verify
from analysis.analyzers import RULES
from analysis.models import AnalysisRun, Finding, SourceFile, Unit, Verdict
from analysis.plain import Ask, CheckedFinding, FileFacts
from analysis.rows import as_json, checked_of, read_files
from analysis.units.base import Digest, Work

MOST_FILES = 40  # of the repository that are searched for what the excerpt calls


class VerifyWork(Work):
    paid = True
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
        return Digest(as_json(verify.parse(text)))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        write(run, unit, digest.result)


def write(run: AnalysisRun, unit: Unit, judged: dict[str, str]) -> None:
    """The verdict as a row of its own: a finding does not change."""
    Verdict.objects.get_or_create(
        finding_id=unit.chunk["finding"],
        defaults={"unit": unit, "verdict": judged["verdict"], "reason": judged["reason"]},
    )


def _around(run: AnalysisRun, finding: CheckedFinding) -> dict[str, tuple[FileFacts, str]]:
    """The file, those of the evidence, and those that define what the excerpt calls."""
    paths = {finding.raw.path, *(place.path for place in finding.raw.evidence)}
    called = set(verify.called(finding))
    if called:
        # A list of lists: the name of a symbol comes first.
        rows = SourceFile.objects.filter(run=run, read=True).only("path", "symbols")
        for row in rows.iterator(500):
            if any(symbol[0] in called for symbol in row.symbols) and len(paths) < MOST_FILES:
                paths.add(row.path)
    return read_files(run, paths)


