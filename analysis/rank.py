"""Which files matter most: PageRank over the names they use of each other, how often they change, and their kind."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from analysis.errors import heed
from analysis.plain import FileFacts
from nyxcore.llm.base import StopSignal

DAMPING = 0.85
ROUNDS = 30
CLOSE = 1e-4
COMMON = 5  # a name defined in more files than this says little
TOO_COMMON = 25  # and in more than this, nothing
LONG = 8  # letters from which a compound name is telling

UP = re.compile(
    r"(^|/)(main|app|index|server|cli|manage|wsgi|asgi|__main__|mod|lib)\.\w+$"
    r"|(^|/)(urls|routes|router|settings|config|models|schema|api|views|handlers?|controllers?)(\.\w+$|/)"
    r"|(^|/)(pyproject\.toml|package\.json|go\.mod|Cargo\.toml|pom\.xml|build\.gradle(\.kts)?|Dockerfile)$"
    r"|(^|/)README(\.\w+)?$|\.(proto|sql|graphql)$",
    re.I,
)
DOWN = re.compile(
    r"(^|/)(tests?|testing|__tests__|spec|specs|fixtures?|testdata|mocks?|examples?|samples?|demo|benchmarks?|locale)/"
    r"|(^|/)(test_[^/]*|conftest)\.py$|(_test|\.test|\.spec|_spec)\.\w+$|Tests?\.java$",
    re.I,
)
DATA = re.compile(r"\.(json|ya?ml|xml|csv|tsv|svg|po|txt|html?|css|scss|md|rst|ini|cfg)$", re.I)


def scores(
    files: Sequence[FileFacts],
    references: Mapping[str, Mapping[str, int]],
    history: Mapping[str, int] | None = None,
    stop: StopSignal | None = None,
) -> dict[str, float]:
    """Return a score for each file; higher is read first."""
    paths = [facts.path for facts in files]
    ranked = pagerank(paths, edges(files, references, stop), stop)
    changed = history or {}
    return {
        path: ranked[path] * len(paths) * (1 + math.log2(1 + changed.get(path, 0)) / 2) * kind_factor(path)
        for path in paths
    }


def kind_factor(path: str) -> float:
    """Entry points, configuration, schemas and routes up; tests, examples and plain data down."""
    if DOWN.search(path):
        return 0.3
    if UP.search(path):
        return 2.0
    return 0.5 if DATA.search(path) else 1.0


def edges(
    files: Sequence[FileFacts],
    references: Mapping[str, Mapping[str, int]],
    stop: StopSignal | None = None,
) -> dict[str, dict[str, float]]:
    """Return how strongly each file leans on others: it uses names that they define."""
    definers: dict[str, set[str]] = defaultdict(set)
    for facts in files:
        for symbol in facts.symbols:
            definers[symbol.name].add(facts.path)
    found: dict[str, dict[str, float]] = {}
    for facts in files:
        heed(stop)
        out: dict[str, float] = defaultdict(float)
        for name, count in references.get(facts.path, {}).items():
            owners = definers.get(name, ())
            if not owners or len(owners) > TOO_COMMON or facts.path in owners:
                continue
            weight = name_weight(name, len(owners)) * math.sqrt(count) / len(owners)
            for owner in owners:
                out[owner] += weight
        if out:
            found[facts.path] = dict(out)
    return found


def name_weight(name: str, definers: int) -> float:
    """Long compound names tell most; private ones and those that many files define, least."""
    weight = 1.0
    compound = "_" in name.strip("_") or (name.lower() != name and name.upper() != name)
    if compound and len(name) >= LONG:
        weight *= 10
    if name.startswith("_"):
        weight *= 0.1
    if definers > COMMON:
        weight *= 0.1
    return weight


def pagerank(
    paths: Sequence[str], links: Mapping[str, Mapping[str, float]], stop: StopSignal | None = None
) -> dict[str, float]:
    """Return PageRank by power iteration; the ranks add up to 1."""
    n = len(paths)
    if not n:
        return {}
    place = {path: i for i, path in enumerate(paths)}
    shares = [
        (place[source], [(place[target], weight / total) for target, weight in out.items()])
        for source, out in links.items()
        if (total := sum(out.values())) > 0
    ]
    silent = set(range(n)) - {source for source, _ in shares}
    rank = [1 / n] * n
    for _ in range(ROUNDS):
        heed(stop)
        base = (1 - DAMPING + DAMPING * sum(rank[i] for i in silent)) / n
        after = [base] * n
        for source, out in shares:
            given = DAMPING * rank[source]
            for target, share in out:
                after[target] += given * share
        moved = sum(abs(a - b) for a, b in zip(after, rank, strict=True))
        rank = after
        if moved < CLOSE:
            break
    return dict(zip(paths, rank, strict=True))
