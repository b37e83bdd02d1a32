"""Which files of a repository an import means. By the endings of paths, so no language needs its own settings."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from analysis.plain import FileFacts

Parts = tuple[str, ...]
INDEXES = {"__init__", "index", "mod"}  # files that stand for their folder
RUST_INDEXES = {"lib.rs", "main.rs"}
PARTS = 12  # of the name of a module, from its beginning
CANDIDATES = 40  # files of one name that are compared
TARGETS = 4  # files that one import may mean, such as those of a package in Go
QUOTED = re.compile(r"[\"'`]([^\"'`]+)[\"'`]")
PYTHON_FROM = re.compile(r"from\s+(\.*)([\w.]*)\s+import\s+\(?\s*(.*)")


class Index:
    """The files of a repository by the ends of their paths."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.by_end: dict[str, list[tuple[Parts, str]]] = defaultdict(list)
        self.folders: dict[Parts, list[str]] = defaultdict(list)
        self.tails: dict[
            Parts, Parts
        ] = {}  # the last one or two names of a folder: the shortest one that ends so
        for path in sorted(paths):
            parts = module_of(path)
            if parts:
                self.by_end[parts[-1]].append((parts, path))
            self.folders[tuple(path.split("/")[:-1])].append(path)
        for folder in sorted(self.folders, key=len):
            for size in (1, 2):
                self.tails.setdefault(folder[-size:], folder)

    def find(self, wanted: Parts, near: str) -> list[str]:
        """Return the files that an import of `wanted` means: the longest common ending, then the nearest."""
        wanted = wanted[:PARTS]
        for length in range(len(wanted), 0, -1):  # the last names may be what is imported from the file
            name = wanted[:length]
            found = self._best(name, near)
            if found:
                return found
        return []

    def exact(self, parts: Parts) -> list[str]:
        """Return the file at this very place, its extension left open."""
        return [path for known, path in self.by_end.get(parts[-1], ()) if known == parts][:1] if parts else []

    def folder(self, parts: Parts) -> list[str]:
        """Return the files of a folder whose path ends so, in one or two names: a package in Go."""
        found = self.tails.get(parts) if parts else None
        return self.folders[found][:TARGETS] if found is not None else []

    def _best(self, name: Parts, near: str) -> list[str]:
        scored = []
        for known, path in self.by_end.get(name[-1], ())[:CANDIDATES]:
            common = _common_end(known, name)
            if common == len(name) or common == len(known):
                scored.append((-common, -_common_start(path, near), path))
        if not scored or (len(name) > 1 and -min(scored)[0] < 1):
            return []
        return [min(scored)[2]]


def module_of(path: str) -> Parts:
    """Return a path as an import would name it: without extension, and without a file that stands for its folder."""
    parts = path.split("/")
    name, parts[-1] = parts[-1], parts[-1].split(".")[0] or parts[-1]
    if len(parts) > 1 and (parts[-1] in INDEXES or name in RUST_INDEXES):
        parts.pop()
    return tuple(parts)


def links(files: Sequence[FileFacts]) -> dict[str, set[str]]:
    """Return, for each file, the files of the repository that it imports."""
    index = Index(facts.path for facts in files)
    found: dict[str, set[str]] = {}
    for facts in files:
        targets = {path for line in facts.imports for path in _targets(line, facts, index)}
        found[facts.path] = targets - {facts.path}
    return found


def _targets(line: str, facts: FileFacts, index: Index) -> list[str]:
    folder = tuple(facts.path.split("/")[:-1])
    if facts.language == "python":
        return _python(line, folder, facts.path, index)
    if facts.language in ("javascript", "typescript"):
        quoted = QUOTED.findall(line)
        return _relative(quoted[-1], folder, facts.path, index) if quoted else []
    if facts.language == "go":
        quoted = QUOTED.findall(line)
        parts = tuple(quoted[-1].split("/")) if quoted else ()
        return index.folder(parts[-2:]) or (index.folder(parts[-1:]) if len(parts) > 2 else [])
    if facts.language == "java":
        name = re.sub(r"^import\s+(static\s+)?|[;*\s]", "", line)
        return index.find(tuple(part for part in name.split(".") if part), facts.path)
    if facts.language == "rust":
        return _rust(line, folder, facts.path, index)
    return []


def _python(line: str, folder: Parts, near: str, index: Index) -> list[str]:
    found = PYTHON_FROM.match(line)
    if found is None:
        names = re.sub(r"^import\s+", "", line).split(",")
        return [path for name in names for path in index.find(_dotted(name), near)]
    dots, module, imported = found.groups()
    base: Parts = folder[: len(folder) - len(dots) + 1] if dots else ()
    targets = []
    for name in re.findall(r"(\w+)(?:\s+as\s+\w+)?", imported)[:20]:
        wanted = (*base, *_dotted(module), name)
        targets += (index.exact(wanted) or index.exact(wanted[:-1])) if dots else index.find(wanted, near)
    return targets


def _dotted(name: str) -> Parts:
    return tuple(part for part in name.split(" as ")[0].strip().split(".") if part)


def _relative(name: str, folder: Parts, near: str, index: Index) -> list[str]:
    if not name.startswith("."):
        parts = tuple(part for part in name.split("/") if part and part[0] not in "@~")
        return index.find(parts, near) if len(parts) > 1 else []
    place = list(folder)
    for part in name.split("/"):
        if part == "..":
            del place[-1:]
        elif part not in ("", "."):
            place.append(part)
    return index.exact(module_of("/".join(place))) if place else []


def _rust(line: str, folder: Parts, near: str, index: Index) -> list[str]:
    declared = re.search(r"\bmod\s+(\w+)\s*;", line)
    if declared:
        return index.exact((*folder, declared[1]))
    names = re.findall(r"\w+", re.sub(r"^(pub(\([^)]*\))?\s+)?use\s+", "", line).split("{")[0])
    local = [name for name in names if name not in ("crate", "super", "self")]
    return index.find(tuple(local), near) if local and local != names else []


def _common_end(one: Parts, other: Parts) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _common_start(one: str, other: str) -> int:
    count = 0
    for a, b in zip(one.split("/"), other.split("/"), strict=False):
        if a != b:
            break
        count += 1
    return count
