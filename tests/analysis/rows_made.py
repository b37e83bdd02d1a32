"""Runs of any size made as rows, for pages and their measures: thousands of files, hundreds of findings."""

from __future__ import annotations

from typing import Any

from analysis import services
from analysis.analyzers import MODEL_ANALYZERS
from analysis.models import AnalysisRun, Finding, FindingChange, SourceFile, TrackedFinding, Unit, Verdict
from analysis.plain import Options
from nyxcore.states import Status, transition

CODE = """\
def total(values):
    found = 0
    for at in range(len(values) + 1):
        found += values[at]
    return found
"""
SEVERITIES = ("high", "medium", "low", "medium", "critical")
VERDICTS = ("confirmed", "confirmed", "unsure", "refuted")


def make_run(owner: Any, files: int = 0, findings: int = 0, name: str = "shop") -> AnalysisRun:
    """A run of that many files and findings, analysing."""
    run = services.create_analysis(
        owner=owner,
        source_kind="git",
        location=f"https://example.org/{name}.git",
        name=name,
        options=Options(),
    )
    transition(run, Status.PENDING, Status.SCANNING)
    transition(run, Status.SCANNING, Status.ANALYZING)
    add_files(run, files)
    if findings:
        add_findings(run, findings)
    return run


def add_files(run: AnalysisRun, count: int) -> None:
    """Files in folders of 25, every tenth of them skipped."""
    SourceFile.objects.bulk_create(
        SourceFile(
            run=run, path=f"src/part{n // 250}/pack{n // 25}/module_{n}.py", blob=f"{n:040x}", size=2_000,
            language="python", lines=60, tokens=700, read=n % 10 != 9,
            reason="vendored" if n % 10 == 9 else "", detail="vendor/" if n % 10 == 9 else "",
        )
        for n in range(count)
    )  # fmt: skip
    skipped = sum(n % 10 == 9 for n in range(count))
    run.coverage = {
        "files": count, "read": count - skipped, "tokens": 700 * (count - skipped), "bytes": 2_000 * count,
        "skipped": {"vendored": skipped} if skipped else {}, "languages": {"python": 700 * (count - skipped)},
    }  # fmt: skip
    run.save(update_fields=["coverage"])


def add_findings(run: AnalysisRun, count: int) -> list[Finding]:
    """Findings of all analyzers with verdicts, tracked, as after a merge."""
    unit = Unit.objects.create(run=run, kind="chunk", key="made", title="src/part0", analyzer="correctness")
    rules = [(one.name, rule.id) for one in MODEL_ANALYZERS.values() for rule in one.rules]
    tracked = TrackedFinding.objects.bulk_create(
        TrackedFinding(
            owner_id=run.owner_id, source_key=run.source_key, fingerprint=f"{n:064x}", path=f"src/module_{n // 3}.py",
            rule_id=rules[n % len(rules)][1], analyzer=rules[n % len(rules)][0],
            title=f"The last value is read twice ({n})",
            severity=SEVERITIES[n % 5], last_seen=run, first_seen=run,
        )
        for n in range(count)
    )  # fmt: skip
    found = Finding.objects.bulk_create(
        Finding(
            run=run, unit=unit, analyzer=one.analyzer, rule_id=one.rule_id, title=one.title, severity=one.severity,
            message="The loop runs **one step too far**: `range(len(values) + 1)` reads past the end.", level="warning",
            path=one.path, start_line=13, end_line=13, match="exact" if n % 7 else "approximate", context=CODE,
            context_line=11, excerpt="    for at in range(len(values) + 1):", fingerprint=one.fingerprint,
            language="python", tracked=one, suggestion="Go over the values themselves.", confidence=0.8,
        )
        for n, one in enumerate(tracked)
    )  # fmt: skip
    Verdict.objects.bulk_create(
        Verdict(
            finding=one, unit=unit, verdict=VERDICTS[n % 4], reason="The caller passes lists of any length."
        )
        for n, one in enumerate(found)
    )
    states = ("new", "unchanged", "moved", "reopened")
    FindingChange.objects.bulk_create(
        FindingChange(run=run, tracked=tracked[n], finding=one, state=states[n % 4])
        for n, one in enumerate(found)
    )
    return found
