from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflows.kinds.seam import OVERLAP, Seam, repeated

LONG = "".join(f"{number} bottles of beer on the wall. " for number in range(100))


@pytest.mark.parametrize(
    ("earlier", "answer", "new"),
    [
        ("It ends here", " and goes on.", " and goes on."),
        ("It ends with these words", "these words and more", " and more"),
        ("the impl", "implementation", "ementation"),  # the broken word written anew
        ("the impl", "ementation", "ementation"),
        ("a pizza", "a la carte", "a la carte"),  # one letter alike is chance
        ("see", "eel", "eel"),
        ("all together", "her own way", "her own way"),  # alike only inside a word
        ("| a | b |\n| - | - |\n", "| - | - |\n| 1 | 2 |", "| - | - |\n| 1 | 2 |"),  # lines may repeat
        ("```python\nx = 1\n", "```python\ny = 2\n```", "y = 2\n```"),  # the open fence opened again
        ("```python\nx = 1\n", "```\nDone.", "```\nDone."),  # the fence closed
        ("```\na\n```\n", "```python\nb\n```", "```python\nb\n```"),  # a new block
        ("```python\nx = compute_all()\n", "```python\nx = compute_all()\ny = 2", "y = 2"),
        (LONG, LONG[-OVERLAP:] + "next", "next"),
        ("", "All of it.", "All of it."),
    ],
)
def test_what_the_answer_repeats_is_cut(earlier: str, answer: str, new: str) -> None:
    assert answer[repeated(earlier, answer) :] == new


@settings(deadline=None)
@given(st.text("ab \n`", max_size=60), st.text("ab \n`", max_size=700), st.integers(1, 90))
def test_what_is_shown_is_what_is_kept(earlier: str, answer: str, size: int) -> None:
    shown: list[str] = []
    seam = Seam(earlier, shown.append)
    for start in range(0, len(answer), size):
        seam.feed(answer[start : start + size])
    assert seam.close(answer) == "".join(shown)


def test_a_first_answer_is_shown_at_once() -> None:
    shown: list[str] = []
    Seam("", shown.append).feed("a")
    assert shown == ["a"]


def test_a_long_continuation_is_shown_before_it_ends() -> None:
    shown: list[str] = []
    seam = Seam("before", shown.append)
    seam.feed("x" * 1000)
    seam.feed("y")
    assert "".join(shown) == "x" * 1000 + "y"
