"""Each step of the ladder over runs, and what is needed before something counts as gone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from analysis.locate import FileIndex
from analysis.track import Outcome, State, renamed, track
from tests.analysis.findings import finding, known, manifest_of

ROOT = Path(__file__).parents[2]
CODE = """\
def total(rows):
    result = 0
    for index in range(len(rows) - 1):
        result += rows[index].price
    return result
"""
FAULT = "    for index in range(len(rows) - 1):"


def stands(path, excerpt):
    return True


BEFORE = known(finding(CODE, FAULT))


def outcome(text, found, before=BEFORE, path="a.py", **options) -> Outcome:
    """What became of one known finding in a run over one file."""
    manifest = options.pop("manifest", manifest_of({path: text}))
    options = {
        "checked": {("correctness", path)},
        "ran": {"correctness"},
        "contains": lambda where, excerpt: FileIndex(text).contains(excerpt),
        **options,
    }
    (only,) = [one for one in track([before], found, manifest=manifest, **options) if one.known]
    return only


def test_what_was_not_known_is_new():
    made = track(
        [],
        [finding(CODE, FAULT)],
        manifest=manifest_of({"a.py": CODE}),
        checked=set(),
        ran={"correctness"},
        contains=stands,
    )
    assert [(one.state, one.known) for one in made] == [("new", None)]


def test_the_same_again_is_unchanged():
    assert outcome(CODE, [finding(CODE, FAULT)]).state == "unchanged"


def test_forty_lines_above_move_it_and_it_stays_dismissed():
    text = "import os\n" * 40 + CODE
    moved = outcome(text, [finding(text, FAULT)], known(finding(CODE, FAULT), dismissed=True))
    assert (moved.state, moved.dismissed, moved.found.place.start_line) == ("moved", True, 43)


def test_another_indentation_changes_nothing_and_it_stays_dismissed():
    text = CODE.replace("    ", "\t")
    same = outcome(text, [finding(text, FAULT)], known(finding(CODE, FAULT), dismissed=True))
    assert (same.state, same.dismissed) == ("unchanged", True)


def test_a_renamed_file_takes_its_dismissal_along():
    before = known(finding(CODE, FAULT), dismissed=True)
    new = manifest_of({"b/new.py": CODE})
    renames = renamed({"a.py": manifest_of({"a.py": CODE})["a.py"].blob}, new)
    moved = outcome(
        CODE, [finding(CODE, FAULT, path="b/new.py")], before, path="b/new.py", manifest=new, renames=renames
    )
    assert (moved.state, moved.dismissed) == ("moved", True)


def test_a_file_renamed_and_edited_is_followed_by_rule_symbol_and_excerpt():
    text = CODE + "\n\ndef other():\n    return 1\n"
    moved = outcome(text, [finding(text, FAULT, path="new.py")], path="new.py")
    assert moved.state == "moved"


def test_a_renamed_symbol_does_not_lose_it():
    text = CODE.replace("def total", "def sum_of_prices")
    assert outcome(text, [finding(text, FAULT, hint=99)]).state == "unchanged"


def test_a_longer_quote_of_the_same_code_is_the_same():
    longer = finding(CODE, FAULT + "\n        result += rows[index].price")
    assert outcome(CODE, [longer]).state == "unchanged"


def test_changed_code_with_the_same_fault_in_the_same_symbol_is_changed():
    text = CODE.replace("range(len(rows) - 1)", "range(0, len(rows) - 1)")
    assert outcome(text, [finding(text, "for index in range(0, len(rows) - 1):")]).state == "changed"


def test_quite_other_code_in_the_same_symbol_is_another_finding():
    text = CODE.replace("return result", "return rows[len(rows)]")
    found = finding(text, "return rows[len(rows)]")
    assert outcome(text, [found]).state == "missed"


def test_a_like_fault_beside_code_that_still_stands_is_another_finding():
    text = CODE.replace(
        "    return result", "    for index in range(len(rows) - 2):\n        pass\n    return result"
    )
    found = finding(text, "    for index in range(len(rows) - 2):")
    assert outcome(text, [found]).state == "missed"


def test_another_rule_is_another_finding():
    other = finding(CODE, FAULT, rule="correctness/wrong-condition")
    assert outcome(CODE, [other]).state == "missed"


def test_one_miss_of_unchanged_code_is_not_gone():
    first = outcome(CODE, [])
    assert (first.state, first.misses) == ("missed", 1)


def test_two_misses_in_a_row_are_gone():
    second = outcome(CODE, [], known(finding(CODE, FAULT), misses=1))
    assert (second.state, second.misses) == ("gone", 2)


def test_a_miss_after_the_code_changed_is_gone():
    text = CODE.replace("len(rows) - 1", "len(rows)")
    assert outcome(text, []).state == "gone"


def test_a_change_elsewhere_in_the_file_does_not_make_it_gone():
    assert outcome(CODE + "\nVERSION = 2\n", []).state == "missed"


def test_a_file_that_is_no_more_takes_its_findings_along():
    assert outcome(CODE, [], path="other.py", checked=set()).state == "gone"


def test_a_file_that_is_no_more_proves_nothing_without_the_analyzer():
    assert outcome(CODE, [], path="other.py", ran={"security"}).state == "not_checked"


@pytest.mark.parametrize("checked", [set(), {("security", "a.py")}, {("correctness", "b.py")}])
def test_what_nobody_looked_at_is_not_checked(checked):
    unseen = outcome(CODE, [], known(finding(CODE, FAULT), misses=1), checked=checked)
    assert (unseen.state, unseen.misses) == ("not_checked", 1)


def test_what_was_gone_and_comes_back_is_reopened():
    assert outcome(CODE, [finding(CODE, FAULT)], known(finding(CODE, FAULT), gone=True)).state == "reopened"


def test_what_was_dismissed_and_gone_does_not_come_back_as_open():
    back = outcome(CODE, [finding(CODE, FAULT)], known(finding(CODE, FAULT), gone=True, dismissed=True))
    assert (back.state, back.dismissed) == ("unchanged", True)


def test_what_is_gone_stays_gone():
    assert outcome(CODE, [], known(finding(CODE, FAULT), gone=True)).state == "gone"


def test_finding_it_again_ends_the_row_of_misses():
    assert outcome(CODE, [finding(CODE, FAULT)], known(finding(CODE, FAULT), misses=1)).misses == 0


def test_two_equal_pieces_of_code_keep_their_identities():
    text = "def f(a):\n    x = a[len(a)]\n    y = 1\n    x = a[len(a)]\n"
    one, two = finding(text, "x = a[len(a)]", hint=2), finding(text, "x = a[len(a)]", hint=4)
    assert one.fingerprint != two.fingerprint
    made = track(
        [known(one, 1), known(two, 2)],
        [two],
        manifest=manifest_of({"a.py": text}),
        checked={("correctness", "a.py")},
        ran={"correctness"},
        contains=stands,
    )
    assert [(one.known.key, one.state) for one in made] == [(1, "missed"), (2, "unchanged")]


def test_each_known_finding_takes_the_nearest():
    text = CODE + CODE.replace("total", "again")
    near, far = finding(text, FAULT, hint=3), finding(text, FAULT, hint=8)
    before = [known(near, 1, fingerprint="x"), known(far, 2, fingerprint="y")]
    made = track(
        before, [far, near], manifest=manifest_of({"a.py": text}), checked=set(), ran=set(), contains=stands
    )
    assert {one.known.key: one.found.place.start_line for one in made} == {1: 3, 2: 8}


def test_a_copy_is_no_rename():
    now = manifest_of({"b.py": CODE, "c.py": CODE})
    assert renamed({"a.py": now["b.py"].blob}, now) == {}


def test_the_documents_tell_every_state():
    told = (ROOT / "docs/analysis.md").read_text(encoding="utf-8")
    table = told.split("## Over several runs")[1].split("\n## ")[0]
    words = {word.replace(" ", "_") for word in re.findall(r"^\| ([a-z ]+) \| ", table, re.M)}
    assert words - {"word"} == set(get_args(State))
