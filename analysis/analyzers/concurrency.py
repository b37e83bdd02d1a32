"""Concurrency and resource handling: what goes wrong when two things happen at once, or when nothing is given back."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="concurrency",
    label="Concurrency and resource handling",
    version="1",
    focus="""\
Look for state that threads, tasks, processes, requests or machines share, and for things that must be given back.
For each shared value ask who else may read or write it between two lines. A finding on a race names the two parties and
the order of events that breaks it. For each thing that is opened, taken or started ask on which path it stays open.""",
    leave="""\
- State that only one thread or one request ever sees, or that the language makes atomic and that is used as such.
- Code that no second party can reach in the data: a script, a single-threaded event loop without an await in between.
- Objects that a context manager, defer, RAII or the framework closes.
- Wishes for other libraries, pools or patterns.""",
    severities={
        "critical": "a race or a deadlock in ordinary use destroys data, pays twice or stops the service",
        "high": "under ordinary load updates are lost, work is done twice, or resources run out in time",
        "medium": "goes wrong only in a narrow window or after a rare failure",
        "low": "a leak or a race whose harm is small and passes by itself",
    },
    rules=(
        Rule(
            "concurrency/check-then-act",
            "Check and act are two steps",
            "high",
            "What was checked can change before it is acted on: exists-then-create, read-then-spend, get-or-create "
            "without a constraint, a file tested and then opened.",
        ),
        Rule(
            "concurrency/lost-update",
            "Concurrent updates overwrite each other",
            "high",
            "A value is read, changed and written back whole without a lock, a version or an atomic update, and others "
            "may write in between.",
        ),
        Rule(
            "concurrency/unguarded-state",
            "Shared state without its lock",
            "high",
            "A variable, map or object is written by one thread while another reads or writes it, without lock or "
            "atomic; the lock is taken on one path and not on another.",
        ),
        Rule(
            "concurrency/deadlock",
            "Parties can wait for each other",
            "critical",
            "Locks taken in two orders, a lock taken again that is not reentrant, waiting for a task while holding "
            "what it needs, sending on a channel that nobody reads any more.",
        ),
        Rule(
            "concurrency/lock-not-released",
            "Lock is kept on some path",
            "high",
            "An exception, return or panic between taking and giving back, without finally, defer or with.",
            family="resource-leak",
        ),
        Rule(
            "concurrency/leaked-handle",
            "Opened and never closed",
            "high",
            "A file, socket, response body, cursor, connection, process or temporary file is not closed on some path, "
            "in code that runs often.",
            family="resource-leak",
        ),
        Rule(
            "concurrency/leaked-task",
            "Task or thread never ends",
            "high",
            "A goroutine, thread, timer, subscription or listener that has no way to end, or that piles up.",
        ),
        Rule(
            "concurrency/unawaited-task",
            "Background work is started and forgotten",
            "medium",
            "A task whose failure nobody sees, that may be collected before it ends, or whose end the program does not "
            "wait for although its effect is needed.",
        ),
        Rule(
            "concurrency/captured-variable",
            "Tasks share a variable that moves on",
            "high",
            "A goroutine, thread or task started in a loop or handler uses a variable that the starter changes later.",
            family="correctness/late-binding",
        ),
        Rule(
            "concurrency/unsafe-publication",
            "Object is seen before it is complete",
            "medium",
            "Double-checked locking without volatile, a half-built object or a flag without ordering made visible to "
            "other threads, a shared object that is not made for threads (formatters, sessions, generators).",
        ),
        Rule(
            "concurrency/transaction",
            "Transaction does not protect what it should",
            "high",
            "Rows read for a decision are not locked, the effect outside (mail, message, payment) is sent before the "
            "commit, a network call is made while rows are locked.",
        ),
        Rule(
            "concurrency/not-idempotent",
            "Delivery twice does it twice",
            "high",
            "A handler of messages, webhooks or retried jobs has an effect that a second delivery repeats, and nothing "
            "recognises the repetition.",
        ),
        Rule(
            "concurrency/async-blocking-lock",
            "Await or wait while a lock is held",
            "medium",
            "A thread lock held over an await, a lock held over input and output so that all others stand still.",
        ),
    ),
)
