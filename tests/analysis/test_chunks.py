"""Packing what is read: every line once, at good places, and stable when files come and go."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.chunks import chunk_key, pack, render, split
from analysis.contents import look
from analysis.plain import Chunk, FileFacts, Piece, lines_of
from analysis.repomap import guide, repo_map
from analysis.symbols import parse
from nyxcore.llm.models import estimate_tokens

LANGUAGES = {"py": "python", "js": "javascript", "go": "go", "txt": ""}


@lru_cache(maxsize=2_000)
def facts(path: str, text: str) -> FileFacts:
    """A file as the manifest has it."""
    found = look(
        FileFacts(path, f"blob-{hash(text)}", len(text), language=LANGUAGES[path.rpartition(".")[2]]),
        text.encode(),
    )
    assert found.facts.read, found.facts
    parsed = parse(text, found.grammar)
    return replace(found.facts, symbols=parsed.symbols, imports=parsed.imports, grammar=parsed.grammar)


def files_of(texts: dict[str, str]) -> list[FileFacts]:
    return [facts(path, text) for path, text in texts.items()]


def packed(texts: dict[str, str], target: int) -> list[Chunk]:
    return pack(files_of(texts), texts, target=target)


def lines_in(chunks: Any) -> Counter[tuple[str, int]]:
    return Counter(
        (piece.path, number)
        for chunk in chunks
        for piece in chunk.pieces
        for number in range(piece.start_line, piece.end_line + 1)
    )


def function(name: str, body: int = 3) -> str:
    return (
        f"def {name}(value):\n"
        + "".join(f"    value += {n}\n" for n in range(body))
        + "    return value\n\n\n"
    )


# --- properties ----------------------------------------------------------------------------------

names = st.text("abcdef", min_size=1, max_size=4)
paths = st.builds(
    lambda folders, name, ending: "/".join([*folders, f"{name}.{ending}"]),
    st.lists(st.sampled_from(["src", "lib", "a", "b"]), max_size=3),
    names,
    st.sampled_from(["py", "txt", "js"]),
)
line = st.sampled_from(
    [
        "x = 1",
        "",
        "def f():",
        "    return 2",
        "class A:",
        "    def m(self):",
        "        pass",
        "import a.b",
        "}",
        "function g() {",
        "# note",
        "é" * 40,
    ]
)
bodies = st.lists(line, min_size=1, max_size=60).map("\n".join).filter(lambda text: bool(text.strip()))
repositories = st.dictionaries(paths, bodies, min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(repositories, st.sampled_from([120, 300, 1_500]))
def test_every_line_is_in_exactly_one_piece(texts: dict[str, str], target: int) -> None:
    chunks = packed(texts, target)
    wanted = {(path, n + 1) for path, text in texts.items() for n in range(len(lines_of(text)))}
    assert lines_in(chunks) == Counter(wanted)
    assert chunks == packed(dict(reversed(texts.items())), target)


@settings(max_examples=30, deadline=None)
@given(repositories, st.sampled_from([300, 1_500]))
def test_chunks_stay_within_the_target(texts: dict[str, str], target: int) -> None:
    for chunk in packed(texts, target):
        assert chunk.tokens <= target
        assert estimate_tokens(render(chunk, texts, "0" * 16)) <= chunk.tokens + len(chunk.pieces)


@settings(max_examples=30, deadline=None)
@given(repositories)
def test_a_split_covers_the_same_lines_down_to_single_ones(texts: dict[str, str]) -> None:
    files = files_of(texts)
    waiting = pack(files, texts, target=400)
    whole = lines_in(waiting)
    single = []
    while waiting:
        chunk = waiting.pop()
        halves = split(chunk, files, texts)
        if halves is None:
            single.append(chunk)
            continue
        assert all(half.pieces for half in halves)
        assert lines_in(halves) == lines_in([chunk])
        waiting += halves
    assert lines_in(single) == whole
    assert all(sum(lines_in([chunk]).values()) == 1 for chunk in single)


# --- stability -----------------------------------------------------------------------------------


def project(number: int) -> dict[str, str]:
    made = {
        f"pkg{n % 12}/part{n % 5}/module_{n:03}.py": f"import pkg{(n * 7) % 12}\n"
        + "".join(function(f"f{n}_{k}") for k in range(n % 9 + 1))
        for n in range(number)
    }
    return dict(sorted(made.items()))


@pytest.fixture(scope="module")
def large() -> dict[str, str]:
    return project(300)


@pytest.mark.parametrize(
    "new", ["pkg0/aaa.py", "pkg5/part2/module_017_b.py", "zzz/last.py", "aaa.py", "pkg3/part3/m.py"]
)
def test_a_new_file_leaves_nearly_all_chunks_alone(large: dict[str, str], new: str) -> None:
    before = {chunk_key(chunk) for chunk in packed(large, 2_000)}
    after = {chunk_key(chunk) for chunk in packed(large | {new: function("added")}, 2_000)}
    assert len(before) > 30
    assert len(after - before) <= 4


def test_a_changed_file_changes_only_its_chunk(large: dict[str, str]) -> None:
    path = "pkg4/part1/module_016.py"
    before = {chunk_key(chunk) for chunk in packed(large, 2_000)}
    after = packed(large | {path: large[path].replace("value += 1", "value += 9")}, 2_000)
    assert [path in chunk.paths for chunk in after if chunk_key(chunk) not in before] == [True]


def test_a_file_that_goes_leaves_nearly_all_chunks_alone(large: dict[str, str]) -> None:
    before = {chunk_key(chunk) for chunk in packed(large, 2_000)}
    less = {path: text for path, text in large.items() if path != "pkg2/part0/module_050.py"}
    assert len({chunk_key(chunk) for chunk in packed(less, 2_000)} - before) <= 3


# --- neighbourhood and cutting -------------------------------------------------------------------


def test_files_of_one_folder_come_together() -> None:
    texts = {f"{folder}/{n}.py": function(f"f{n}", 12) for folder in ("one", "two") for n in range(4)}
    chunks = packed(texts, 700)
    assert all(len({path.split("/")[0] for path in chunk.paths}) == 1 for chunk in chunks)


def test_small_folders_join_those_that_they_import() -> None:
    body = function("f", 30)
    texts = {
        "a/one.py": "from z.four import f\n" + body,
        "b/two.py": body,
        "c/three.py": body,
        "z/four.py": body,
    }
    chunks = packed(texts, 2 * estimate_tokens(body) + 500)
    assert ("a/one.py", "z/four.py") in [chunk.paths for chunk in chunks]


def test_a_large_file_is_cut_between_its_definitions() -> None:
    text = "import os\n\n\n" + "".join(f"# about f{n}\n" + function(f"f{n}", 10) for n in range(20))
    chunks = packed({"a.py": text}, 700)
    assert len(chunks) > 3
    lines = lines_of(text)
    for chunk in chunks[1:]:
        (piece,) = chunk.pieces
        assert next(row for row in lines[piece.start_line - 1 :] if row).startswith("# about f")
        assert piece.header == "import os"


def test_a_large_class_is_cut_between_its_methods_and_named_again() -> None:
    methods = "".join("    " + function(f"m{n}", 8).replace("\n", "\n    ").rstrip(" ") for n in range(16))
    text = f"import os\n\n\nclass Big(Base):\n    kind = 1\n\n{methods}"
    pieces = [piece for chunk in packed({"a.py": text}, 600) for piece in chunk.pieces]
    assert len(pieces) > 3
    assert all(piece.header == "import os\nclass Big(Base):" for piece in pieces[1:])
    starts = {symbol.start_line for symbol in facts("a.py", text).symbols}
    rows = lines_of(text)
    for piece in pieces[1:]:
        first = next(n for n in range(piece.start_line, piece.end_line + 1) if rows[n - 1].strip())
        assert first in starts


def test_a_function_is_cut_only_where_it_is_over_the_target_itself() -> None:
    text = function("small") + function("huge", 200) + function("after")
    pieces = [piece for chunk in packed({"a.py": text}, 600) for piece in chunk.pieces]
    symbols = {symbol.name: symbol for symbol in facts("a.py", text).symbols}
    for name in ("small", "after"):
        inside = [
            p
            for p in pieces
            if p.start_line <= symbols[name].end_line and symbols[name].start_line <= p.end_line
        ]
        assert len(inside) == 1
    assert sum("def huge(value):" in piece.header for piece in pieces) > 1


def test_lines_without_a_grammar_are_cut_at_blank_ones() -> None:
    text = "".join("word " * 10 + "\n" + ("\n" if n % 5 == 4 else "") for n in range(100))
    pieces = [piece for chunk in packed({"a.txt": text}, 700) for piece in chunk.pieces]
    rows = lines_of(text)
    assert len(pieces) > 2
    assert all(not rows[piece.end_line - 1] for piece in pieces[:-1])


def test_a_chunk_of_several_files_is_split_between_them() -> None:
    texts = {f"{n}.py": function("f", 5) for n in range(6)}
    (chunk,) = packed(texts, 5_000)
    halves = split(chunk, files_of(texts), texts)
    assert halves is not None
    assert [len(half.pieces) for half in halves] == [3, 3]


def test_a_cut_piece_keeps_its_header_when_it_is_split() -> None:
    text = "import os\n" + "".join(function(f"f{n}", 10) for n in range(20))
    files = files_of({"a.py": text})
    chunk = packed({"a.py": text}, 700)[1]
    halves = split(chunk, files, {"a.py": text})
    assert halves is not None
    assert [half.pieces[0].header for half in halves] == ["import os", "import os"]


def test_a_chunk_of_one_line_cannot_be_split() -> None:
    texts = {"a.py": "x = 1\n"}
    files = files_of(texts)
    (chunk,) = pack(files, texts)
    assert split(chunk, files, texts) is None


# --- how it is shown -----------------------------------------------------------------------------


def test_every_line_is_shown_with_its_number() -> None:
    piece = Piece("a b.py", "blob", 2, 3, "import os")
    shown = render(Chunk((piece,), 0), {"a b.py": "one\ntwo\nthree\n"}, "cafe")
    assert (
        shown == '[cafe path="a b.py" lines=2-3 of 3]\n     | import os\n    2| two\n    3| three\n[/cafe]\n'
    )


def test_the_key_hangs_on_paths_blobs_and_lines() -> None:
    one = Piece("a", "1", 1, 2)
    others = [
        replace(one, path="b"),
        replace(one, blob="2"),
        replace(one, end_line=3),
        replace(one, start_line=2),
    ]
    keys = {chunk_key(Chunk((piece,), 0)) for piece in [one, *others]}
    assert len(keys) == 5
    assert chunk_key(Chunk((one,), 0)) == chunk_key(Chunk((one,), 99))
    assert chunk_key(Chunk((one, others[0]), 0)) != chunk_key(Chunk((others[0], one), 0))


# --- the map and the guide -----------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [60, 300, 1_000, 4_000])
def test_the_map_fits_its_budget_and_shows_what_ranks_highest(large: dict[str, str], tokens: int) -> None:
    files = files_of(large)
    scores = {one.path: float(one.path == "pkg7/part4/module_019.py") for one in files}
    shown = repo_map(files, scores, tokens=tokens)
    assert 0 < estimate_tokens(shown) <= tokens
    if tokens >= 1_000:
        assert "  module_019.py: f19_0" in shown


def test_a_small_map_is_whole() -> None:
    files = files_of({"src/a.py": function("run") + function("_help"), "b.txt": "x\n"})
    assert repo_map(files) == "./\n  b.txt\nsrc/\n  a.py: run, _help\n"


def test_names_in_the_map_stay_on_their_line() -> None:
    shown = repo_map([facts("a\nb.py", "x = 1\n")])
    assert shown == "./\n  a?b.py\n"


def test_the_guide_is_the_first_of_its_kind_at_the_top() -> None:
    texts = {
        "README.txt": "no\n",
        "docs/AGENTS.md": "no\n",
        "README.md": "read\n",
        "contributing.md": "help\n",
    }
    files = [FileFacts(path, "b", 9) for path in texts]
    assert guide(files, texts) == "help\n"
    assert guide(files[:2], texts) == ""


def test_a_long_guide_is_cut_and_says_so() -> None:
    texts = {"README.md": "a line of words\n" * 900}
    shown = guide([FileFacts("README.md", "b", 9)], texts, tokens=200)
    assert estimate_tokens(shown) <= 200
    assert shown.endswith("(the rest is left out)\n")
