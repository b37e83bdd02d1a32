"""One fault, one finding; its identity holds no line."""

from __future__ import annotations

from analysis.analyzers import RULES
from analysis.fingerprint import checked, enclosing, fingerprint
from analysis.locate import FileIndex, claimed
from analysis.merge import merge
from analysis.plain import RawFinding, Symbol
from tests.analysis.findings import finding

CODE = """\
def send(path):
    handle = open(path)
    data = handle.read()
    post(data)
    handle.close()


def twice(path):
    handle = open(path)
    return handle.read()
"""


def kin(rule_id):
    return RULES[rule_id].kin


def test_equal_claims_are_one_and_the_more_severe_stays():
    low = finding(CODE, "handle = open(path)", severity="low", message="One.", confidence=0.9)
    high = finding(CODE, "handle = open(path)", severity="high", message="Two.", confidence=0.2)
    (one,) = merge([low, high])
    assert (one.raw.severity, one.raw.message, one.raw.confidence) == ("high", "Two.\n\nOne.", 0.9)


def test_rules_of_one_family_on_the_same_lines_are_one():
    leak = finding(CODE, "handle = open(path)", rule="concurrency/leaked-handle", message="Leaks.")
    skip = finding(
        CODE,
        "handle = open(path)\ndata = handle.read()",
        rule="errors/no-cleanup",
        message="Skips.",
        severity="low",
    )
    (one,) = merge([skip, leak], kin)
    assert one.raw.rule_id == "concurrency/leaked-handle"
    assert one.raw.message == "Leaks.\n\nAlso reported as errors/no-cleanup: Skips."


def test_rules_of_other_families_on_the_same_line_stay_two():
    assert (
        len(merge([finding(CODE, "post(data)"), finding(CODE, "post(data)", rule="security/ssrf")], kin)) == 2
    )


def test_the_same_rule_in_one_symbol_is_one_with_several_places():
    first, second = finding(CODE, "handle = open(path)", hint=2), finding(CODE, "handle.close()")
    (one,) = merge([first, second])
    assert one.locations == (("a.py", 5, 5),)


def test_the_same_rule_in_two_symbols_stays_two():
    first, second = finding(CODE, "handle = open(path)", hint=2), finding(CODE, "handle = open(path)", hint=9)
    assert len(merge([first, second])) == 2


def test_the_same_rule_outside_of_symbols_stays_two():
    text = "a = open(x)\nb = 1\nc = open(y)\n"
    assert len(merge([finding(text, "a = open(x)"), finding(text, "c = open(y)")])) == 2


def test_the_order_of_claims_does_not_matter():
    claims = [
        finding(CODE, "handle = open(path)", hint=2),
        finding(CODE, "post(data)", severity="low"),
        finding(CODE, "return handle.read()", rule="correctness/contract"),
    ]
    assert merge(claims) == merge(claims[::-1])


def test_a_fingerprint_ignores_indentation_and_blank_lines():
    assert fingerprint("r", "a", "s", "  x = 1\n\n  y  = 2") == fingerprint("r", "a", "s", "x = 1\ny = 2")


def test_a_fingerprint_tells_rule_path_symbol_text_and_occurrence():
    base = ("r", "a", "s", "x", 1)
    others = [
        ("q", "a", "s", "x", 1),
        ("r", "b", "s", "x", 1),
        ("r", "a", "t", "x", 1),
        ("r", "a", "s", "y", 1),
    ]
    assert len({fingerprint(*one) for one in [base, *others, ("r", "a", "s", "x", 2)]}) == 6


def test_a_path_that_is_no_utf8_has_a_fingerprint():
    assert len(fingerprint("r", "caf\udce9.py", "", "x")) == 64


def test_the_innermost_definition_is_the_symbol():
    symbols = [
        Symbol("A", "class", 1, 20),
        Symbol("f", "method", 3, 9, "A"),
        Symbol("g", "function", 5, 6, "A.f"),
    ]
    assert [enclosing(symbols, line) for line in (2, 4, 5, 12, 30)] == ["A", "A.f", "A.f.g", "A", ""]


def test_what_the_model_misspelled_is_quoted_as_the_file_has_it():
    one = finding(CODE, "handle  =  open( path )")
    assert one.raw.excerpt == "    handle = open(path)"


def test_a_hidden_secret_stays_hidden():
    raw = RawFinding("static/secret", "T", "M", "critical", "a.py", "key = …", 1)
    one = checked(raw, "static", claimed(raw), FileIndex("key = 'abc123'\n"))
    assert one.raw.excerpt == "key = …"
