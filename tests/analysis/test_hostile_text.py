"""Hostile text that must not run, grow or keep us busy: modules beside a source, patterns, Markdown, drawings."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import documents, mermaid
from analysis.fingerprint import occurrence
from analysis.imports import links
from analysis.locate import FileIndex, locate
from analysis.parsing import Parsers
from analysis.patterns import PATTERN_LIMIT, Glob
from analysis.plain import FileFacts, Symbol


def test_a_module_in_the_folder_that_a_command_runs_in_is_not_run_by_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('run', 'w').close()\nfrom _json import *\n")
    monkeypatch.chdir(tmp_path)
    with Parsers() as parsers:
        parsed = [*parsers.add("a.py", "def f(): pass\n", "python"), *parsers.done()]
    assert [symbol.name for symbol in parsed[0][1].symbols] == ["f"]
    assert not (tmp_path / "run").exists()


def test_a_drawing_of_a_million_arrows_is_not_made_first_and_counted_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    edge = mermaid._edge
    monkeypatch.setattr(mermaid, "_edge", lambda *parts: (made.append(1), edge(*parts))[1])
    many = "&".join("a" * 300)
    assert mermaid.parse(f"flowchart\n{many} --> {many}\n") is None
    assert len(made) <= mermaid.MOST_EDGES


def test_a_drawing_is_given_up_at_its_first_node_too_many() -> None:
    chart = mermaid.Flowchart(across=False)
    with pytest.raises(mermaid.Unreadable):
        mermaid._statement(chart, "&".join(f"n{n}" for n in range(3_000)))
    assert len(chart.nodes) <= mermaid.MOST_NODES + 1


def test_an_open_block_of_code_does_not_keep_the_page_busy() -> None:
    text = "```" + "a" * 16_000 + "\n" + "x\n" * 8_000
    began = time.process_time()
    assert documents.citations(text + "`a.py:1`", {})[0].path == "a.py"
    assert time.process_time() - began < 2  # half a minute, with an expression that goes back


def test_open_tags_in_a_label_do_not_keep_the_page_busy() -> None:
    began = time.process_time()
    assert mermaid._words("<a" * 50_000) == "<a" * 50_000
    assert time.process_time() - began < 1  # seconds, with an expression that reads on to the end each time


@pytest.mark.parametrize("rest", ["*a" * 50_000, "a/**/" * 50_000 + "b"], ids=["stars", "folders"])
def test_a_pattern_without_end_is_cut(rest: str) -> None:
    began = time.process_time()
    glob = Glob(rest, inside=False)
    assert sum(map(len, glob.parts)) <= PATTERN_LIMIT
    assert not any(glob.matches(["b" * 200] * 20) for _ in range(100))
    assert time.process_time() - began < 2


def test_what_is_cut_from_a_pattern_does_not_change_one_within_the_limit() -> None:
    assert Glob("a" * PATTERN_LIMIT).matches(["a" * PATTERN_LIMIT])


@pytest.mark.parametrize(
    "pattern", ["[", "[z-a]", "[!]", "\\", "[[:alpha:]]*", "a[^", "[\\]]", "(?:+{", "**/[", "[a--b]"]
)
def test_an_odd_pattern_is_no_error(pattern: str) -> None:
    assert Glob(pattern).matches(["name"]) in (True, False)


def busy(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def test_imports_of_thousands_of_packages_are_linked_in_bearable_time() -> None:
    files = [
        FileFacts(f"d{n}/x{n}/a.go", "b", 1, "go", imports=tuple(f'"h/{n}/{i}"' for i in range(100)))
        for n in range(600)
    ]
    assert (
        busy(lambda: links(files)) < 4
    )  # the square of it, where every folder is looked at for every import


def test_an_import_of_very_many_parts_is_cut() -> None:
    deep = [FileFacts(f"z{n}/" + "a/" * 50 + "a.py", "b", 1, "python") for n in range(40)]
    line = "from q." + ".".join("a" * 60) + " import " + ",".join("a" * 20)
    asking = FileFacts("m.py", "b", 1, "python", imports=(line,) * 60)
    assert busy(lambda: links([*deep, asking])) < 2


def test_the_same_line_everywhere_in_thousands_of_definitions_is_counted_in_bearable_time() -> None:
    index = FileIndex("x=1\n" * 20_000)
    around = tuple(Symbol(f"f{n}", "function", 1, 20_000 - n) for n in range(1_000))
    place = locate(index, "x=1", 20_000)
    assert busy(lambda: occurrence(index, around, place, "f0")) < 1
    assert occurrence(index, around, place, "f0") == 1  # the lines above stand in narrower ones
