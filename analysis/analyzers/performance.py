"""Performance: work that grows faster than it has to."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="performance",
    label="Performance",
    version="1",
    focus="""\
Look for work that grows with the data or the load and need not: a query for each row, a quadratic loop, a whole table
or file in memory, a blocking call where everything waits. For each loop ask how often it runs in production and what
one turn costs. A finding names what grows, with what, and by how much.""",
    leave="""\
- Micro-optimisation: anything whose gain is a constant factor in code that is not shown to be hot.
- Loops over what is small by nature (settings, days of a week, fields of a form), start-up code, one-off scripts.
- Missing caches, indexes or pagination where nothing in the data shows the size or the frequency.
- Tests and benchmarks.""",
    severities={
        "critical": "ordinary growth makes the service stop answering, or one request can make it do so",
        "high": "requests or jobs take time or memory in proportion to all data, or its square",
        "medium": "clearly wasted work on a path that runs often",
        "low": "wasted work that is seen only with unusual amounts",
    },
    rules=(
        Rule(
            "performance/query-in-loop",
            "One query or request for each element",
            "high",
            "A database query, remote call or file opening inside a loop over rows, where one for all would do; a lazy "
            "relation that is read in a loop or template.",
        ),
        Rule(
            "performance/quadratic",
            "Work grows with the square",
            "high",
            "Nested walks over the same growing data, `in` on a list in a loop, repeated search, sort or copy of the "
            "whole in each turn, removing from the front of an array.",
        ),
        Rule(
            "performance/unbounded-memory",
            "Everything is held in memory",
            "high",
            "A whole table, file, answer or stream is read at once although it is worked on piece by piece and can be "
            "large; a list of all that is only counted.",
        ),
        Rule(
            "performance/unbounded-growth",
            "Cache or list grows for ever",
            "high",
            "A long-lived dictionary, list, map or set of listeners that only grows, keyed by something without bound.",
        ),
        Rule(
            "performance/blocking-call",
            "Blocking call where others wait",
            "high",
            "Synchronous input or output, sleeping or heavy computing in an event loop, an async function, a UI thread "
            "or while a lock is held.",
        ),
        Rule(
            "performance/no-timeout",
            "Call may wait for ever",
            "high",
            "A network call without a time-out, in code that holds a worker, a thread or a connection meanwhile, where "
            "the library has no default.",
        ),
        Rule(
            "performance/sequential-wait",
            "Independent waits one after the other",
            "medium",
            "Awaits or requests in a row that do not need each other, on a path where people wait.",
        ),
        Rule(
            "performance/repeated-work",
            "The same is computed again and again",
            "medium",
            "Something costly and unchanging is done in each turn or request: compiling a pattern, parsing a file, "
            "opening a connection or client, a query whose result is known.",
        ),
        Rule(
            "performance/too-much-fetched",
            "Far more is fetched than used",
            "medium",
            "All rows or columns to use a few, filtering, sorting or counting in the program what the database could "
            "do, no limit on a list that users make grow.",
        ),
        Rule(
            "performance/no-index",
            "Query cannot use an index",
            "medium",
            "A frequent query on a large table filters by a function of a column, a leading wildcard or a column that "
            "the schema in the data leaves without an index.",
        ),
        Rule(
            "performance/regex",
            "Pattern can take exponential time",
            "high",
            "Nested or overlapping repetition in a pattern that is applied to text from outside.",
        ),
        Rule(
            "performance/string-building",
            "Text is built by copying it each time",
            "medium",
            "Repeated concatenation or re-encoding of a growing text or byte string in a long loop, in a language "
            "where each one copies.",
        ),
    ),
)
