import time

import pytest

from workflows import worddiff
from workflows.worddiff import Piece, TooLong, compare


def shown(difference):
    return [(piece.op, piece.text.strip()) for piece in difference.pieces]


def test_words_that_went_and_came():
    difference = compare("The quick brown fox jumps.", "The slow brown fox jumps high.")
    assert shown(difference) == [
        ("same", "The"), ("gone", "quick"), ("new", "slow"), ("same", "brown fox"), ("gone", "jumps."),
        ("new", "jumps high."),
    ]  # fmt: skip
    assert (difference.gone, difference.new, difference.same) == (2, 3, 3)


@pytest.mark.parametrize(("old", "new"), [("", ""), ("a b", "a  b\n"), ("Same\n\ntext", "Same\ntext")])
def test_white_space_alone_is_no_difference(old, new):
    assert compare(old, new).equal
    assert compare(old, new).percent_same == 100


@pytest.mark.parametrize(("old", "new", "op"), [("", "all of it", "new"), ("all of it", "", "gone")])
def test_against_nothing_all_is_different(old, new, op):
    difference = compare(old, new)
    assert (shown(difference), difference.percent_same) == ([(op, "all of it")], 0)


def test_long_unchanged_stretch_keeps_its_ends_and_loses_nothing():
    text = " ".join(f"word{n}" for n in range(1000))
    piece = compare(text, text + " more").pieces[0]
    assert piece.text.split()[0] == "word0"
    assert piece.folded_words == 1000 - 2 * worddiff.CONTEXT
    assert (piece.text + piece.middle + piece.tail).strip() == text
    assert compare("one two", "one two").pieces == [Piece("same", "one two")]


def test_line_breaks_of_the_newer_text_are_kept():
    text = "# Title\n\nFirst line\nsecond line"
    assert "".join(piece.text for piece in compare("# Title", text).pieces if piece.op != "gone") == text


def test_very_long_texts_are_compared_by_lines_and_in_time():
    old = "\n".join(f"line {n} says something" for n in range(30_000))
    began = time.monotonic()
    difference = compare(old, old.replace("line 777 says", "line 777 shouts"))
    assert difference.by_lines
    assert (difference.gone, difference.new) == (4, 4)
    assert time.monotonic() - began < 5


def test_two_different_long_answers_take_no_longer():
    began = time.monotonic()
    compare(
        " ".join(f"a{n % 900} the" for n in range(9_000)), " ".join(f"b{n % 900} the" for n in range(9_000))
    )
    assert time.monotonic() - began < 5


def test_beyond_all_measure_is_refused():
    with pytest.raises(TooLong):
        compare("x" * 2_000_000, "y" * 2_000_000)
