"""A quote is found where it stands, or rejected; the line that a model names is only a hint."""

from __future__ import annotations

import random
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import locate as module
from analysis.locate import MOST_WORK, FileIndex, check, claimed, is_trivial, lines_of, locate
from analysis.plain import Place, RawFinding

TEXT = Path(module.__file__).read_text(encoding="utf-8")
LINES = TEXT.split("\n")
CODE = """\
def first(rows):
    total = 0
    for row in rows:
        total += row.price

    return total


def second(rows):
    total = 0
    for row in rows:
        total += row.tax
    return total
"""


def raw(**changes):
    made = RawFinding("r/known", "T", "M", "high", "a.py", "        total += row.price", 4)
    return replace(made, **changes)


def judged(finding, text=CODE, chunk=("a.py",), manifest=("a.py", "b.py")):
    index = FileIndex(text)
    return check(finding, rules={"r/known"}, manifest=manifest, chunk=chunk, index_of=lambda path: index)


@settings(max_examples=291, deadline=None)
@given(st.integers(1, len(LINES) - 3), st.integers(1, 3), st.integers(-8, 8))
def test_random_quotes_are_found_on_a_line_that_reads_the_same(start, size, off):
    excerpt = "\n".join(LINES[start - 1 : start - 1 + size])
    found = locate(INDEX, excerpt, max(1, start + off))
    if is_trivial(lines_of(excerpt)):
        assert found.rejected in ("trivial", "not_found")
    else:
        assert found.match == "exact"
        assert lines_of(INDEX.excerpt(found.start_line, found.end_line)) == lines_of(excerpt)


INDEX = FileIndex(TEXT)


def test_nearly_all_random_quotes_are_found_on_their_own_line():
    rng, right, tried = random.Random(1), 0, 0
    while tried < 291:
        start, size = rng.randint(1, len(LINES) - 3), rng.randint(1, 3)
        excerpt = "\n".join(LINES[start - 1 : start - 1 + size])
        if not LINES[start - 1].strip() or is_trivial(lines_of(excerpt)):
            continue
        tried += 1
        right += locate(INDEX, excerpt, max(1, start + rng.randint(-8, 8))).start_line == start
    assert right >= 280


def test_a_wrong_line_is_corrected():
    assert judged(raw(start_line=11)).start_line == 4


def test_of_equal_lines_the_nearest_to_the_hint_is_taken():
    index = FileIndex(CODE)
    assert locate(index, "total = 0", 3).start_line == 2
    assert locate(index, "total = 0", 9).start_line == 10
    assert locate(index, "total = 0").start_line == 2


def test_an_invented_quote_is_rejected():
    assert judged(raw(excerpt="    os.system(request.args['command'])")).rejected == "not_found"


def test_indentation_and_blank_lines_do_not_matter():
    found = judged(raw(excerpt="total  +=  row.price\nreturn total"))
    assert (found.match, found.start_line, found.end_line) == ("exact", 4, 6)


def test_numbers_that_were_copied_along_are_taken_off_and_used():
    found = judged(raw(excerpt="   10|     total = 0\n   11|     for row in rows:", start_line=1))
    assert (found.match, found.start_line) == ("exact", 10)


def test_a_slightly_wrong_quote_is_approximate():
    found = judged(raw(excerpt="    for row in rows:\n        total += row.prices"))
    assert (found.match, found.start_line, found.end_line) == ("approximate", 3, 4)
    assert 0.85 <= found.score < 1


def test_a_piece_of_a_line_is_approximate():
    index = FileIndex("x = 1\nvalue = compute(first, second) or fallback\n")
    found = locate(index, "compute(first, second)")
    assert (found.match, found.start_line) == ("approximate", 2)


def test_a_short_piece_of_a_line_is_not_enough():
    assert locate(FileIndex("value = compute(first)\n"), "(first)").rejected == "not_found"


@pytest.mark.parametrize(
    "excerpt", ["}", "    // twice\n    }", "# all of it", "/* a */", "-- done", " * text", ");"]
)
def test_braces_and_comments_say_nothing(excerpt):
    assert judged(raw(excerpt=excerpt)).rejected == "trivial"


@pytest.mark.parametrize(
    "excerpt", ["#include <a.h>", "#[derive(Debug)]", "*p = 1;", "--count;", "a /* b */"]
)
def test_code_that_looks_like_a_comment_counts(excerpt):
    assert not is_trivial(lines_of(excerpt))


@pytest.mark.parametrize("excerpt", ["", "  \n\n "])
def test_an_empty_quote_is_not_found(excerpt):
    assert judged(raw(excerpt=excerpt)).rejected == "not_found"


def test_an_empty_file_holds_nothing():
    assert judged(raw(), text="\n\n").rejected == "not_found"


def test_a_form_feed_is_no_end_of_a_line():
    text = "a = 1\n\f\nb = one\x0b + 2\nc = 3\n"
    assert judged(raw(excerpt="b = one + 2"), text=text).start_line == 3


def test_an_unknown_rule_is_rejected():
    assert judged(raw(rule_id="r/invented")).rejected == "unknown_rule"


def test_a_phantom_file_is_rejected():
    assert judged(raw(path="src/phantom.py")).rejected == "not_in_manifest"


def test_a_file_of_another_chunk_is_rejected():
    assert judged(raw(path="b.py")).rejected == "not_in_chunk"


def test_evidence_in_this_chunk_opens_another_file():
    good = Place("a.py", "total += row.tax", 12)
    assert judged(raw(path="b.py", evidence=(good,))).match == "exact"
    assert (
        judged(raw(path="b.py", evidence=(replace(good, excerpt="no such line"),))).rejected == "not_in_chunk"
    )


def test_a_quote_does_not_run_past_the_end():
    assert locate(FileIndex("a = 1\nb = 2"), "b = 2\nc = 3\nd = 4").rejected == "not_found"


def test_only_some_windows_of_a_large_file_are_compared(monkeypatch):
    compared = []
    real = module.SequenceMatcher.ratio
    monkeypatch.setattr(module.SequenceMatcher, "ratio", lambda self: compared.append(1) or real(self))
    index = FileIndex("\n".join(f"value_{n} = call_{n % 97}(argument, other={n})" for n in range(50_000)))
    found = locate(index, "value_31000 = call_57(argument, othr=31000)", 8)
    assert found.start_line == 31_001
    assert len(compared) <= 3 * (module.MOST_WINDOWS + 2 * module.NEAR)


def test_what_a_program_has_found_needs_no_search():
    place = claimed(raw(start_line=7, excerpt="a\nb"))
    assert (place.start_line, place.end_line, place.match) == (7, 8, "exact")


# --- what hostile files can cost ---


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=6), st.lists(st.sampled_from("ab"), max_size=30))
def test_every_place_of_a_quote_is_found_however_the_lines_repeat(quote: list[str], lines: list[str]) -> None:
    size = len(quote)
    places = [at for at in range(len(lines) - size + 1) if lines[at : at + size] == quote]
    assert FileIndex("\n".join(lines)).exact(quote) == places


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The windows that are compared character by character."""
    windows: list[str] = []
    ratio = SequenceMatcher.ratio

    def counted(self: SequenceMatcher) -> float:
        windows.append(self.a)
        return ratio(self)

    monkeypatch.setattr(SequenceMatcher, "ratio", counted)
    return windows


def test_equal_windows_are_compared_once(compared: list[str]) -> None:
    line = "total = compute(value, other)"
    found = locate(
        FileIndex(f"{line}\n" * 3_000), "\n".join([line] * 4 + ["total = compute(value, others)"]), 1_500
    )
    assert (found.match, found.start_line) == ("approximate", 1_488)
    assert len(compared) <= 3


def test_the_pairs_of_characters_that_are_compared_are_bounded(compared: list[str]) -> None:
    quote = "ab" * 450
    locate(FileIndex("\n".join(f"{quote}{number}" for number in range(3_000))), quote[:-9] + "c" * 9, 1_500)
    assert 0 < len(compared) <= MOST_WORK // (2 * 445 * 450)
