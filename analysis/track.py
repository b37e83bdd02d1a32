"""The findings of a run against those known from earlier ones: what is new, what moved, what is gone.

A pure function. Known and found are paired by a ladder whose steps grow weaker; each finding is paired once:

1. the same fingerprint;
2. the same rule and excerpt in a file that was renamed;
3. the same rule and excerpt in the same file (its symbol was renamed or it moved to another);
4. the same rule and file, one excerpt a part of the other (the model quoted more or less);
5. the same rule and symbol with an excerpt that is still much like it: the code was changed and the fault is there.

What stays unpaired is new, or missing. A missing one is gone only if it was looked for: its analyzer ran over its
file, or the file is no more. Models vary, so one miss of unchanged code proves nothing; the second in a row does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from analysis.locate import lines_of
from analysis.plain import CheckedFinding, FileFacts

State = Literal["new", "unchanged", "moved", "changed", "gone", "reopened", "not_checked", "missed"]

LIKE = 0.6  # ratio of difflib from which a changed excerpt in the same symbol is the same finding
LIKE_WITHOUT_SYMBOL = 0.75
MISSES = 2  # runs in a row after which unchanged code without the finding counts as gone


@dataclass(frozen=True)
class Known:
    """A tracked finding as the runs before have left it. `key` is the caller's own name for it."""

    key: int
    fingerprint: str
    rule_id: str
    analyzer: str
    path: str
    symbol: str = ""
    excerpt: str = ""
    start_line: int = 0  # 0: not known
    gone: bool = False
    dismissed: bool = False
    misses: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of a known finding, or that a found one is new (`known` is None)."""

    state: State
    known: Known | None
    found: CheckedFinding | None
    misses: int = 0

    @property
    def dismissed(self) -> bool:
        """A dismissal stays with the finding wherever it goes."""
        return self.known is not None and self.known.dismissed


def track(
    known: Sequence[Known],
    found: Sequence[CheckedFinding],
    *,
    manifest: Mapping[str, FileFacts],
    checked: Collection[tuple[str, str]],
    ran: Collection[str],
    renames: Mapping[str, str] | None = None,
    contains: Callable[[str, str], bool],
) -> list[Outcome]:
    """Pair `known` with `found` and say what became of each.

    `checked` holds (analyzer, path) of everything that was really looked at, `ran` the analyzers that ran at all,
    `renames` old paths to new ones, `contains(path, excerpt)` whether the code still stands in the file.
    """
    moved = renames or {}
    pairs = pair(known, found, moved, manifest, contains)
    by_known = {one.key: match for one, match in pairs}
    taken = {id(match) for _one, match in pairs}
    outcomes = []
    for one in known:
        match = by_known.get(one.key)
        if match is not None:
            outcomes.append(Outcome(_seen(one, match), one, match))
        else:
            path = moved.get(one.path, one.path)
            state, misses = _missing(one, path, manifest, checked, ran, contains)
            outcomes.append(Outcome(state, one, None, misses))
    return outcomes + [Outcome("new", None, match) for match in found if id(match) not in taken]


def _seen(one: Known, match: CheckedFinding) -> State:
    if one.gone and not one.dismissed:
        return "reopened"
    if lines_of(one.excerpt) != lines_of(match.raw.excerpt) and not _within(one.excerpt, match.raw.excerpt):
        return "changed"
    same_line = one.start_line in (0, match.place.start_line)
    return "unchanged" if one.path == match.raw.path and same_line else "moved"


def _missing(
    one: Known,
    path: str,
    manifest: Mapping[str, FileFacts],
    checked: Collection[tuple[str, str]],
    ran: Collection[str],
    contains: Callable[[str, str], bool],
) -> tuple[State, int]:
    """The state of a finding that nobody reported, and how often in a row that has been so."""
    if one.gone:
        return "gone", one.misses
    if path not in manifest:
        return ("gone", one.misses + 1) if one.analyzer in ran else ("not_checked", one.misses)
    if (one.analyzer, path) not in checked:
        return "not_checked", one.misses
    misses = one.misses + 1
    changed = bool(one.excerpt.strip()) and not contains(path, one.excerpt)
    return ("gone" if changed or misses >= MISSES else "missed"), misses


# --- the ladder -----------------------------------------------------------------------------------------------

Pair = tuple[Known, CheckedFinding]
Key = tuple[str, ...]


def pair(
    known: Sequence[Known],
    found: Sequence[CheckedFinding],
    renames: Mapping[str, str],
    manifest: Mapping[str, FileFacts],
    contains: Callable[[str, str], bool],
) -> list[Pair]:
    """Climb down the ladder; each step pairs what the steps above have left over."""
    old, new, pairs = list(known), list(found), list[Pair]()

    def step(
        key_old: Callable[[Known], Key | None],
        key_new: Callable[[CheckedFinding], Key],
        fits: Callable[[Known, CheckedFinding], bool] = lambda one, match: True,
    ) -> None:
        made = _step(old, new, key_old, key_new, fits)
        pairs.extend(made)
        gone_old, gone_new = {one.key for one, _ in made}, {id(match) for _, match in made}
        old[:] = [one for one in old if one.key not in gone_old]
        new[:] = [match for match in new if id(match) not in gone_new]

    step(lambda one: (one.fingerprint,), lambda match: (match.fingerprint,))
    step(
        lambda one: _code(one.rule_id, renames.get(one.path), one.excerpt, one.symbol),
        lambda match: _found_code(match, match.symbol),
    )
    step(lambda one: _code(one.rule_id, renames.get(one.path), one.excerpt), _found_code)
    vanished = {one.path for one in old if one.path not in manifest and one.path not in renames}
    step(  # renamed and changed elsewhere, so that git does not say so
        lambda one: (one.rule_id, one.symbol, _plain(one.excerpt)) if one.path in vanished else None,
        lambda match: (match.raw.rule_id, match.symbol, _plain(match.raw.excerpt)),
        lambda one, match: bool(_plain(one.excerpt)),
    )
    step(lambda one: _code(one.rule_id, one.path, one.excerpt), _found_code)
    step(
        lambda one: (one.rule_id, renames.get(one.path, one.path)),
        lambda match: (match.raw.rule_id, match.raw.path),
        lambda one, match: _within(one.excerpt, match.raw.excerpt),
    )
    step(
        lambda one: (one.rule_id, renames.get(one.path, one.path), one.symbol),
        lambda match: (match.raw.rule_id, match.raw.path, match.symbol),
        # Where the old code still stands, it has not become the new: that is another place with a like fault.
        lambda one, match: not contains(match.raw.path, one.excerpt) and _like(one, match),
    )
    return pairs


def _step(
    old: Iterable[Known],
    new: Iterable[CheckedFinding],
    key_old: Callable[[Known], Key | None],
    key_new: Callable[[CheckedFinding], Key],
    fits: Callable[[Known, CheckedFinding], bool],
) -> list[Pair]:
    """Pair what has the same key and fits; of several, those whose lines are nearest come first."""
    groups: dict[Key, list[CheckedFinding]] = {}
    for match in new:
        groups.setdefault(key_new(match), []).append(match)
    options = [
        (abs(one.start_line - match.place.start_line), place, one, match)
        for place, one in enumerate(old)
        if (key := key_old(one)) is not None
        for match in groups.get(key, ())
        if fits(one, match)
    ]
    used_old, used_new, made = set[int](), set[int](), list[Pair]()
    for _distance, _place, one, match in sorted(options, key=lambda option: option[:2]):
        if one.key not in used_old and id(match) not in used_new:
            used_old.add(one.key)
            used_new.add(id(match))
            made.append((one, match))
    return made


def _plain(excerpt: str) -> str:
    return "\n".join(lines_of(excerpt))


def _code(rule_id: str, path: str | None, excerpt: str, symbol: str = "") -> Key | None:
    """Nothing to compare where there is no path, or no text (a binary has none)."""
    text = _plain(excerpt)
    return (rule_id, path, text, symbol) if path and text else None


def _found_code(match: CheckedFinding, symbol: str = "") -> Key:
    return (match.raw.rule_id, match.raw.path, _plain(match.raw.excerpt), symbol)


def _within(one: str, other: str) -> bool:
    """Whether one excerpt is a run of lines of the other."""
    a, b = sorted((lines_of(one), lines_of(other)), key=len)
    return bool(a) and any(b[at : at + len(a)] == a for at in range(len(b) - len(a) + 1))


def _like(one: Known, match: CheckedFinding) -> bool:
    least = LIKE if one.symbol else LIKE_WITHOUT_SYMBOL
    a, b = _plain(one.excerpt), _plain(match.raw.excerpt)
    if not a or not b:
        return False
    matcher = SequenceMatcher(None, a[:1_000], b[:1_000], autojunk=False)
    return matcher.quick_ratio() >= least and matcher.ratio() >= least


# --- renames --------------------------------------------------------------------------------------------------


def renamed(before: Mapping[str, str], now: Mapping[str, FileFacts]) -> dict[str, str]:
    """Old path to new path of files whose content (blob) now stands under exactly one other, new path."""
    arrived: dict[str, list[str]] = {}
    for path, file in now.items():
        if path not in before:
            arrived.setdefault(file.blob, []).append(path)
    left: dict[str, list[str]] = {}
    for path, blob in before.items():
        if path not in now:
            left.setdefault(blob, []).append(path)
    return {
        paths[0]: arrived[blob][0]
        for blob, paths in left.items()
        if blob and len(paths) == 1 and len(arrived.get(blob, ())) == 1
    }
