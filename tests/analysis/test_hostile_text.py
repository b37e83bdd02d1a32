"""Hostile text that must not run, grow or keep us busy: modules beside a source, patterns, Markdown, drawings."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.parsing import Parsers


def test_a_module_in_the_folder_that_a_command_runs_in_is_not_run_by_the_parser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("open('run', 'w').close()\nfrom _json import *\n")
    monkeypatch.chdir(tmp_path)
    with Parsers() as parsers:
        parsed = [*parsers.add("a.py", "def f(): pass\n", "python"), *parsers.done()]
    assert [symbol.name for symbol in parsed[0][1].symbols] == ["f"]
    assert not (tmp_path / "run").exists()
