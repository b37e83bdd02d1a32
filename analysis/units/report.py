"""The numbers of a run, once everything else has ended. No model is asked."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.models import AnalysisRun, Finding, FindingChange, RejectedFinding, Unit
from analysis.units.base import Digest, Work
from nyxcore.llm.base import StopSignal


class ReportWork(Work):
    def do(self, run: AnalysisRun, unit: Unit, stop: StopSignal) -> Digest:
        return Digest(summary(run))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        run.summary = digest.result
        run.save(update_fields=["summary"])


def summary(run: AnalysisRun) -> dict[str, Any]:
    """How many findings of each severity and state there are, and how each rule and analyzer fared.

    `rules`: rule: {found, merged, rejected, confirmed, unsure, refuted}. The severities leave out what was refuted.
    """
    rules: dict[str, Counter[str]] = {}
    severities: Counter[str] = Counter()
    rows = Finding.objects.filter(run=run).values_list("rule_id", "severity", "kept_as", "verdict__verdict")
    for rule, severity, kept_as, verdict in rows:
        counts = rules.setdefault(rule, Counter())
        counts["found"] += 1
        if kept_as is not None:
            counts["merged"] += 1
            continue
        if verdict:
            counts[verdict] += 1
        if verdict != "refuted":
            severities[severity] += 1
    rejected = RejectedFinding.objects.filter(run=run).values_list("rule_id", "reason")
    reasons: Counter[str] = Counter()
    for rule, reason in rejected:
        rules.setdefault(rule, Counter())["rejected"] += 1
        reasons[reason] += 1
    states = Counter(FindingChange.objects.filter(run=run).values_list("state", flat=True))
    return {
        "severities": dict(severities),
        "states": dict(states),
        "rejected": dict(reasons),
        "rules": {rule: dict(counts) for rule, counts in sorted(rules.items())},
    }
