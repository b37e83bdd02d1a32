"""All analyzers by name, in the order in which people see them. A new one is a file and a line here."""

from __future__ import annotations

from analysis.analyzers import (
    architecture,
    concurrency,
    correctness,
    errors,
    performance,
    security,
    static,
    testing,
)
from analysis.analyzers.base import Analyzer, ModelAnalyzer, Rule
from analysis.analyzers.static import StaticAnalyzer

__all__ = [
    "ANALYZERS",
    "MODEL_ANALYZERS",
    "RULES",
    "STATIC",
    "Analyzer",
    "ModelAnalyzer",
    "Rule",
    "StaticAnalyzer",
]

STATIC: StaticAnalyzer = static.ANALYZER
MODEL_ANALYZERS: dict[str, ModelAnalyzer] = {
    module.ANALYZER.name: module.ANALYZER
    for module in (correctness, security, errors, performance, concurrency, architecture, testing)
}
ANALYZERS: dict[str, Analyzer] = {STATIC.name: STATIC, **MODEL_ANALYZERS}
RULES: dict[str, Rule] = {rule.id: rule for analyzer in ANALYZERS.values() for rule in analyzer.rules}
