"""The manifest: every path of a source, with what it is, and whether it is read or why it is not.

The rules stand in one order, and the first that matches names the reason, so nobody has to guess why a file is missing.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from analysis import attributes, contents, rank, secrets
from analysis.defaults import Default, default_exclude
from analysis.errors import SourceError, heed
from analysis.languages import decode, is_binary_name, language
from analysis.parsing import Parsers
from analysis.patterns import Patterns
from analysis.plain import Entry, FileFacts, Options, Texts
from analysis.secrets import Secret
from analysis.source import Source
from nyxcore.llm.base import StopSignal

SKIP_REASONS = {
    "link": "It is a link. Links are not followed.",
    "submodule": "It is a submodule, another repository. Analyse that one by itself.",
    "name": "Its name is not valid UTF-8, too long, or there twice, so it cannot be quoted.",
    "archive": "The archive holds it in a form that is not unpacked.",
    "ignored": "A .gitignore file leaves it out.",
    "unreadable": "It could not be read.",
    "not_included": "The run reads only what its list of included paths names.",
    "excluded": "The run excludes it.",
    "vendored": "It is other people's code that is kept with this.",
    "build": "It is the product of a build.",
    "minified": "It is minified.",
    "lock_file": "It is a lock file: long, and written by a program.",
    "snapshot": "It is a recorded result that tests compare with.",
    "migration": "It is a database migration. The run can be told to read them.",
    "generated": "A program has written it.",
    "binary": "It is no text.",
    "too_large": "It is too large.",
    "empty": "It is empty.",
    "lfs": "Only a pointer to it is in the repository; the file itself is in large file storage.",
    "encoding": "Its encoding could not be told.",
    "secret": "Something in it looks like a secret. It is not sent until somebody allows it.",
    "budget": "The token budget of the run was used up by files that rank higher.",
}
SIZE_LIMIT = 100_000  # bytes
CHOSEN_LIMIT = 200_000  # of a file that is named in full
PATH_LIMIT = 1_000  # bytes; what is longer breaks the database's index
DETAIL_LIMIT = 500
PASS_SIZE = 200  # files that are in memory at a time
LINK, SUBMODULE = "120000", "160000"


@dataclass(frozen=True)
class Manifest:
    """Every path, the texts of those that are read, and how high each candidate ranks."""

    files: tuple[FileFacts, ...]
    texts: Texts
    commit: str = ""
    tree: str = ""
    secrets: tuple[Secret, ...] = ()
    notes: tuple[str, ...] = ()  # sentences: what was not heeded, and why
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def read(self) -> tuple[FileFacts, ...]:
        return tuple(facts for facts in self.files if facts.read)

    @property
    def tokens(self) -> int:
        return sum(facts.tokens for facts in self.files if facts.read)


def build_manifest(source: Source, options: Options, *, stop: StopSignal | None = None) -> Manifest:
    """Return the manifest of a source under the options of a run.

    1. By path, mode, attributes and size alone. 2. By what is in the rest, one file in memory at a time.
    3. By rank, where the budget does not hold everything. 4. The texts of what is left.
    """
    rules = Rules.of(source, options, stop)
    listed = [_by_entry(entry, rules, stop) for entry in source.entries()]
    first = _distinct([*listed, *map(_shown, source.skipped)])
    looked = _Looked(rules)
    looked.over(source, [facts for facts in first if facts.read], stop)
    files = [looked.facts.get(facts.path, facts) for facts in first]
    candidates = [facts for facts in files if facts.read]
    changes, unranked = _history(source)
    scores = rank.scores(candidates, looked.references, changes, stop)
    kept = _within_budget(candidates, scores, options.max_tokens_read)
    final = sorted((kept.get(facts.path, facts) for facts in files), key=lambda facts: facts.path)
    texts = _texts(source, [facts for facts in final if facts.read], stop)
    notes = (*rules.attributes.notes, *unranked)
    return Manifest(tuple(final), texts, source.commit, source.tree, tuple(looked.secrets), notes, scores)


def _history(source: Source) -> tuple[Mapping[str, int], tuple[str, ...]]:
    """How often each path has changed; where that cannot be told in time, nothing and a sentence on it."""
    try:
        return source.history(), ()
    except SourceError as error:
        return {}, (f"How often files change does not count for the ranking: {error.message}",)


# --- by path alone -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """What a run's options and the repository's attributes say of paths."""

    include: Patterns
    exclude: Patterns
    attributes: attributes.Attributes
    options: Options
    missing: Container[str] = ()

    @classmethod
    def of(cls, source: Source, options: Options, stop: StopSignal | None = None) -> Rules:
        read = attributes.read(source, stop)
        return cls(Patterns(options.include), Patterns(options.exclude), read, options, source.missing)

    def allowed(self, facts: FileFacts) -> bool:
        """Whether a person has said that it may be sent, secret or not."""
        return facts.path in self.options.allow_secrets or facts.blob in self.options.allow_blobs

    def chosen(self, path: str) -> bool:
        """Named in full by a person, so it may be larger."""
        return self.include.names(path)


def _by_entry(entry: Entry, rules: Rules, stop: StopSignal | None = None) -> FileFacts:
    """Return the facts of a path, with the first rule that needs nothing of its contents."""
    heed(stop)
    name = entry.path.rpartition("/")[2]
    facts = FileFacts(entry.path, entry.blob, entry.size, language=language(name))
    for rule in BEFORE_READING:
        if found := rule(entry, rules):
            reason, detail = found
            return replace(_shown(facts), read=False, reason=reason, detail=detail)
    return facts


def _shown(facts: FileFacts) -> FileFacts:
    """A name that is no text has its odd bytes spelled out, one that is too long is cut. Neither is read."""
    return replace(facts, path=_cut(_spelled(facts.path)), detail=_spelled(facts.detail)[:DETAIL_LIMIT])


def _spelled(text: str) -> str:
    """Text that the database takes: without zero characters and halves of characters."""
    if text.isascii() and "\0" not in text:
        return text
    spelled = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return spelled.replace("\0", "\\x00")


def _cut(path: str) -> str:
    data = path.encode()
    if len(data) <= PATH_LIMIT:
        return path
    rest = hashlib.sha256(data).hexdigest()[:12]
    return f"{data[: PATH_LIMIT - 20].decode('utf-8', 'ignore')}…{rest}"


def _distinct(files: Iterable[FileFacts]) -> list[FileFacts]:
    """Each path once: what is read keeps its name; what is only listed under a name that is taken gets a number."""
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    found: list[FileFacts] = []
    for facts in sorted(files, key=lambda facts: not facts.read):
        path = facts.path
        while path in taken:
            numbers[facts.path] += 1
            path = f"{facts.path} ({numbers[facts.path] + 1})"
        taken.add(path)
        same = path == facts.path
        found.append(facts if same else replace(facts, path=path, read=False, reason=facts.reason or "name"))
    return found


Found = tuple[str, str] | None


def _mode(entry: Entry, rules: Rules) -> Found:
    if entry.mode == SUBMODULE:
        return "submodule", f"at commit {entry.blob[:12]}"
    return ("link", "") if entry.mode == LINK else None


def _name(entry: Entry, rules: Rules) -> Found:
    try:
        size = len(entry.path.encode())
    except UnicodeEncodeError:
        return "name", ""
    return ("name", f"{size:,} bytes; the limit is {PATH_LIMIT:,}") if size > PATH_LIMIT else None


def _wanted(entry: Entry, rules: Rules) -> Found:
    if rules.include and rules.include.match(entry.path) is None:
        return "not_included", ", ".join(rules.options.include)[:200]
    pattern = rules.exclude.match(entry.path)
    return ("excluded", pattern) if pattern is not None else None


def _default(entry: Entry, rules: Rules) -> Found:
    found: Default | None = default_exclude(entry.path, migrations=rules.options.migrations)
    if found is None or rules.include.takes(entry.path, found.part):
        return None  # whoever names the very folder or file in the list of included paths wants it
    return found.reason, found.pattern


def _attributes(entry: Entry, rules: Rules) -> Found:
    return rules.attributes.reason(entry.path)


def _binary(entry: Entry, rules: Rules) -> Found:
    name = entry.path.rpartition("/")[2]
    return ("binary", f"by its name, .{name.rpartition('.')[2].lower()}") if is_binary_name(name) else None


def _size(entry: Entry, rules: Rules) -> Found:
    if entry.blob in rules.missing:
        return "unreadable", "The object store does not have it."
    limit = CHOSEN_LIMIT if rules.chosen(entry.path) else SIZE_LIMIT
    if entry.size > limit:
        return "too_large", f"{entry.size:,} bytes; the limit is {limit:,}"
    return ("empty", "") if entry.size == 0 else None


BEFORE_READING: tuple[Callable[[Entry, Rules], Found], ...] = (
    _mode,
    _name,
    _wanted,
    _default,
    _attributes,
    _binary,
    _size,
)


# --- by contents ---------------------------------------------------------------------------------


class _Looked:
    """What is learnt while each candidate passes through memory once."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.facts: dict[str, FileFacts] = {}
        self.references: dict[str, Mapping[str, int]] = {}
        self.secrets: list[Secret] = []
        self.scanned: dict[str, tuple[Secret, ...]] = {}  # by blob

    def over(self, source: Source, candidates: list[FileFacts], stop: StopSignal | None) -> None:
        with Parsers(stop) as parsers:
            for facts, data in _read(source, candidates, stop):
                found = contents.look(facts, data, self.rules.allowed(facts), self._scan)
                self.facts[facts.path] = found.facts
                self.secrets += found.secrets
                if found.facts.read and found.grammar:
                    self._take(parsers.add(facts.path, found.text, found.grammar))
            self._take(parsers.done())

    def _scan(self, facts: FileFacts, text: str) -> tuple[Secret, ...]:
        """Its secrets; the same contents under another path are not searched again."""
        hits = self.scanned.get(facts.blob)
        if hits is None:
            hits = self.scanned[facts.blob] = tuple(secrets.scan(facts.path, text))
        return tuple(replace(hit, path=facts.path) for hit in hits)

    def _take(self, parsed: Iterable[tuple[str, contents.Parsed]]) -> None:
        for path, one in parsed:
            known = self.facts[path]
            self.facts[path] = replace(known, symbols=one.symbols, imports=one.imports, grammar=one.grammar)
            self.references[path] = one.references


def _read(
    source: Source, wanted: list[FileFacts], stop: StopSignal | None
) -> Iterator[tuple[FileFacts, bytes]]:
    """Yield each file with its bytes; what the store does not have comes as None."""
    left = iter(wanted)
    while part := list(islice(left, PASS_SIZE)):
        by_blob = dict(source.read(dict.fromkeys(facts.blob for facts in part)))
        for facts in part:
            heed(stop)
            yield facts, by_blob.get(facts.blob, b"")


def _texts(source: Source, read: list[FileFacts], stop: StopSignal | None) -> dict[str, str]:
    return {facts.path: decode(data, facts.encoding)[0] for facts, data in _read(source, read, stop)}


# --- by budget -----------------------------------------------------------------------------------


def _within_budget(
    candidates: list[FileFacts], scores: Mapping[str, float], budget: int
) -> dict[str, FileFacts]:
    """Return the files that no longer fit, marked so; the highest-ranked are kept, small ones fill what is left."""
    left, gone = budget, {}
    for place, facts in enumerate(sorted(candidates, key=lambda one: (-scores[one.path], one.path)), 1):
        if facts.tokens <= left:
            left -= facts.tokens
        else:
            detail = f"rank {place:,} of {len(candidates):,}; {facts.tokens:,} tokens"
            gone[facts.path] = replace(facts, read=False, reason="budget", detail=detail)
    return gone
