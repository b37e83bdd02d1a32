"""Architecture and duplication: what makes the next change break something."""

from analysis.analyzers.base import ModelAnalyzer, Rule

ANALYZER = ModelAnalyzer(
    name="architecture",
    label="Architecture and duplication",
    version="1",
    focus="""\
Look for structure that makes the next change go wrong: one decision that stands in several places, layers that reach
around each other, code that nothing can reach, promises between modules that nothing holds. Judge by this repository's
own conventions, as the overview tells them, not by your taste. A finding names the change that somebody will make and
what will then break or be forgotten. Claims about two places need both: quote the second one as evidence.""",
    leave="""\
- Size, complexity, naming, file layout, missing patterns, missing abstraction, missing comments as such.
- Duplication of a few lines, of boilerplate, of tests, or of code that only looks alike and changes for other reasons.
- "Unused" code that you cannot know to be unused: public interfaces, handlers found by name, templates, plugins.
- Large rewrites. The suggestion is a step that fits into one change.""",
    severities={
        "critical": "the parts already contradict each other, and users get wrong results today",
        "high": "the copies or layers have begun to differ, or the next ordinary change will miss one of them",
        "medium": "a change in one place silently needs another one elsewhere",
        "low": "dead or misplaced code that misleads readers",
    },
    rules=(
        Rule(
            "architecture/diverged-copy",
            "Copies of the same logic differ",
            "high",
            "Two or more copies of one rule or computation, one of which was changed and the others not. Quote both.",
        ),
        Rule(
            "architecture/duplicated-logic",
            "One decision stands in several places",
            "medium",
            "A business rule, a format, a calculation or a list of cases of ten lines or more (or a rule that must "
            "agree exactly) repeated. Quote both.",
        ),
        Rule(
            "architecture/scattered-constant",
            "Value that must agree is repeated",
            "medium",
            "A limit, key, name, address or format is written out in several places that must stay equal. Quote two.",
        ),
        Rule(
            "architecture/layer-bypass",
            "Layer reaches around another",
            "medium",
            "Code does itself what a layer of this repository exists for: SQL in a view past the services, a status "
            "written past the function that guards it. Quote the function that it goes around.",
        ),
        Rule(
            "architecture/cycle",
            "Modules need each other",
            "medium",
            "Two modules import each other, directly or by late imports, so that neither can be used or loaded alone.",
        ),
        Rule(
            "architecture/hidden-coupling",
            "Unwritten agreement between modules",
            "medium",
            "A module works only if another one was called before, sets a global, keeps an order or a private field; "
            "nothing checks it.",
        ),
        Rule(
            "architecture/dead-code",
            "Code that cannot be reached",
            "low",
            "Statements after a return, branches excluded by an earlier one, a flag that is never set, a private "
            "function of this chunk that nothing calls and nothing can find by name.",
        ),
        Rule(
            "architecture/misleading-name",
            "Name or document says the opposite",
            "medium",
            "A function, option or document promises something that the code does not do, so that callers in the data "
            "rely on it. Not: a name that could be better.",
        ),
        Rule(
            "architecture/leaky-interface",
            "Inside of a module leaks out",
            "low",
            "Callers depend on internals (private fields, storage format, raw rows), so the module cannot change "
            "without them. Quote a caller.",
        ),
        Rule(
            "architecture/flag-argument-split",
            "One function is two",
            "low",
            "A parameter switches between behaviours that share nothing, and a caller in the data passes the wrong one "
            "or cannot know which.",
        ),
    ),
)
