"""What an analyzer is: its rules, its severity table, the question that it asks, and how it reads the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, Field, field_validator

from analysis.plain import Ask, FileFacts, Files, Level, Overview, Place, RawFinding, Severity
from analysis.prompting import read_answer, told
from nyxcore.fencing import data_rule, fence

MOST_FINDINGS = 10  # of one chunk and analyzer
MOST_EVIDENCE = 3
MOST_EXAMPLES = 8
TITLE = 80  # characters
MAX_TOKENS = 8_000

SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low")
LEVELS: Mapping[Severity, Level] = {"critical": "error", "high": "error", "medium": "warning", "low": "note"}

# Languages that hold no logic of their own; the paid analyzers leave them out unless they ask for them. An unknown
# language is looked at: to leave it out in silence would be worse.
PROSE = frozenset(
    {"markdown", "rst", "text", "plain-text", "csv", "svg", "asciidoc", "tex", "diff", "pofile", "groff"}
)
SETTINGS = frozenset({"json", "yaml", "toml", "ini", "xml", "html", "css", "scss", "properties", "dotenv"})
_TEST = re.compile(
    r"(?:^|/)(?:tests?|__tests__|testdata)/"
    r"|(?:^|/)(?:test_[^/]+|conftest)\.py$|_test\.(?:py|go|rb)$|\.(?:test|spec)\.[jt]sx?$|Tests?\.java$"
)


@dataclass(frozen=True)
class Rule:
    """One kind of fault. `family` joins rules of several analyzers that name the same fault."""

    id: str
    title: str
    severity: Severity  # where nothing in the code makes it better or worse
    text: str  # what counts, and what does not
    family: str = ""

    @property
    def kin(self) -> str:
        return self.family or self.id


@dataclass(frozen=True)
class Dismissed:
    """A finding that a person has turned down, as an example for what not to report again."""

    rule_id: str
    path: str
    excerpt: str
    reason: str


def is_test(path: str) -> bool:
    return bool(_TEST.search(path))


def is_code(file: FileFacts) -> bool:
    return file.language not in PROSE and file.language not in SETTINGS


@dataclass(frozen=True)
class Analyzer:
    """One check. What is raised by `version` makes its stored answers stale."""

    name: str
    label: str
    version: str
    rules: tuple[Rule, ...]
    severities: Mapping[Severity, str]  # what each word means here
    paid: bool = field(default=True, kw_only=True)

    @property
    def rule_ids(self) -> frozenset[str]:
        return frozenset(rule.id for rule in self.rules)

    def select(self, files: Files) -> list[FileFacts]:
        """The files that this analyzer wants to see: those that were read."""
        return [file for file in files if file.read]


@dataclass(frozen=True)
class ModelAnalyzer(Analyzer):
    """A check that asks a model."""

    focus: str  # what to look for and how, in this analyzer's own words
    leave: str  # what looks like a finding and is none
    tests: bool = False  # whether test files are looked at
    settings: bool = False  # whether configuration, markup and data files are

    def select(self, files: Files) -> list[FileFacts]:
        """Code that was read; tests and settings where this analyzer looks at them."""
        return [
            file
            for file in super().select(files)
            if (is_code(file) or (self.settings and file.language in SETTINGS))
            and (self.tests or not is_test(file.path))
        ]

    def ask(
        self,
        rendered_chunk: str,
        overview: Overview,
        marker: str,
        dismissed_examples: Sequence[Dismissed] = (),
    ) -> Ask:
        """The question about one chunk, whose lines are numbered and whose files are named."""
        parts = [fence(marker, "source", rendered_chunk)]
        if dismissed_examples:
            parts.append(fence(marker, "dismissed", _examples(dismissed_examples)))
            parts.append("People have dismissed the findings above. Do not report the like of them again.")
        parts.append(
            f"Examine the source for the faults of your rules: {self.label.lower()}. Report at most "
            f"{MOST_FINDINGS} findings, the most severe first. An empty list is a good answer."
        )
        return Ask(
            system=self.system(marker),
            shared=fence(marker, "overview", told(overview)),
            prompt="\n\n".join(parts),
            schema=findings_schema(self.rules),
            max_tokens=MAX_TOKENS,
        )

    def system(self, marker: str) -> str:
        """Task, rules, severity table and rubric: our own words only, alike for every chunk of a run."""
        return SYSTEM.format(
            label=self.label.lower(),
            focus=self.focus.strip(),
            leave=self.leave.strip(),
            rules="\n".join(
                f"- {rule.id} ({rule.severity}): {rule.title}. {rule.text}" for rule in self.rules
            ),
            severities="\n".join(f"- {word}: {self.severities[word]}" for word in SEVERITIES),
            most=MOST_FINDINGS,
            data=data_rule(marker),
        )

    def parse(self, text: str) -> list[RawFinding]:
        """The findings of an answer, the most severe first; BadAnswer where it does not fit the schema."""
        claims = read_answer(text, _Answer).findings
        found = [claim.raw() for claim in claims]
        found.sort(key=lambda raw: (SEVERITIES.index(raw.severity), -raw.confidence))
        return found[:MOST_FINDINGS]


SYSTEM = """\
You review source code. Your only subject in this review is: {label}. Other reviewers look at everything else.

{focus}

# Rules
Report only what one of these rules names. The word in brackets is the usual severity.
{rules}

# What is no finding
{leave}
- Style, naming, formatting, missing docstrings, comments, type hints or unused imports: linters do that.
- Advice without a fault ("consider", "might be good to"), praise, summaries of what the code does.
- Anything that depends on code you cannot see. If a caller, a setting or a middleware that you do not see may well
  take care of it, it is no finding.

# What makes a finding
1. Discrete: one fault at one place. Two faults are two findings; one fault repeated is one finding with evidence.
2. Provable from the lines shown: name the input, the state or the order of events that makes it go wrong, and what
   then happens. If you cannot name one, leave it out. No speculation about what others may do some day.
3. Actionable: the author would change the code on reading it, and knows what to change.
4. Real in this code as it is used here. Read callers, guards and types in the data before you claim that a value can
   be missing, negative, foreign or shared.
Before you answer, try to refute each finding from the data. Keep only those that survive.

# Severity
Choose by this table, by what happens and not by how it looks; go below the usual one where the path is rare.
{severities}

# How to write one
- rule_id: exactly one of the ids above.
- title: at most 80 characters, the fault and not the cure.
- message: one paragraph. What is wrong, when it bites, what then happens, and why.
- path: as the data names the file. excerpt: one to five consecutive lines of that file, copied letter by letter, the
  lines where the fault is, without the numbers in front and without leaving lines out. A program looks the quote up
  in the file and throws away what it does not find. Never quote a lone brace or a comment.
- start_line: the number in front of the first quoted line.
- confidence: 0 to 1, how sure you are that the fault is real.
- suggestion: the smallest change that mends it, in one or two sentences or a few lines of code.
- evidence: up to three further places that the claim rests on (the other side of a contract, the second copy), quoted
  in the same way; an empty list where one place says it all.
At most {most} findings, the most severe first. Many chunks hold no fault of these rules: an empty list is a good
answer, and a wrong finding costs more than a missing one.

# The data
{data}"""


def _examples(dismissed: Sequence[Dismissed]) -> str:
    return "\n\n".join(
        f"{one.rule_id} in {one.path}: {one.reason}\n{one.excerpt}" for one in dismissed[:MOST_EXAMPLES]
    )


# --- schema and validation ------------------------------------------------------------------------------------
# The API enforces neither ranges nor lengths nor counts, so the schema says them and the models below hold to them.


def findings_schema(rules: Sequence[Rule]) -> dict[str, Any]:
    """The JSON schema of an answer: a bounded list of findings, each by one of `rules`.

    `x-practice` tells the practice model what to fill in; it never leaves for a vendor.
    """
    place: dict[str, Any] = {
        "path": {"type": "string", "x-practice": "path"},
        "excerpt": {
            "type": "string",
            "description": "1 to 5 consecutive lines, copied letter by letter",
            "x-practice": "quote",
        },
        "start_line": {"type": "integer", "minimum": 1, "x-practice": "line"},
    }
    finding: dict[str, Any] = {
        "rule_id": {"type": "string", "enum": [rule.id for rule in rules]},
        "title": {"type": "string", "maxLength": TITLE, "x-practice": "title"},
        "message": {"type": "string", "x-practice": "text"},
        "severity": {"type": "string", "enum": list(SEVERITIES)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        **place,
        "suggestion": {"type": "string", "x-practice": "text"},
        "evidence": {
            "type": "array",
            "maxItems": MOST_EVIDENCE,
            "items": _object(place),
            "x-practice": "none",
        },
    }
    found = {"type": "array", "maxItems": MOST_FINDINGS, "items": _object(finding)}
    return _object({"findings": found})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    """An object that has all of `properties` and nothing else, as strict vendors want it."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


class _Place(BaseModel):
    path: str = Field(min_length=1)
    excerpt: str
    start_line: int = 0

    @field_validator("start_line")
    @classmethod
    def _not_below_zero(cls, line: int) -> int:
        return line if 0 <= line < 2**31 else 0  # a hint only

    def place(self) -> Place:
        return Place(self.path, self.excerpt, self.start_line)


class _Claim(_Place):
    rule_id: str
    title: str = Field(min_length=1)
    message: str = Field(min_length=1)
    severity: Severity
    confidence: float = 0.5
    suggestion: str = ""
    evidence: list[_Place] = Field(default_factory=list)

    @field_validator("confidence")
    @classmethod
    def _between(cls, value: float) -> float:
        return min(max(value, 0.0), 1.0) if value == value else 0.0  # NaN is not itself

    def raw(self) -> RawFinding:
        return RawFinding(
            rule_id=self.rule_id,
            title=" ".join(self.title.split())[:TITLE],
            message=self.message.strip(),
            severity=self.severity,
            level=LEVELS[self.severity],
            path=self.path,
            excerpt=self.excerpt,
            start_line=self.start_line,
            confidence=self.confidence,
            suggestion=self.suggestion.strip(),
            evidence=tuple(one.place() for one in self.evidence[:MOST_EVIDENCE]),
        )


class _Answer(BaseModel):
    findings: list[_Claim]
