"""Where a quote stands in a file. The model quotes, the program locates; a line number from the model is a hint.

A quote and a file are compared as sequences of lines without blank ones, with each run of whitespace as one space. So
a quote survives another indentation. What is not there, and not nearly there, is rejected.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise

from analysis.plain import Located, Place, RawFinding

NEARLY = 0.85  # ratio of difflib from which a window counts as the quote
MOST_WINDOWS = 60  # that are compared character by character
NEAR = 12  # lines around the hint that are always tried
LONGEST_QUOTE = 2_000  # characters; beyond, only an exact match counts
MOST_WORK = (
    2_000_000  # pairs of equal characters in all comparisons for one quote: that is what difflib goes through
)
PART_OF_LINE = 12  # characters; a shorter piece of a line may stand anywhere
COMMON_WORD = 400  # lines; a word in more of them says nothing about the place

_NUMBERED = re.compile(r"^\s*(\d+)\| ?")
_WORD = re.compile(r"\w{2,}")
_COMMENT = re.compile(
    r"""//|/\*|\*/|\*(?:\s|$)|<!--|--(?:\s|$)|;;|%%|\#(?!\s*(?:include|define|undef|if|ifn?def|else|elif|endif|pragma|\[|!))|\"\"\"|'''"""
)


def normalised(line: str) -> str:
    return " ".join(line.split())


def lines_of(excerpt: str) -> list[str]:
    """The lines of a quote as they are compared: no blank ones, no numbers in front, single spaces."""
    lines = [line for line in excerpt.split("\n") if line.strip()]  # as the lines of files are counted
    if lines and all(_NUMBERED.match(line) for line in lines):
        lines = [_NUMBERED.sub("", line) for line in lines]
    return [line for line in map(normalised, lines) if line]


def is_trivial(lines: Sequence[str]) -> bool:
    """Whether a quote says nothing about a place: braces and comments only."""
    return all(not re.search(r"\w", line) or _COMMENT.match(line) for line in lines)


def _borders(quote: Sequence[str]) -> list[int]:
    """For each number of lines that fit: how many of them fit still when the quote begins later."""
    back, same = [0, 0], 0
    for line in quote[1:]:
        while same and quote[same] != line:
            same = back[same]
        same += quote[same] == line
        back.append(same)
    return back


class FileIndex:
    """A text prepared for looking up quotes. Cheap to make, so one for each file and unit will do."""

    def __init__(self, text: str) -> None:
        self.raw = text.split("\n")
        self.lines: list[str] = []
        self.numbers: list[int] = []
        for number, line in enumerate(self.raw, 1):
            plain = normalised(line)
            if plain:
                self.lines.append(plain)
                self.numbers.append(number)

    @cached_property
    def _starts(self) -> dict[str, list[int]]:
        starts: dict[str, list[int]] = {}
        for place, line in enumerate(self.lines):
            starts.setdefault(line, []).append(place)
        return starts

    @cached_property
    def _words(self) -> dict[str, list[int]]:
        words: dict[str, list[int]] = {}
        for place, line in enumerate(self.lines):
            for word in set(_WORD.findall(line)):
                words.setdefault(word, []).append(place)
        return words

    def excerpt(self, start: int, end: int) -> str:
        """The lines of the file as they stand there."""
        return "\n".join(self.raw[start - 1 : end])

    def exact(self, quote: Sequence[str]) -> list[int]:
        """Every place (index into `lines`) where the quote stands, by Knuth, Morris and Pratt: each line once."""
        starts = self._starts.get(quote[0], [])
        if len(quote) == 1 or not starts:
            return starts
        back, places, same = _borders(quote), [], 0
        for at in range(starts[0], len(self.lines)):
            while same and (same == len(quote) or quote[same] != self.lines[at]):
                same = back[same]
            same += quote[same] == self.lines[at]
            if same == len(quote):
                places.append(at + 1 - same)
        return places

    def contains(self, excerpt: str) -> bool:
        quote = lines_of(excerpt)
        return bool(quote) and bool(self.exact(quote))

    def near(self, places: Sequence[int], hint: int) -> int:
        """The place whose line is nearest to the hint; the first one without a hint."""
        return min(places, key=lambda place: abs(self.numbers[place] - hint)) if hint else places[0]

    def located(self, place: int, size: int, match: str, score: float = 1.0) -> Located:
        last = min(place + size, len(self.lines)) - 1
        exact = match == "exact"
        return Located(
            self.numbers[place],
            self.numbers[last],
            "exact" if exact else "approximate",
            score=round(score, 3),
        )

    def candidates(self, quote: Sequence[str], hint: int) -> list[int]:
        """Places that share rare words with the quote at the right distance, and those near the hint."""
        votes: Counter[int] = Counter()
        for offset, line in enumerate(quote):
            for word in set(_WORD.findall(line)):
                found = self._words.get(word, ())
                if len(found) <= COMMON_WORD:
                    votes.update(place - offset for place in found)
        chosen = [place for place, _count in votes.most_common(MOST_WINDOWS)]
        if hint:
            middle = bisect_left(self.numbers, hint)
            chosen += range(middle - NEAR, middle + NEAR)
        return [place for place in dict.fromkeys(chosen) if 0 <= place < len(self.lines)]


def locate(index: FileIndex, excerpt: str, hint: int = 0) -> Located:
    """Find `excerpt`: exactly, else as part of one line, else the most similar window; else `not_found`."""
    quote = lines_of(excerpt)
    if not quote or not index.lines:
        return Located(rejected="not_found", score=0.0)
    if is_trivial(quote):
        return Located(rejected="trivial", score=0.0)
    places = index.exact(quote)
    if places:
        return index.located(index.near(places, hint), len(quote), "exact")
    return _part(index, quote, hint) or _similar(index, quote, hint)


def _part(index: FileIndex, quote: Sequence[str], hint: int) -> Located | None:
    """A quote of one line that leaves out the beginning or the end of it."""
    if len(quote) != 1 or len(quote[0]) < PART_OF_LINE:
        return None
    piece = quote[0]
    places = [place for place, line in enumerate(index.lines) if piece in line]
    if not places:
        return None
    place = index.near(places, hint)
    return index.located(place, 1, "approximate", max(NEARLY, len(piece) / len(index.lines[place])))


def _similar(index: FileIndex, quote: Sequence[str], hint: int) -> Located:
    """The best window of about as many lines, if it is similar enough."""
    wanted, size = "\n".join(quote), len(quote)
    best, at, width, work = 0.0, 0, size, 0
    if len(wanted) <= LONGEST_QUOTE:
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(wanted)
        letters, seen = Counter(wanted), set()
        for place in index.candidates(quote, hint):
            for lines in {size, max(1, size - 1), size + 1}:
                window = "\n".join(index.lines[place : place + lines])
                if len(window) > 2 * len(wanted) or window in seen:
                    continue
                seen.add(window)
                matcher.set_seq1(window)
                least = max(best, NEARLY)
                if matcher.real_quick_ratio() < least or matcher.quick_ratio() < least:
                    continue
                pairs = sum(times * letters[letter] for letter, times in Counter(window).items())
                if work + pairs > MOST_WORK:
                    continue
                work += pairs
                ratio = matcher.ratio()
                if ratio > best:
                    best, at, width = ratio, place, lines
    if best < NEARLY:
        return Located(rejected="not_found", score=round(best, 3))
    return index.located(at, width, "approximate", best)


def check(
    raw: RawFinding,
    *,
    rules: Collection[str],
    manifest: Collection[str],
    chunk: Collection[str],
    index_of: Callable[[str], FileIndex | None],
) -> Located:
    """Judge a claim: its rule is known, its file was read, stands in this chunk, and holds the quote.

    A file outside the chunk passes only where a piece of evidence inside it was found: the claim spans both.
    `index_of` gives the prepared text of a path in the manifest, None where there is none.
    """
    if raw.rule_id not in rules:
        return Located(rejected="unknown_rule", score=0.0)
    if raw.path not in manifest:
        return Located(rejected="not_in_manifest", score=0.0)
    if raw.path not in chunk and not any(
        place.path in chunk and find(place, index_of) for place in raw.evidence
    ):
        return Located(rejected="not_in_chunk", score=0.0)
    return find(Place(raw.path, raw.excerpt, raw.start_line), index_of)


def find(place: Place, index_of: Callable[[str], FileIndex | None]) -> Located:
    """Locate a quote, of a finding or of its evidence."""
    index = index_of(place.path)
    if index is None:
        return Located(rejected="not_in_manifest", score=0.0)
    hint = place.start_line
    numbers = [int(found[1]) for found in map(_NUMBERED.match, place.excerpt.split("\n")) if found]
    if numbers and all(b == a + 1 for a, b in pairwise(numbers)):
        hint = numbers[0]  # copied together with the numbers in front
    return locate(index, place.excerpt, hint)


def claimed(raw: RawFinding) -> Located:
    """The place of a finding that a program of ours has made: it has seen the lines itself."""
    start = max(raw.start_line, 1)
    return Located(start, start + max(raw.excerpt.count("\n"), 0), "exact")
