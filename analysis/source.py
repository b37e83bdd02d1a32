"""A source as a bare object store: its files are listed and read from there, and never checked out.

with open_source(SourceSpec("git", url="https://host/owner/name.git")) as source:
    for entry in source.entries(): ...
    for blob, data in source.read([...]): ...
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from analysis import archives, folders, remote
from analysis.errors import SourceError
from analysis.git import Budget, Git, GitFailed, mapping
from analysis.hosts import PUBLIC, Reach
from analysis.plain import Entry, FileFacts
from analysis.scratch import remove_leftovers, scratch
from analysis.spec import USUAL, Limits, SourceSpec
from nyxcore.llm.base import StopSignal

__all__ = ["Limits", "Reach", "Source", "SourceError", "SourceSpec", "open_source", "remove_leftovers"]

REF = re.compile(r"(?![-/.+])(?!.*(\.\.|@\{|//|\.lock(/|$)))[^\x00-\x20\x7f:?*\[\\^~]{1,200}(?<![/.])")
HISTORY_SECONDS = 30.0  # only the ranking asks for it
HEADER = re.compile(rb"([0-9a-f]{40,64}) (\w+)(?: (\d+))?")


class Source:
    """What is read. `tree` is the identity of "the same source", for uploads too; `commit` is "" for them.

    `skipped` lists what never reached the store: ignored files of an upload, links in an archive, and the like.
    """

    def __init__(
        self,
        git: Git,
        commit: str,
        tree: str,
        *,
        subpath: str = "",
        skipped: Iterable[FileFacts] = (),
        limits: Limits = USUAL,
        has_history: bool = False,
    ) -> None:
        self.git = git
        self.commit = commit
        self.root = tree
        self.subpath = subpath
        self.skipped = tuple(skipped)
        self.limits = limits
        self.has_history = has_history
        self.missing: set[str] = set()  # blobs that the tree names and the store does not have
        self._listed: list[Entry] | None = None
        self.tree = self._subtree() if subpath else tree

    def entries(self) -> list[Entry]:
        """Return every path below the sub-path, in git's order."""
        below = f"{self.subpath}/" if self.subpath else ""
        return [entry for entry in self.all_entries() if entry.path.startswith(below)]

    def all_entries(self) -> list[Entry]:
        """Return every path of the whole tree; attributes above a sub-path count for it too."""
        if self._listed is None:
            budget = Budget(self.limits.seconds)
            listed = self.git.run("ls-tree", "-r", "-l", "-z", "--full-tree", self.root, budget=budget)
            self._listed = [self._entry(line) for line in listed.split(b"\0") if line]
            if len(self._listed) > self.limits.entries:
                raise SourceError(
                    f"The source has {len(self._listed):,} files; {self.limits.entries:,} is the limit. "
                    "Choose a smaller repository.",
                    "too_large",
                )
        return self._listed

    def read(self, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (blob, its bytes) in the order asked; what is missing or over the limit of a file is left out."""
        wanted = self._within(blobs)
        if not wanted:
            return
        asked = "".join(f"{blob}\n" for blob in wanted).encode()
        with self.git.started("cat-file", "--batch", "--buffer", stdin=asked) as running:
            for _ in wanted:
                header = HEADER.match(running.stdout.readline())
                if header is None or header[3] is None:
                    continue  # "<blob> missing"
                data = running.stdout.read(int(header[3]) + 1)[:-1]
                if len(data) < int(header[3]):
                    raise SourceError("The object store ended in the middle of a file.", "broken")
                if header[2] == b"blob":
                    yield header[1].decode(), data

    def history(self, limit: int = 200) -> Mapping[str, int]:
        """Return how often each path changed in the last `limit` commits; empty where only one was fetched."""
        if not self.has_history or limit < 1:
            return {}
        budget = Budget(min(HISTORY_SECONDS, self.limits.seconds))
        arguments = ["log", f"-n{limit}", "--format=", "--name-only", "-z", "--no-renames", "--no-ext-diff"]
        try:
            more = ["--no-textconv", "--no-show-signature", self.commit, "--"]
            return mapping(self.git.run(*arguments, *more, budget=budget))
        except GitFailed:
            return {}  # a shallow or damaged history only costs the ranking its third factor

    def _within(self, blobs: Iterable[str]) -> list[str]:
        """Leave out blobs that are too large: they must not even be unpacked into memory."""
        sizes = {entry.blob: entry.size for entry in self.all_entries()}
        return [blob for blob in blobs if sizes.get(blob, self.limits.file + 1) <= self.limits.file]

    def _entry(self, line: bytes) -> Entry:
        """One line of ls-tree: mode, type, id and size, then a tab and the path."""
        facts, _, path = line.partition(b"\t")
        mode, kind, blob, size = facts.decode().split()
        if not size.isdigit() and kind == "blob":
            self.missing.add(blob)
        return Entry(os.fsdecode(path), mode, blob, int(size) if size.isdigit() else 0)

    def _subtree(self) -> str:
        try:
            found = self.git.run("rev-parse", "--verify", "--end-of-options", f"{self.root}:{self.subpath}")
            kind = self.git.run("cat-file", "-t", found.decode().strip())
        except GitFailed:
            kind = b""
        if kind.strip() != b"tree":
            raise SourceError(
                f"The source has no folder {self.subpath}. Look at its spelling; it is written from the top.",
                "subpath",
            )
        return found.decode().strip()


@contextlib.contextmanager
def open_source(
    spec: SourceSpec,
    *,
    stop: StopSignal | None = None,
    limits: Limits = USUAL,
    reach: Reach = PUBLIC,
    base: Path | None = None,
) -> Iterator[Source]:
    """Bring a source into a temporary object store for the time of the block.

    Raises SourceError with a sentence for people, and Stopped when `stop` is set. `base` is where the temporary
    folder is made; `reach` is widened by tests only.
    """
    subpath = _subpath(spec.subpath)
    if spec.ref and not REF.fullmatch(spec.ref):
        raise SourceError("The branch, tag or commit has a form that git does not allow.", "ref")
    with scratch(base) as folder:
        git = Git(folder, stop)
        git.run("init", "--quiet", "--bare", "--template=", str(git.store))
        with _told():
            if spec.kind == "git":
                found = remote.fetch(git, spec.url, spec.ref, spec.token, reach, limits.seconds, limits.disk)
            elif spec.kind == "upload":
                found = archives.store(git, spec.archive, limits)
            else:
                found = folders.attach(git, spec.path, spec.root, spec.ref, limits)
            source = Source(
                git,
                found.commit,
                found.tree,
                subpath=subpath,
                skipped=found.skipped,
                limits=limits,
                has_history=found.has_history,
            )
        yield source


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What git says in its own words becomes one sentence of ours."""
    try:
        yield
    except GitFailed as error:
        raise SourceError(
            f"git could not read the source: {remote.last_line(error.stderr)}", "git"
        ) from error


def _subpath(given: str) -> str:
    path = given.strip("/")
    if any(part in ("", ".", "..") for part in path.split("/")) and path:
        raise SourceError("The folder must be a plain path from the top, without . and ..", "subpath")
    if "\0" in path or "\n" in path or ":" in path[:1]:
        raise SourceError("The folder has characters that do not belong into a path.", "subpath")
    return path
