"""A folder of files with planted faults and an answer key: what the analyzers catch of them, and what they invent.

The same steps as in a run: ask, parse, locate, merge. Answers can be recorded and replayed, so that the figures can
be had without a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from analysis.analyzers import RULES, STATIC, Analyzer, ModelAnalyzer
from analysis.fingerprint import checked
from analysis.locate import FileIndex, check, claimed
from analysis.merge import merge, places
from analysis.plain import Ask, CheckedFinding, FileFacts, Overview
from analysis.prompting import BadAnswer, numbered
from analysis.quality import Claim

KEY = "key.yaml"
LANGUAGES = {
    ".py": "python",
    ".ts": "typescript",
    ".js": "javascript",
    ".go": "go",
    ".java": "java",
    ".rs": "rust",
}
MARKER = "corpus"  # a fixed one: these files are our own
FORMAT = "nyxcore-transcript/1"


@dataclass(frozen=True)
class Fault:
    path: str
    start: int
    end: int
    rules: tuple[str, ...]
    note: str

    def is_hit(self, finding: CheckedFinding) -> bool:
        """Whether a finding names this fault: one of its rules, and a line of it."""
        return finding.raw.rule_id in self.rules and any(
            path == self.path and start <= self.end and self.start <= end
            for path, start, end in places(finding)
        )


@dataclass(frozen=True)
class Corpus:
    texts: Mapping[str, str]
    faults: tuple[Fault, ...]
    clean: tuple[str, ...]

    @property
    def files(self) -> dict[str, FileFacts]:
        return {
            path: FileFacts(
                path,
                hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
                len(text.encode()),
                LANGUAGES[PurePosixPath(path).suffix],
                "utf-8",
                text.count("\n") + 1,
            )
            for path, text in self.texts.items()
        }


def load(folder: Path) -> Corpus:
    """Read the files below `folder` and its answer key."""
    key = yaml.safe_load((folder / KEY).read_text(encoding="utf-8"))
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.suffix in LANGUAGES
    }
    faults = tuple(
        Fault(one["path"], one["lines"][0], one["lines"][1], tuple(one["rules"]), one["note"])
        for one in key["faults"]
    )
    return Corpus(texts, faults, tuple(key["clean"]))


# --- running --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """One analyzer over one folder of the corpus. `key` stays the same while files and analyzer do."""

    analyzer: ModelAnalyzer
    paths: tuple[str, ...]
    ask: Ask
    key: str


@dataclass
class Outcome:
    """What a run over the corpus gave, with what it could not do."""

    findings: list[CheckedFinding] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)


def questions(corpus: Corpus, analyzers: Iterable[Analyzer]) -> list[Question]:
    """Every folder is one chunk for each analyzer that wants to see a file of it."""
    made = []
    for analyzer in analyzers:
        if not isinstance(analyzer, ModelAnalyzer):
            continue
        folders: dict[str, list[str]] = {}
        for file in analyzer.select(list(corpus.files.values())):
            folders.setdefault(str(PurePosixPath(file.path).parent), []).append(file.path)
        for paths in folders.values():
            shown = "\n\n".join(f"File: {path}\n{numbered(corpus.texts[path])}" for path in paths)
            ask = analyzer.ask(shown, Overview(), MARKER)
            made.append(Question(analyzer, tuple(paths), ask, _key(analyzer, shown)))
    return made


def _key(analyzer: Analyzer, shown: str) -> str:
    parts = f"{analyzer.name}\0{analyzer.version}\0{shown}"
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def judge(corpus: Corpus, asked: Iterable[tuple[Question, str]], model: str = "") -> Outcome:
    """Parse, locate and merge the answers to questions."""
    outcome, found = Outcome(), list[CheckedFinding]()
    indexes = {path: FileIndex(text) for path, text in corpus.texts.items()}
    for question, answer in asked:
        name = question.analyzer.name
        try:
            raws = question.analyzer.parse(answer)
        except BadAnswer as error:
            outcome.gaps.append(f"{name} over {question.paths[0]} and its folder: {error}")
            continue
        for raw in raws:
            place = check(
                raw,
                rules=question.analyzer.rule_ids,
                manifest=corpus.texts,
                chunk=question.paths,
                index_of=indexes.get,
            )
            outcome.claims.append(Claim(name, raw.rule_id, model, place.match, place.rejected))
            if place:
                found.append(checked(raw, name, place, indexes[raw.path]))
    outcome.findings = merge(found, lambda rule_id: RULES[rule_id].kin)
    return outcome


def scan(corpus: Corpus, **options: Any) -> Outcome:
    """What the analyzer without a model finds."""
    made = STATIC.scan(list(corpus.files.values()), corpus.texts, **options)
    outcome = Outcome(gaps=list(made.notes))
    for raw in made.findings:
        index = FileIndex(corpus.texts[raw.path])
        outcome.findings.append(checked(raw, STATIC.name, claimed(raw), index))
        outcome.claims.append(Claim(STATIC.name, raw.rule_id, "", "exact"))
    return outcome


# --- scoring --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Score:
    """Reported findings and how many of them are right; planted faults and how many of them were caught."""

    name: str
    reported: int
    right: int
    planted: int
    caught: int

    @property
    def precision(self) -> float | None:
        return self.right / self.reported if self.reported else None

    @property
    def recall(self) -> float | None:
        return self.caught / self.planted if self.planted else None


@dataclass(frozen=True)
class Scores:
    total: Score
    rules: tuple[Score, ...]
    in_clean_files: int  # findings in files without a known fault
    missed: tuple[Fault, ...]
    wrong: tuple[CheckedFinding, ...]


def score(corpus: Corpus, findings: Sequence[CheckedFinding], rules: Iterable[str]) -> Scores:
    """Compare findings with the key, for analyzers that have `rules`.

    Faults that none of the rules names are left out. A fault counts for the first of its rules; it is caught when a
    finding by any of its rules touches its lines. A finding is right when it catches some fault.
    """
    known = set(rules)
    mine = {
        fault: next(rule for rule in fault.rules if rule in known)
        for fault in corpus.faults
        if known.intersection(fault.rules)
    }
    right = [any(fault.is_hit(one) for fault in mine) for one in findings]
    caught = {fault for fault in mine if any(fault.is_hit(one) for one in findings)}
    names = sorted({one.raw.rule_id for one in findings} | set(mine.values()))
    return Scores(
        total=Score("all rules", len(findings), sum(right), len(mine), len(caught)),
        rules=tuple(
            Score(
                name,
                sum(one.raw.rule_id == name for one in findings),
                sum(ok for one, ok in zip(findings, right, strict=True) if one.raw.rule_id == name),
                sum(rule == name for rule in mine.values()),
                sum(mine[fault] == name for fault in caught),
            )
            for name in names
        ),
        in_clean_files=sum(one.raw.path in corpus.clean for one in findings),
        missed=tuple(fault for fault in mine if fault not in caught),
        wrong=tuple(one for one, ok in zip(findings, right, strict=True) if not ok),
    )


# --- transcripts ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Transcript:
    """Recorded answers by the key of their question, and where they come from."""

    model: str
    note: str
    answers: Mapping[str, str]


def read_transcript(path: Path) -> Transcript:
    """Read JSON lines: a header, then one answer a line."""
    head, *lines = [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    if head.get("format") != FORMAT:
        raise ValueError(f"{path} is no transcript: its first line does not name the format {FORMAT}.")
    return Transcript(head["model"], head["note"], {line["key"]: line["answer"] for line in lines})


def transcript_lines(model: str, note: str, asked: Iterable[tuple[Question, str]]) -> list[str]:
    """The lines of a transcript."""
    lines = [{"format": FORMAT, "model": model, "note": note}]
    lines += [
        {
            "key": one.key,
            "analyzer": one.analyzer.name,
            "folder": str(PurePosixPath(one.paths[0]).parent),
            "answer": text,
        }
        for one, text in asked
    ]
    return [json.dumps(line, ensure_ascii=False) for line in lines]


def replay(made: Iterable[Question], transcript: Transcript) -> tuple[list[tuple[Question, str]], list[str]]:
    """Each question with its recorded answer; sentences on those that have none."""
    asked, gaps = [], []
    for one in made:
        if one.key in transcript.answers:
            asked.append((one, transcript.answers[one.key]))
        else:
            gaps.append(
                f"No answer is recorded for {one.analyzer.name} over {one.paths[0]} and its folder: files or the "
                "analyzer's version have changed since."
            )
    return asked, gaps
