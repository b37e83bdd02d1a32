"""Tests: those that prove nothing, and those that fail for no reason."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="testing",
    label="Tests",
    version="1",
    tests=True,
    focus="""\
Look at tests as evidence. For each test ask: which fault in the code would make it fail? If the answer is none, that is
a finding. Then ask: what can make it fail although the code is right (time, order, network, another test)? For code
without tests report only what is both risky and plainly left out by the tests in the data.""",
    leave="""\
- Missing tests in general, wishes for more coverage, more cases, other tools, other names, fewer mocks.
- Code whose tests may stand in files that you do not see. Say "not tested" only where the data holds the test file of
  this code and it leaves the case out.
- Long or repetitive tests, fixtures, magic numbers.""",
    severities={
        "critical": "a test states that dangerous behaviour is right, or destroys real data when run",
        "high": "a test can never fail, or hides the failure of what it is for",
        "medium": "a test fails now and then without a fault, or leaves out the case that its name promises",
        "low": "a weaker assertion than the code at hand allows",
    },
    rules=(
        Rule(
            "testing/no-assertion",
            "Test cannot fail",
            "high",
            "Nothing is asserted, the assertion stands in a branch or callback that does not run, an assertion is "
            "always true (a tuple, a constant, a value compared with itself).",
        ),
        Rule(
            "testing/tests-the-double",
            "Test checks its own double",
            "high",
            "What is asserted comes from the mock or stub, or the part under test is itself replaced.",
        ),
        Rule(
            "testing/swallowed-failure",
            "Failure is caught inside the test",
            "high",
            "A try, a broad `raises`, an ignored error or a promise that is not awaited makes the test pass when the "
            "code fails; `raises` around several lines of which an earlier one may raise.",
        ),
        Rule(
            "testing/time-dependent",
            "Test depends on time or speed",
            "medium",
            "Sleeping for a fixed time, comparing with now, asserting a duration, a date that will pass.",
        ),
        Rule(
            "testing/order-dependent",
            "Tests depend on each other",
            "medium",
            "State left in a global, a file, a database, the environment or a class attribute that another test needs "
            "or that breaks it.",
        ),
        Rule(
            "testing/unordered",
            "Test relies on an order that nothing promises",
            "medium",
            "Rows without ORDER BY, sets, maps, threads or directory listings compared as a list.",
        ),
        Rule(
            "testing/outside-world",
            "Test needs the world outside",
            "medium",
            "A real network address, an account, the developer's files or settings, a fixed port.",
        ),
        Rule(
            "testing/wrong-expectation",
            "Expected value is wrong or copied from the fault",
            "high",
            "The test asserts what contradicts the documented or evident purpose of the code in the data.",
        ),
        Rule(
            "testing/name-and-body-differ",
            "Test does not test what it is named after",
            "medium",
            "The case in the name or docstring is not the one that is set up or asserted.",
        ),
        Rule(
            "testing/disabled",
            "Test is switched off without a way back",
            "medium",
            "Skipped, commented out, marked as expected to fail, or filtered away, with no condition or reason that "
            "could end it, while the code it covers is in use.",
        ),
        Rule(
            "testing/missing-case",
            "Risky branch is left out",
            "low",
            "The test file of this code is in the data and leaves out a branch that deletes, pays, grants rights or "
            "handles failure. Quote the branch, and the tests as evidence.",
        ),
        Rule(
            "testing/leak",
            "Test leaves something running or changed",
            "medium",
            "A server, process, patch, environment variable or temporary file that is not undone when the test fails.",
        ),
    ),
)
