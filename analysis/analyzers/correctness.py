"""Correctness: code that computes, decides or stores something wrong."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="correctness",
    label="Correctness bugs",
    version="1",
    focus="""\
Look for code that does something else than it is plainly meant to do: a wrong result, a wrong branch, a value lost or
overwritten, a crash on input that will come. What it is meant to do you learn from names, docstrings, types, callers
and tests in the data. For each function ask: what does it do for nothing, for one, for the last, for two that are
equal, for a negative number, for a second call? Follow each value from where it is made to where it is used.""",
    leave="""\
- A crash on input that a caller or a check in the data rules out, or that no caller could mean.
- Behaviour that is unusual but said to be meant, by a comment, a name or a test.
- Missing validation as such; insecure handling, lost errors, races and slow code have reviewers of their own.""",
    severities={
        "critical": "stored data is destroyed or corrupted, or money or rights are computed wrongly, in ordinary use",
        "high": "a wrong result or a crash on input that ordinary use brings",
        "medium": "a wrong result or a crash on input that is rare but legitimate",
        "low": "wrong only in a corner that does little harm, such as a wrong message or a wasted retry",
    },
    rules=(
        Rule(
            "correctness/off-by-one",
            "Bound is off by one",
            "high",
            "A loop, slice, range, page or limit takes one element too many or too few, or runs past the end.",
        ),
        Rule(
            "correctness/wrong-condition",
            "Condition says something else than meant",
            "high",
            "An inverted test, `and` for `or`, a missing negation, a comparison in the wrong direction, a branch that "
            "can never or will always be taken, an assignment where a comparison is meant.",
        ),
        Rule(
            "correctness/missing-value",
            "Value that may be missing is used",
            "high",
            "None, null, undefined, nil, an empty list or an absent key is used as if it were there, on a path that "
            "the data shows can happen (a lookup that returns nothing, an optional field, the first run).",
        ),
        Rule(
            "correctness/wrong-operand",
            "Wrong variable, argument or field",
            "high",
            "The code works on another variable than it means: swapped arguments, a copied line with one name left "
            "unchanged, the outer variable in place of the inner, a field of the wrong object.",
        ),
        Rule(
            "correctness/shared-default",
            "State is shared that should be fresh",
            "high",
            "A mutable default argument, a class attribute, a module global or an aliased list or map that several "
            "calls or objects change although each is meant to have its own.",
        ),
        Rule(
            "correctness/late-binding",
            "Closure sees the last value of a loop",
            "medium",
            "A function or callback made in a loop uses the loop variable later, when it has moved on, in a language "
            "and version where the variable is shared by all turns.",
        ),
        Rule(
            "correctness/changed-while-iterated",
            "Collection is changed while it is walked",
            "high",
            "Elements are added or removed during iteration, so that some are skipped or the walk fails.",
        ),
        Rule(
            "correctness/number",
            "Number loses its value",
            "high",
            "Integer division or truncation where a fraction counts, overflow of a fixed width, money in floating "
            "point that is compared or summed for equality, rounding the wrong way, mixed units.",
        ),
        Rule(
            "correctness/comparison",
            "Comparison by the wrong notion of equality",
            "medium",
            "Identity in place of equality (`is`, `==` on Java strings), type-coercing equality, equality without "
            "hash, floats compared with ==, numbers or versions compared or sorted as text.",
        ),
        Rule(
            "correctness/time",
            "Time or date is computed wrongly",
            "medium",
            "Naive and aware times mixed, a day taken as 24 hours, months counted from zero, local time stored as UTC, "
            "a time measured with a clock that can be set back.",
        ),
        Rule(
            "correctness/encoding",
            "Text, bytes or escapes are mixed up",
            "medium",
            "Bytes cut in the middle of a character, text decoded or escaped twice or never, length of bytes used as "
            "length of text, a pattern whose special characters are not escaped.",
        ),
        Rule(
            "correctness/lost-result",
            "Result is computed and not used",
            "high",
            "The value of a pure call is dropped (a string method, `sorted`, `append` in Go), a promise or coroutine "
            "is never awaited, a return is missing on one path, an update is applied to a copy.",
        ),
        Rule(
            "correctness/fall-through",
            "Case falls through or is missing",
            "medium",
            "A switch case runs into the next one, an enum value or a status has no branch and ends in the wrong "
            "default, an `else` belongs to another `if`.",
        ),
        Rule(
            "correctness/contract",
            "Caller and callee do not agree",
            "high",
            "A call in the data passes or expects something else than the definition in the data takes or returns: "
            "order, unit, type, a tuple for a value, a renamed key. Quote the other side as evidence.",
        ),
    ),
)
