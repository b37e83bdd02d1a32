"""A repository on one page: its tree with the names that matter most, and what it says of itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from analysis.plain import FileFacts, Texts
from nyxcore.llm.models import estimate_tokens

MAP_TOKENS = 4_000
GUIDE_TOKENS = 6_000
GUIDES = ("AGENTS.md", "CLAUDE.md", "CONTRIBUTING.md", "README.md")
NAMES_SHOWN = 12  # of one file


def repo_map(
    files: Sequence[FileFacts], scores: Mapping[str, float] | None = None, *, tokens: int = MAP_TOKENS
) -> str:
    """Return the tree with the top definitions of the highest-ranked files, as much as fits into `tokens`."""
    read = [facts for facts in files if facts.read]
    ranked = sorted(read, key=lambda facts: (-(scores or {}).get(facts.path, 0.0), facts.path))
    if estimate_tokens(_draw(read, set())) <= tokens:
        return _largest(len(ranked), tokens, lambda n: _draw(read, {facts.path for facts in ranked[:n]}))
    # Not even the folders fit: the top ones with their numbers, and the most important files alone.
    head = _folders(read, tokens // 2)
    return _largest(
        len(ranked), tokens, lambda n: head + _draw(ranked[:n], {facts.path for facts in ranked[:n]})
    )


def _largest(most: int, tokens: int, draw: Callable[[int], str]) -> str:
    """Return the largest of the drawings 0 to `most` that fits; each is larger than the one before."""
    best, low, high = draw(0), 1, most
    while low <= high:
        middle = (low + high) // 2
        drawn = draw(middle)
        if estimate_tokens(drawn) <= tokens:
            best, low = drawn, middle + 1
        else:
            high = middle - 1
    return best


def guide(files: Sequence[FileFacts], texts: Texts, *, tokens: int = GUIDE_TOKENS) -> str:
    """Return the repository's own guidance: the first such file at the top, cut to `tokens`; "" without one."""
    by_name = {facts.path.lower(): facts.path for facts in files if facts.read and "/" not in facts.path}
    for name in GUIDES:
        path = by_name.get(name.lower())
        if path is not None and path in texts:
            return _cut(texts[path], tokens)
    return ""


def _cut(text: str, tokens: int) -> str:
    if estimate_tokens(text) <= tokens:
        return text
    kept: list[str] = []
    left = tokens - 10
    for line in text.split("\n"):
        left -= estimate_tokens(line + "\n")
        if left < 0:
            break
        kept.append(line)
    return "\n".join(kept) + "\n(the rest is left out)\n"


def _draw(files: Sequence[FileFacts], named: set[str]) -> str:
    """Draw every folder; files of it with their names where they are in `named`, else only counted."""
    by_folder: dict[str, list[FileFacts]] = defaultdict(list)
    for facts in files:
        by_folder[facts.path.rpartition("/")[0]].append(facts)
    rows = []
    for folder in sorted(by_folder):
        inside = sorted(by_folder[folder], key=lambda facts: facts.path)
        rows.append(f"{_shown(folder) or '.'}/")
        rows += [_file(facts) for facts in inside if facts.path in named]
        others = [facts.path.rpartition("/")[2] for facts in inside if facts.path not in named]
        if others:
            rows.append(f"  {_few(others)}")
    return "\n".join(rows) + "\n" if rows else ""


def _file(facts: FileFacts) -> str:
    tops = dict.fromkeys(symbol.name for symbol in facts.symbols if not symbol.parent)
    public_first = sorted(tops, key=lambda name: name.startswith("_"))
    names = ", ".join(public_first[:NAMES_SHOWN]) + (", ..." if len(tops) > NAMES_SHOWN else "")
    return f"  {_shown(facts.path.rpartition('/')[2])}{': ' if names else ''}{names}"


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(map(_shown, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _folders(files: Sequence[FileFacts], tokens: int) -> str:
    """The smallest map: top folders with how many files they hold, the largest first, as many as fit."""
    counts: dict[str, int] = defaultdict(int)
    for facts in files:
        top, slash, _ = facts.path.partition("/")
        counts[top + "/" if slash else "./"] += 1
    rows = [
        f"{_shown(name)} ({count} files)\n"
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    while rows and estimate_tokens("".join(rows)) > tokens:
        rows.pop()
    return "".join(rows)


def _shown(name: str) -> str:
    """A name must not look like a line of the map."""
    return "".join(char if char.isprintable() else "?" for char in name)
