"""Error handling: what happens when something fails."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="errors",
    label="Error handling",
    version="1",
    focus="""\
Look at what happens when a call fails: files, network, database, parsing, other services, the user. For each such call
ask: who learns of it, what state is left behind, and does the program go on with a value that is not there? Look for
failures that turn into a success, and for clean-up that a failure skips.""",
    leave="""\
- An error that is passed on to a caller who handles it, or that ends the program with its message.
- A deliberate "best effort" whose comment or name says so and whose failure nobody needs to know.
- Broad handlers at an outermost border that log the whole error or answer with a failure.
- Wishes for more logging, better messages, retries or own exception classes.""",
    severities={
        "critical": "a failure is taken for success and data is lost or wrongly acknowledged",
        "high": "a failure in ordinary use goes unseen or leaves a wrong state behind",
        "medium": "a rare failure goes unseen, or the cause of a seen one is lost",
        "low": "people get the wrong message or the wrong status, nothing else",
    },
    rules=(
        Rule(
            "errors/swallowed",
            "Failure disappears",
            "high",
            "An exception, error value or rejected promise is caught and nothing is raised, returned or recorded; an "
            "empty catch; `_ =` on an error that matters; a callback that ignores its error argument.",
        ),
        Rule(
            "errors/success-after-failure",
            "Failure is reported as success",
            "critical",
            "After a failure the code goes on to the path of success: it returns ok, marks the work done, acknowledges "
            "the message, deletes the source.",
        ),
        Rule(
            "errors/unchecked-result",
            "Result is used before its error is checked",
            "high",
            "A status code, error value, -1, Optional or partial read is not looked at, yet the value is used.",
        ),
        Rule(
            "errors/too-broad",
            "Handler catches more than it can handle",
            "medium",
            "A handler meant for one failure also takes programming errors, cancellation or interrupts, and treats "
            "them as that failure, so that they are hidden or retried.",
        ),
        Rule(
            "errors/cause-lost",
            "Cause of the failure is thrown away",
            "medium",
            "An error is replaced by one that no longer says what failed, where nobody can find it out later: the "
            "original is neither chained nor recorded.",
        ),
        Rule(
            "errors/half-done",
            "Failure leaves half of a change",
            "high",
            "Several writes that belong together without a transaction, or with the first published before the last is "
            "sure; no undo when a later step fails.",
        ),
        Rule(
            "errors/no-cleanup",
            "Failure skips the clean-up",
            "high",
            "A lock, file, connection, temporary file or flag is released only on the path without an exception or "
            "early return.",
            family="resource-leak",
        ),
        Rule(
            "errors/fail-open",
            "Failing check lets through",
            "high",
            "When a check of rights, limits, signatures or validity fails to run, the code goes on as if it passed.",
        ),
        Rule(
            "errors/retry",
            "Retry repeats what must not be repeated, or never ends",
            "medium",
            "A retry without limit or wait, of a call that is not idempotent, or of an error that will not go away.",
        ),
        Rule(
            "errors/wrong-type",
            "Handler waits for an error that does not come",
            "medium",
            "The caught type is not what the call raises, the order of handlers hides the narrower one, an async error "
            "is caught where it cannot arrive.",
        ),
        Rule(
            "errors/finally",
            "Clean-up hides the error",
            "medium",
            "A return, break or raise in finally or defer replaces the error that was on its way; a clean-up that "
            "fails when the set-up had failed.",
        ),
        Rule(
            "errors/crash-on-input",
            "Bad input ends the whole program",
            "high",
            "A panic, unwrap, exit or uncaught exception that one bad message, row or request can cause in code that "
            "serves others too.",
        ),
    ),
)
