"""Findings as SARIF 2.1.0, the format that code hosts and editors read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from analysis.analyzers.base import LEVELS, Analyzer, Rule
from analysis.plain import CheckedFinding, FileFacts

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "nyxcore/v1"
REFUTED = "The second look refuted it."
MOST_RESULTS = 25_000  # code hosts refuse more in one run
# Hosts sort security findings by this number; the words are theirs too.
SCORES = {"critical": "9.5", "high": "8.0", "medium": "5.5", "low": "2.0"}


@dataclass(frozen=True)
class Source:
    """Where the files come from. An address with a name or password in it must not be passed in here."""

    uri: str = ""
    commit: str = ""
    branch: str = ""


@dataclass(frozen=True)
class Reported:
    """A finding with what became of it."""

    finding: CheckedFinding
    verdict: str = ""  # confirmed, unsure, refuted
    state: str = ""  # of track.State
    dismissed: str = ""  # the reason, where a person has dismissed it


def to_sarif(
    findings: Sequence[Reported],
    *,
    analyzers: Iterable[Analyzer],
    source: Source,
    unread: Iterable[FileFacts] = (),
    gaps: Sequence[str] = (),
    version: str = "",
) -> dict[str, Any]:
    """One SARIF log with one run. `gaps` are sentences on what could not be examined, `unread` the skipped files."""
    rules = {rule.id: rule for analyzer in analyzers for rule in analyzer.rules}
    places = {rule_id: place for place, rule_id in enumerate(rules)}
    driver: dict[str, Any] = {"name": "nyxcore", "rules": [_rule(rule) for rule in rules.values()]}
    if version:
        driver["semanticVersion"] = version
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(unread, [*gaps, *_left_out(len(findings))])],
        "results": [_result(one, places) for one in findings[:MOST_RESULTS]],
    }
    if source.uri:
        origin = {"repositoryUri": source.uri, "revisionId": source.commit, "branch": source.branch}
        run["versionControlProvenance"] = [{key: value for key, value in origin.items() if value}]
    if source.commit:
        run["automationDetails"] = {"id": f"nyxcore/{source.commit}"}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _left_out(count: int) -> list[str]:
    if count <= MOST_RESULTS:
        return []
    return [f"{count - MOST_RESULTS:,} findings are left out: hosts take {MOST_RESULTS:,} in one run."]


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.replace("/", "-").split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.text},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": [rule.id.split("/")[0]], "problem.severity": LEVELS[rule.severity]}
        | ({"security-severity": SCORES[rule.severity]} if rule.id.startswith("security/") else {}),
    }


def _result(one: Reported, places: Mapping[str, int]) -> dict[str, Any]:
    finding, raw = one.finding, one.finding.raw
    told = raw.message + (f"\n\nSuggestion: {raw.suggestion}" if raw.suggestion else "")
    properties = {
        "severity": raw.severity,
        "analyzer": finding.analyzer,
        "match": finding.place.match,
        "verdict": one.verdict,
        "state": one.state,
    }
    result: dict[str, Any] = {
        "ruleId": raw.rule_id,
        "level": raw.level,
        "message": {"text": f"{raw.title}\n\n{told}".strip()},
        "locations": [
            _location(raw.path, finding.place.start_line, finding.place.end_line, raw.excerpt, finding.symbol)
        ],
        "partialFingerprints": {FINGERPRINT: finding.fingerprint},
        "rank": round(raw.confidence * 100, 1),
        "properties": {key: value for key, value in properties.items() if value},
    }
    if raw.rule_id in places:
        result["ruleIndex"] = places[raw.rule_id]
    further = [_location(path, start, end) for path, start, end in finding.locations]
    further += [
        _location(place.path, place.start_line, place.start_line, place.excerpt) for place in raw.evidence
    ]
    if further:
        result["relatedLocations"] = further
    why = one.dismissed or (REFUTED if one.verdict == "refuted" else "")
    if why:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": why}]
    return result


def _location(path: str, start: int, end: int, excerpt: str = "", symbol: str = "") -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri(path)}}
    if start > 0:
        physical["region"] = {"startLine": start, "endLine": max(start, end)}
        if excerpt:
            physical["region"]["snippet"] = {"text": excerpt}
    location: dict[str, Any] = {"physicalLocation": physical}
    if symbol:
        location["logicalLocations"] = [{"fullyQualifiedName": symbol}]
    return location


def uri(path: str) -> str:
    """A path of the repository as a relative address: percent-encoded, and never taken for one with a scheme."""
    encoded = quote(path.encode("utf-8", "surrogateescape"), safe="/~")
    return encoded if "/" in encoded or ":" not in path else f"./{encoded}"


def _invocation(unread: Iterable[FileFacts], gaps: Sequence[str]) -> dict[str, Any]:
    """How the run went; what was not read is told here, so that silence in the results is not taken for health."""
    notes: list[dict[str, Any]] = [{"level": "warning", "message": {"text": gap}} for gap in gaps]
    notes += [
        {
            "level": "note",
            "message": {"text": f"Not read: {file.reason}{f' ({file.detail})' if file.detail else ''}."},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": uri(file.path)}}}],
        }
        for file in unread
    ]
    invocation: dict[str, Any] = {"executionSuccessful": not gaps}
    if notes:
        invocation["toolExecutionNotifications"] = notes
    return invocation
