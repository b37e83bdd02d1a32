"""One fault, one finding: the same claim from two analyzers, two chunks or two lines is put together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from analysis.analyzers.base import SEVERITIES
from analysis.plain import CheckedFinding

LONGEST_MESSAGE = 4_000  # characters, after which further texts are left out


def merge(
    findings: Iterable[CheckedFinding], kin: Callable[[str], str] = lambda rule_id: rule_id
) -> list[CheckedFinding]:
    """Put together what is one fault; the more severe claim stays and takes the other's text and places.

    1. exact: the same fingerprint; 2. near: the same file, lines that overlap, rules of one family (`kin`);
    3. across chunks: the same rule in the same symbol of a file, as one finding with several places.
    """
    ordered = sorted(findings, key=_weight)
    ordered = _gather(ordered, lambda one: (one.fingerprint,), lambda a, b: True)
    ordered = _gather(ordered, lambda one: (one.raw.path, kin(one.raw.rule_id)), overlaps)
    return _gather(
        ordered,
        lambda one: (one.raw.path, one.raw.rule_id, one.symbol),
        lambda a, b: bool(a.symbol),
    )


def _weight(one: CheckedFinding) -> tuple[int, float, str, int, str]:
    return (
        SEVERITIES.index(one.raw.severity),
        -one.raw.confidence,
        one.raw.path,
        one.place.start_line,
        one.fingerprint,
    )


def overlaps(one: CheckedFinding, other: CheckedFinding) -> bool:
    """Whether any place of one shares a line with any place of the other."""
    return any(
        path == path_b and start <= end_b and start_b <= end
        for path, start, end in places(one)
        for path_b, start_b, end_b in places(other)
    )


def places(one: CheckedFinding) -> tuple[tuple[str, int, int], ...]:
    """All places of a finding, its own first."""
    return ((one.raw.path, one.place.start_line, one.place.end_line), *one.locations)


def _gather(
    ordered: Sequence[CheckedFinding],
    key: Callable[[CheckedFinding], tuple[str, ...]],
    alike: Callable[[CheckedFinding, CheckedFinding], bool],
) -> list[CheckedFinding]:
    """Join each finding to the first before it that has the same key and is alike."""
    kept: list[CheckedFinding] = []
    by_key: dict[tuple[str, ...], list[int]] = {}
    for one in ordered:
        group = by_key.setdefault(key(one), [])
        for at in group:
            if alike(kept[at], one):
                kept[at] = joined(kept[at], one)
                break
        else:
            group.append(len(kept))
            kept.append(one)
    return kept


def joined(kept: CheckedFinding, other: CheckedFinding) -> CheckedFinding:
    """`kept` with the text and the places of `other` that it does not have yet."""
    raw, told = kept.raw, other.raw.message.strip()
    message = raw.message
    if told and told not in message and len(message) + len(told) <= LONGEST_MESSAGE:
        message = f"{message}\n\n{_origin(kept, other)}{told}"
    evidence = tuple(dict.fromkeys((*raw.evidence, *other.raw.evidence)))
    further = [place for place in places(other) if not _covered(place, places(kept))]
    return replace(
        kept,
        raw=replace(
            raw, message=message, evidence=evidence, confidence=max(raw.confidence, other.raw.confidence)
        ),
        locations=(*kept.locations, *further),
    )


def _origin(kept: CheckedFinding, other: CheckedFinding) -> str:
    return f"Also reported as {other.raw.rule_id}: " if other.raw.rule_id != kept.raw.rule_id else ""


def _covered(place: tuple[str, int, int], by: Iterable[tuple[str, int, int]]) -> bool:
    path, start, end = place
    return any(path == other and start <= last and first <= end for other, first, last in by)
