"""What is found without a model."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import pytest

from analysis.analyzers import STATIC, linting, static
from analysis.analyzers.linting import LintHit, LintResult, find_ruff, run_ruff
from analysis.analyzers.static import HIDDEN, masked
from analysis.plain import FileFacts


def scan(text="", path="a.py", language="python", secrets=(), linter=lambda texts: LintResult(), **facts):
    hits = [SimpleNamespace(rule="password", line=line) for line in secrets]
    file = FileFacts(path, "b", facts.pop("size", len(text)), language, **facts)
    texts = {path: text} if file.read else {}
    return STATIC.scan([file], texts, secrets=lambda where, what: hits, linter=linter)


def found(*args, **options):
    return [(one.rule_id, one.start_line) for one in scan(*args, **options).findings]


def test_a_secret_is_shown_by_its_place_and_never_by_its_value():
    (one,) = scan("import os\nPASSWORD = 'hunter2-9x8y'\n", secrets=[2]).findings
    assert (one.rule_id, one.start_line, one.severity) == ("static/secret", 2, "critical")
    assert one.excerpt == "PASSWORD = …"
    assert "hunter2" not in repr(one)


def test_a_secret_is_hidden_from_every_other_finding_too():
    text = "token = 'hunter2-9x8y'  # TODO: hide hunter2-9x8y\n"
    lint = LintResult((LintHit("a.py", "B006", "said", 1, 1),))
    made = scan(text, secrets=[1], linter=lambda texts: lint).findings
    assert {one.rule_id for one in made} == {"static/secret", "static/ruff-bug"}
    assert "hunter2" not in repr(made)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  aws_key: abc123def456ghi7  ", "aws_key : …"),
        ("-----BEGIN RSA PRIVATE KEY-----", HIDDEN),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a = x", HIDDEN),
        ('"password": "hunter2"', "password : …"),
        ("mysql -phunter2 --host=db", HIDDEN),
        ("login --token hunter2", HIDDEN),
        ("https://user:pass@host/", "https : …"),
    ],
)
def test_only_the_name_of_a_secret_is_left(line, shown):
    assert masked(line) == shown


CONFLICT = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\n"


def test_a_merge_conflict_is_found_where_it_begins():
    assert found(CONFLICT) == [("static/conflict-marker", 2)]


@pytest.mark.parametrize(
    "text", ["Title\n=======\n", "<<<<<<< HEAD\nb\n=======\n", ">>>>>>> other\n", "x <<<<<<< y\n"]
)
def test_half_a_conflict_is_none(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("x = 1  # TODO: later", "python"),
        ("// FIXME later", "go"),
        (" * HACK(me): later", "java"),
        ("<!-- XXX later -->", "html"),
    ],
)
def test_work_that_was_put_off_is_listed(text, language):
    (one,) = scan(text, language=language).findings
    assert (one.rule_id, one.excerpt) == ("static/todo", text)
    assert "later" in one.title


@pytest.mark.parametrize(
    ("text", "language"),
    [("TODO = 1", "python"), ("x = 'a todo list'", "python"), ("# TODO", "markdown"), ("// METODO", "go")],
)
def test_other_words_are_no_debt(text, language):
    assert found(text, language=language) == []


@pytest.mark.parametrize(
    ("path", "size", "rules"),
    [
        ("tool.exe", 10, ["static/committed-binary"]),
        ("lib.JAR", 10, ["static/committed-binary"]),
        ("logo.png", 5_000, []),
        ("film.mp4", 2_000_000, ["static/large-file"]),
    ],
)
def test_what_a_review_cannot_read_is_told_from_the_manifest(path, size, rules):
    assert [rule for rule, _line in found(path=path, size=size, language="", read=False)] == rules


def test_a_text_that_ends_like_a_program_is_read_and_no_binary():
    assert found("x", path="notes.bak", language="text") == []


# --- ruff -----------------------------------------------------------------------------------------------------


def test_ruff_is_asked_where_it_is_installed():
    assert find_ruff()
    hits = run_ruff({"odd name\n.py": "def f(a=[]):\n    return b\n", "pkg/ok.py": "x = 1\n"}).hits
    assert [(hit.path, hit.code, hit.line) for hit in hits] == [
        ("odd name\n.py", "B006", 1),
        ("odd name\n.py", "F821", 2),
    ]


def test_configuration_of_the_repository_has_no_effect():
    texts = {
        "ruff.toml": "not python",
        "pyproject.toml": "[tool.ruff]\nexclude=['*']",
        "a.py": "print(undefined)\n",
    }
    assert [hit.code for hit in run_ruff({"a.py": texts["a.py"]}).hits] == ["F821"]
    assert any(hit.code == "F821" and hit.path == "a.py" for hit in run_ruff(texts).hits)


def test_of_a_broken_file_only_the_first_error_is_told():
    assert [hit.code for hit in run_ruff({"a.py": "def (:\n  x ==\n)"}).hits] == ["invalid-syntax"]


def test_unused_imports_and_asserts_are_left_to_others():
    assert run_ruff({"a.py": "import os\nassert True\npassword = 'a'\n"}).hits == ()


def test_without_ruff_the_scan_says_so():
    made = run_ruff({"a.py": "x"}, program="")
    assert (made.hits, made.notes) == ((), ("ruff is not installed, so Python files were not linted.",))


def test_a_program_that_fails_is_told_and_not_taken_for_health():
    assert "1 Python file was not linted" in run_ruff({"a.py": "x"}, program="/bin/false").notes[0]
    assert "1 Python file was not linted" in run_ruff({"a.py": "x"}, program="/no/such/program").notes[0]


def test_what_ruff_says_is_quoted_from_the_file():
    one = scan("def f(a=[]):\n    return a\n", linter=run_ruff).findings[0]
    assert (one.rule_id, one.excerpt, one.start_line) == ("static/ruff-bug", "def f(a=[]):", 1)
    assert one.title.startswith("B006: ")


# --- more than anybody can read -------------------------------------------------------------------------------


def test_ruff_is_not_asked_about_everything_at_once_and_only_so_many_hits_stay(monkeypatch):
    monkeypatch.setattr(linting, "PART", 20)
    made = run_ruff({"a.py": "x;" * 150 + "\n", "b.py": "y\n"})
    assert Counter(hit.path for hit in made.hits) == {"a.py": linting.MOST_OF_FILE, "b.py": 2}
    assert "200 more" in made.notes[0]


def test_of_one_kind_only_so_many_findings_of_a_file_stay_and_the_rest_is_told():
    made = scan("# TODO\n" * (static.MOST_OF_FILE + 3))
    assert len(made.findings) == static.MOST_OF_FILE
    assert made.notes == ["3 findings are left out: too many of one kind in one file, or in all."]


def test_of_too_many_findings_the_most_severe_stay(monkeypatch):
    monkeypatch.setattr(static, "MOST", 2)
    made = scan("# TODO: a\n# TODO: b\nkey = 1\n", secrets=[3])
    assert {one.rule_id for one in made.findings} == {"static/secret", "static/todo"}
    assert made.notes[0].startswith("1 finding is left out")
