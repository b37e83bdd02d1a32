"""How much work a source can make: every loop whose length it decides is bounded, and ends with the stop signal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis import attributes, secrets, select
from analysis.analyzers import STATIC
from analysis.attributes import Attributes
from analysis.chunks import pack
from analysis.plain import Entry, Options
from analysis.select import build_manifest
from analysis.source import Source, SourceSpec, open_source
from nyxcore.llm.base import Stopped, StopSignal
from tests.analysis.repos import manifest, repo

CODE = "def one(value):\n    return value\n"


class Late(StopSignal):
    """Set once it has been looked at so often."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left, self.looks = looks, 0

    def is_set(self) -> bool:
        self.looks += 1
        if self.looks > self.left:
            self.set("user")
        return super().is_set()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    made = repo(tmp_path / "one", {"a.py": CODE, "b.py": CODE + "x = 1\n", ".gitattributes": "*.x binary\n"})
    with open_source(SourceSpec("path", path=str(made), root=str(tmp_path))) as source:
        yield source


def test_the_manifest_ends_wherever_the_stop_signal_comes(source: Source) -> None:
    whole = Late(10_000)
    built = build_manifest(source, Options(), stop=whole)
    assert whole.looks > 10
    for looks in range(whole.looks):
        with pytest.raises(Stopped):
            build_manifest(source, Options(), stop=Late(looks))
    with pytest.raises(Stopped):
        STATIC.scan(built.files, built.texts, stop=Late(1))
    with pytest.raises(Stopped):
        pack(built.files, built.texts, stop=Late(1))


# --- attributes ---------------------------------------------------------------------------------------------------


def read(tmp_path: Path, rows: str, **files: str) -> Attributes:
    made = repo(tmp_path / "one", {".gitattributes": rows, "a.py": CODE, **files})
    with open_source(SourceSpec("path", path=str(made), root=str(tmp_path))) as source:
        return attributes.read(source)


def kept(found: Attributes) -> int:
    return sum(map(len, found.lines.values()))


def test_a_few_attributes_are_all_heeded(tmp_path: Path) -> None:
    found = read(tmp_path, "a.py linguist-generated\n*.x binary\n")
    assert (kept(found), found.notes) == (2, ())


def test_lines_beyond_the_limit_are_left_out_and_told(tmp_path: Path) -> None:
    rows = "".join(f"f{n}.py linguist-generated\n" for n in range(attributes.LINES_KEPT + 7))
    found = read(tmp_path, rows)
    assert kept(found) == attributes.LINES_KEPT
    assert found.notes == (
        "Not all .gitattributes files are heeded: 7 lines left out, since each is one of too many.",
    )


def test_a_file_of_attributes_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    found = read(tmp_path, "a.py linguist-generated\n" + "# nothing\n" * 20_000)
    assert (kept(found), found.notes[0].split(":")[1]) == (
        0, " 1 file left out, since each is too large or one of too many.",
    )  # fmt: skip


def test_rows_that_say_nothing_are_read_up_to_a_limit_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "ROWS_READ", 3)
    found = read(tmp_path, "# one\n# two\n*.x binary\n*.y binary\n")
    assert kept(found) == 1
    assert "2 lines left out" in found.notes[0]


def test_lines_times_paths_are_bounded() -> None:
    lines = [attributes.parse_line("", f"a/**/b{n}/**/c linguist-generated") for n in range(500)]
    paths = [Entry(f"a/{'b/' * 8}{n}", "100644", "0", 1) for n in range(5_000)]
    chosen = attributes._bearable([line for line in lines if line], paths)
    assert 0 < len(chosen) * 5 * 10 * 5_000 <= attributes.MOST_WORK
    assert len(chosen) == attributes.MOST_WORK // (5 * 10 * 5_000)


def test_lines_of_a_folder_count_only_what_lies_below_it() -> None:
    line = attributes.parse_line("deep/", "**/x binary")
    assert line is not None
    paths = [Entry(f"other/{n}", "100644", "0", 1) for n in range(50_000)]
    assert len(attributes._bearable([line] * 500, [*paths, Entry("deep/x", "100644", "0", 1)])) == 500


def test_what_is_left_out_stands_in_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "LINES_KEPT", 1)
    made = manifest(repo(tmp_path / "one", {".gitattributes": "*.x binary\n*.y binary\n", "a.py": CODE}))
    assert "1 line left out" in made.notes[0]


# --- secrets ------------------------------------------------------------------------------------------------------


def repetitions(tree: Any) -> Iterator[int]:
    """The most that each repetition of a parsed expression takes."""
    for operation, argument in tree:
        if operation in (re._constants.MAX_REPEAT, re._constants.MIN_REPEAT, re._constants.POSSESSIVE_REPEAT):  # type: ignore[attr-defined]
            yield int(argument[1])
            yield from repetitions(argument[2])
        elif operation is re._constants.BRANCH:  # type: ignore[attr-defined]
            for branch in argument[1]:
                yield from repetitions(branch)
        elif operation is re._constants.SUBPATTERN:  # type: ignore[attr-defined]
            yield from repetitions(argument[-1])


@pytest.mark.parametrize("rule", secrets.RULES, ids=lambda rule: rule.name)
def test_no_pattern_of_a_secret_goes_on_without_end(rule: secrets.Rule) -> None:
    found = list(repetitions(re._parser.parse(rule.pattern.pattern)))  # type: ignore[attr-defined]
    assert all(most <= 4_000 for most in found)


def test_the_same_contents_under_many_names_are_searched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    scan = secrets.scan
    monkeypatch.setattr(select.secrets, "scan", lambda path, text: searched.append(path) or scan(path, text))
    hidden = f'KEY = "{"AKIA" + "QWERTYUIOPASDFGH"}"\n'
    made = manifest(repo(tmp_path / "one", {f"{n}.py": hidden for n in range(5)}))
    assert len(searched) == 1
    assert {hit.path for hit in made.secrets} == {f"{n}.py" for n in range(5)}
    assert {file.reason for file in made.files} == {"secret"}


# --- history ------------------------------------------------------------------------------------------------------


def test_a_history_that_takes_too_long_costs_the_ranking_only_and_is_told(source: Source) -> None:
    usual = build_manifest(source, Options())
    source.limits = replace(source.limits, seconds=0.0)
    late = build_manifest(source, Options())
    assert [file.path for file in late.read] == [file.path for file in usual.read]
    assert usual.notes == ()
    assert late.notes[0].startswith(
        "How often files change does not count for the ranking: Reading the source took"
    )
