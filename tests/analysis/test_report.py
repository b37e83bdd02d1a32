"""Findings never stand without the coverage."""

from __future__ import annotations

import json
from dataclasses import replace

from analysis.plain import FileFacts
from analysis.report import Coverage, Result, shown, to_json, to_markdown
from analysis.sarif import Reported, Source
from nyxcore import markdown
from tests.analysis.findings import finding, manifest_of

CODE = "def f(a):\n    return a[len(a)]\n"
ONE = finding(
    CODE,
    "return a[len(a)]",
    title="Reads past the end",
    message="It does.\n# Nothing was found",
    suggestion="Mend it.",
)
FILES = [
    *manifest_of({"a.py": CODE}).values(),
    FileFacts("b.bin", "b", 9, read=False, reason="binary", detail="NUL"),
]


def result(*findings, **coverage):
    covered = Coverage(FILES, ["Correctness bugs"], 2, 2, **coverage)
    return Result("Run 7", Source("https://example.org/r.git", "abc"), covered, findings)


def test_nothing_found_is_said_together_with_the_coverage():
    assert "Nothing was found. 1 of 2 files was read (Correctness bugs)." in to_markdown(result())


def test_nothing_found_with_gaps_says_so_and_lists_them():
    text = to_markdown(result(gaps=["The chunk with a.py failed."]))
    assert "Nothing was found. 1 of 2 files was read (Correctness bugs); gaps: 1, listed below." in text
    assert "## Gaps\n\n- The chunk with a.py failed." in text


def test_files_that_were_not_read_are_listed_with_their_reason():
    assert "- `b.bin`: binary (NUL)" in to_markdown(result())


def test_a_finding_stands_with_its_place_and_code():
    text = to_markdown(result(Reported(ONE, "confirmed", "new")))
    assert "1 finding: 1 high. 1 of 2 files was read" in text
    assert (
        "#### Reads past the end\n\n`a.py:2-2` · correctness/off-by-one · confirmed · new · confidence 50%"
        in text
    )
    assert "```\n    return a[len(a)]\n```" in text


def test_words_of_a_model_cannot_pose_as_ours():
    text = to_markdown(result(Reported(ONE)))
    assert "\n# Nothing was found" not in text
    assert "\n> # Nothing was found" in text


def test_a_hostile_title_stays_text():
    raw = replace(ONE.raw, title="x](http://evil) <b> `code` | # y")
    html = markdown.render(to_markdown(result(Reported(replace(ONE, raw=raw)))))
    assert "<a " not in html
    assert "&lt;b&gt;" in html


def test_refuted_dismissed_and_gone_findings_are_not_shown():
    hidden = [Reported(ONE, "refuted"), Reported(ONE, dismissed="Later"), Reported(ONE, state="gone")]
    assert shown([*hidden, Reported(ONE, "unsure")]) == [Reported(ONE, "unsure")]


def test_the_most_severe_and_confirmed_come_first():
    low = Reported(replace(ONE, raw=replace(ONE.raw, severity="low")), "confirmed")
    high, sure = Reported(ONE, "unsure"), Reported(ONE, "confirmed")
    assert shown([low, high, sure]) == [sure, high, low]


def test_what_was_dropped_is_counted():
    text = to_markdown(result(rejected=3, refuted=1))
    assert (
        "3 claims were dropped because the quote stands nowhere and 1 was refuted by the second look." in text
    )


def test_a_practice_run_says_so():
    assert "no language model has looked" in to_markdown(replace(result(), practice=True))


def test_the_json_holds_all_findings_and_the_whole_manifest():
    odd = FileFacts("caf\udce9.py", "c", 1, read=False, reason="not_utf8")
    made = result(Reported(ONE, "refuted"))
    made = replace(made, coverage=replace(made.coverage, files=[*FILES, odd]))
    told = json.loads(json.dumps(to_json(made)))
    assert [one["verdict"] for one in told["findings"]] == ["refuted"]
    assert [(one["path"], one["read"]) for one in told["coverage"]["manifest"]] == [
        ("a.py", True),
        ("b.bin", False),
        ("caf\\xe9.py", False),
    ]
