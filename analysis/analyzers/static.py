"""What needs no model and no key: secrets, conflict markers, binaries, large files, TODO debt, and ruff.

Its findings are made from lines that it has read itself, so they need no locating (`locate.claimed`). The excerpt of
a secret shows where it stands and never what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Protocol

from analysis.analyzers.base import LEVELS, SEVERITIES, TITLE, Analyzer, Rule
from analysis.analyzers.linting import LintResult, run_ruff
from analysis.errors import heed
from analysis.plain import FileFacts, Files, RawFinding, Severity, Texts
from nyxcore.llm.base import StopSignal

MOST_OF_FILE = 100  # findings of one rule in one file
MOST = 10_000  # findings in all
LARGE = 1_000_000  # bytes
HUGE = 10_000_000
BUILT = re.compile(
    r"\.(?:exe|dll|so|dylib|o|obj|a|lib|class|jar|war|py[cod]|whl|egg|apk|msi|deb|rpm|dmg|iso"
    r"|zip|tar|t?gz|bz2|xz|7z|rar|sqlite3?|db|dump|bak)$",
    re.IGNORECASE,
)
FIRST, MIDDLE, LAST = "<<<<<<< ", "=======", ">>>>>>> "
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b[:( ]*")
OPENS_COMMENT = re.compile(r"#|//|/\*|^\s*\*|--|<!--|;|%|\"\"\"|'''")
NO_DEBT = frozenset({"markdown", "rst", "text", "plain-text", "json", "csv", "svg"})
NAME = re.compile(r"[^=:]*?(?<![\w.-])([A-Za-z_][\w.-]{0,59})[\"']?\s*([=:])")
LONG_AND_MIXED = re.compile(r"(?=[^\d]*\d)\S{12,}")  # may itself be the secret
HIDDEN = "[line with a secret, not shown]"

RULES = (
    Rule(
        "static/secret",
        "Secret in the source",
        "critical",
        "A key, token or password by its form. Whoever can read the repository, or its history, has it.",
    ),
    Rule(
        "static/conflict-marker",
        "Merge conflict was committed",
        "high",
        "The three marks of an unresolved merge stand in the file.",
    ),
    Rule(
        "static/committed-binary",
        "Built or packed file is committed",
        "low",
        "Programs, archives, compiled code and databases: nobody can review them, and every version stays.",
    ),
    Rule("static/large-file", "Large file is committed", "low", "More than a megabyte in one file."),
    Rule(
        "static/todo",
        "Work that was put off",
        "low",
        "TODO, FIXME, XXX or HACK in a comment: the authors' own list of what is not done.",
    ),
    Rule(
        "static/ruff-error",
        "ruff: broken code",
        "high",
        "Syntax errors, undefined names and the like (E9, F without unused imports, PLE).",
    ),
    Rule("static/ruff-bug", "ruff: likely bug", "medium", "Patterns that are mostly bugs (B, BLE)."),
    Rule(
        "static/ruff-security", "ruff: risky call", "low", "Calls that are often unsafe (S, without asserts)."
    ),
    Rule(
        "static/ruff-async",
        "ruff: async fault",
        "medium",
        "Blocking calls and lost tasks in async code (ASYNC).",
    ),
)
SEVERITY: Mapping[str, Severity] = {rule.id: rule.severity for rule in RULES}
FAMILIES = (
    ("S", "security"),
    ("ASYNC", "async"),
    ("BLE", "bug"),
    ("B", "bug"),
    ("PLE", "error"),
    ("", "error"),
)
# What of a family is more or less than its usual severity.
WEIGHTS: Mapping[str, Severity] = {
    **dict.fromkeys(("S102", "S301", "S506", "S602", "S605", "S608", "S501", "S701"), "medium"),
    **dict.fromkeys(("F811", "F841", "F541", "F601", "B007", "B904", "B905"), "low"),
    **dict.fromkeys(("B006", "B023", "B012", "B017"), "medium"),
}


class Hit(Protocol):
    @property
    def rule(self) -> str: ...
    @property
    def line(self) -> int: ...


SecretScan = Callable[[str, str], Iterable[Hit]]
Linter = Callable[[Mapping[str, str]], LintResult]


@dataclass(frozen=True)
class Scan:
    """What was found, and in sentences what could not be looked at."""

    findings: list[RawFinding]
    notes: list[str]


@dataclass(frozen=True)
class StaticAnalyzer(Analyzer):
    """The analyzer without a model."""

    def scan(
        self,
        files: Files,
        texts: Texts,
        *,
        secrets: SecretScan | None = None,
        linter: Linter = run_ruff,
        stop: StopSignal | None = None,
    ) -> Scan:
        """Look at the whole manifest and at the text of what was read."""
        secrets = secrets or _own_secrets
        found = _Bearable()
        found.add(_by_size(files))
        shown: dict[
            str, list[str]
        ] = {}  # the lines of each file; one with a secret in it is hidden from all excerpts
        for path, text in texts.items():
            heed(stop)
            lines = shown[path] = text.split("\n")
            for hit in secrets(path, text):
                lines[hit.line - 1] = masked(lines[hit.line - 1])
                found.add([_secret(path, hit, lines[hit.line - 1])])
            found.add(_conflicts(path, lines))
        for file in files:
            if file.path in shown and file.language not in NO_DEBT:
                found.add(_debt(file.path, shown[file.path]))
        python = {
            file.path: texts[file.path] for file in files if file.language == "python" and file.path in texts
        }
        linted = linter(python) if python else LintResult()
        found.add(_linted(linted, shown))
        kept = found.kept()
        return Scan(kept, [*linted.notes, *_left_out(found.counts.total() - len(kept))])


class _Bearable:
    """So many of one kind in one file, and so many in all: the most severe stay, then the first ones.

    A source of a few megabytes can hold a million of them, which nobody reads and no table bears.
    """

    def __init__(self) -> None:
        self.found: list[RawFinding] = []
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, found: Iterable[RawFinding]) -> None:
        for raw in found:
            self.counts[raw.path, raw.rule_id] += 1
            if self.counts[raw.path, raw.rule_id] <= MOST_OF_FILE:
                self.found.append(raw)

    def kept(self) -> list[RawFinding]:
        """What stays, in the order of the files."""
        self.found.sort(key=lambda raw: (SEVERITIES.index(raw.severity), raw.path, raw.start_line))
        return sorted(self.found[:MOST], key=lambda raw: (raw.path, raw.start_line, raw.rule_id))


def _left_out(number: int) -> list[str]:
    if not number:
        return []
    said = "findings are" if number > 1 else "finding is"
    return [f"{number:,} {said} left out: too many of one kind in one file, or in all."]


def _own_secrets(path: str, text: str) -> Iterable[Hit]:
    from analysis.secrets import scan

    return scan(path, text)


def _finding(
    rule: str, path: str, line: int, excerpt: str, title: str, message: str, **more: Any
) -> RawFinding:
    severity: Severity = more.pop("severity", SEVERITY[rule])
    return RawFinding(
        rule_id=rule,
        title=shorten(title, TITLE, placeholder=" …"),
        message=message,
        severity=severity,
        level=LEVELS[severity],
        path=path,
        excerpt=excerpt,
        start_line=line,
        confidence=more.pop("confidence", 0.9),
        **more,
    )


def _by_size(files: Files) -> Iterator[RawFinding]:
    for file in files:
        built = BUILT.search(file.path)
        if built and not file.read:
            yield _finding(
                "static/committed-binary",
                file.path,
                1,
                "",
                f"Built or packed file ({built[0]}) in the repository",
                f"`{file.path}` ({_size(file)}) is made from something else or cannot be read in a review. Every "
                "version of it stays in the history.",
                suggestion="Build or download it where it is needed, and add the pattern to .gitignore.",
            )
        elif file.size >= LARGE:
            yield _finding(
                "static/large-file",
                file.path,
                1,
                "",
                f"File of {_size(file)} in the repository",
                f"`{file.path}` makes every clone larger by its size, in every version that it has had.",
                severity="medium" if file.size >= HUGE else "low",
                suggestion="Keep it outside, or in large-file storage.",
            )


def _size(file: FileFacts) -> str:
    return f"{file.size / 1e6:.1f} MB" if file.size >= 100_000 else f"{file.size:,} bytes"


def _secret(path: str, hit: Hit, shown: str) -> RawFinding:
    return _finding(
        "static/secret",
        path,
        hit.line,
        shown,
        f"Looks like {getattr(hit, 'label', '') or f'a secret: {hit.rule}'}",
        "Whoever can read the repository can use it. Taking it out of the newest version does not take it out of "
        "the history.",
        suggestion="Revoke it, then read the new one from the environment or a store of secrets.",
    )


def masked(line: str) -> str:
    """The name that a line gives to its secret, and nothing of the secret."""
    named = NAME.match(line.strip())
    if named is None or LONG_AND_MIXED.search(named[1]):
        return HIDDEN
    return f"{named[1]} {named[2]} …"


def _conflicts(path: str, lines: Sequence[str]) -> Iterator[RawFinding]:
    start = middle = 0
    for number, line in enumerate(lines, 1):
        if line.startswith(FIRST):
            start, middle = number, 0
        elif start and line.rstrip() == MIDDLE:
            middle = number
        elif middle and line.startswith(LAST):
            yield _finding(
                "static/conflict-marker",
                path,
                start,
                lines[start - 1],
                "Merge conflict was committed",
                f"The marks in lines {start}, {middle} and {number} are left from a merge: both versions are there.",
                suggestion="Decide for one version and remove the marks.",
            )
            start = middle = 0


def _debt(path: str, lines: Sequence[str]) -> Iterator[RawFinding]:
    for number, line in enumerate(lines, 1):
        found = TODO.search(line)
        if found and OPENS_COMMENT.search(line[: found.start()]):
            text = line[found.end() :].strip(" */->").strip() or "no words"
            yield _finding(
                "static/todo",
                path,
                number,
                line,
                f"{found[1]}: {text}",
                f"The authors have put this off: {text}",
            )


def _linted(linted: LintResult, shown: Mapping[str, Sequence[str]]) -> Iterator[RawFinding]:
    for hit in linted.hits:
        rule = "static/ruff-" + next(word for prefix, word in FAMILIES if _is_of(hit.code, prefix))
        lines = shown[hit.path][hit.line - 1 : min(hit.end_line, hit.line + 4)]
        yield _finding(
            rule,
            hit.path,
            hit.line,
            "\n".join(lines),
            f"{hit.code}: {hit.message}",
            f"ruff {hit.code}: {hit.message}",
            severity=WEIGHTS.get(hit.code, SEVERITY[rule]),
            confidence=0.6,
        )


def _is_of(code: str, prefix: str) -> bool:
    return not prefix or (code.startswith(prefix) and code[len(prefix) :][:1].isdigit())


ANALYZER = StaticAnalyzer(
    name="static",
    label="Without a model",
    version="1",
    rules=RULES,
    severities={
        "critical": "whoever can read the repository can do harm with it",
        "high": "the code cannot run or be read as it stands",
        "medium": "mostly a bug, or a burden for everybody who clones",
        "low": "debt: worth knowing, no harm by itself",
    },
    paid=False,
)
