"""Reads a folder of this machine, below the configured root: a repository by its objects, or plain files.

Of a repository only the object store, the references and the list of shallow commits are looked at. Its
configuration and its hooks are not: our own git directory borrows its objects.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import replace
from pathlib import Path

from analysis.errors import SourceError
from analysis.git import Budget, Git, GitFailed
from analysis.plain import FileFacts
from analysis.remote import resolve
from analysis.spec import Found, Limits

SMALL = 1 << 20  # bytes of a file of git's that we read whole
PACKED_REFS = 64 << 20
DEPTH = 5  # alternates of alternates, as git follows them


def attach(git: Git, path: str, root: str, ref: str, limits: Limits) -> Found:
    """Make the folder `path` readable through the store: HEAD (or `ref`) of a repository, else its files."""
    folder, top = _below_root(path, root)
    places = _git_places(folder, top)
    if places is None:
        return _add_files(git, folder, limits)
    own, common = places
    _borrow(git, own, common, top)
    return _resolved(git, folder, ref)


def _below_root(path: str, root: str) -> tuple[Path, Path]:
    if not root:
        raise SourceError(
            "Folders of this machine are not read: no folder is set that they may lie below. "
            "Set NYXCORE_ANALYSIS_ROOT, or give an address.",
            "path",
        )
    top = Path(os.path.realpath(root))
    folder = Path(os.path.realpath(top / path))
    if not folder.is_relative_to(top):
        raise SourceError(
            f"The folder {path} does not lie below {top}. Only what lies there is read.", "path"
        )
    if not folder.is_dir():
        raise SourceError(f"There is no folder {folder}. Look at its spelling.", "path")
    return folder, top


def _inside(path: Path, top: Path, what: str) -> Path:
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(top):
        raise SourceError(f"The repository keeps its {what} outside of {top}, where nothing is read.", "path")
    return real


def _git_places(folder: Path, top: Path) -> tuple[Path, Path] | None:
    """Return where a repository keeps HEAD and where its objects, which differ for a linked work tree."""
    own = folder / ".git"
    if own.is_file():
        text = _small(own)
        if not text.startswith("gitdir: "):
            return None
        own = folder / text.removeprefix("gitdir: ").strip()
    elif not own.is_dir():
        own = folder
    if not (own / "HEAD").is_file():
        return None
    own = _inside(own, top, "data")
    common = own
    if (own / "commondir").is_file():
        common = own / _small(own / "commondir").strip()
    if not (common / "objects").is_dir() or not (common / "refs").is_dir():
        return None
    return own, _inside(common, top, "data")


def _small(path: Path, limit: int = SMALL) -> str:
    """Return a file of git's as text; it must be a plain file of a bearable size."""
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > limit:
            raise SourceError(f"The repository's {path.name} is not a file that git would write.", "broken")
        return file.read()


def _borrow(git: Git, own: Path, common: Path, top: Path) -> None:
    """Let our git directory read the repository's objects and know its references."""
    objects = _inside(common / "objects", top, "objects")
    _check_alternates(objects, top, DEPTH)
    git.env["GIT_OBJECT_DIRECTORY"] = str(objects)
    (git.store / "HEAD").write_text(_small(own / "HEAD"), encoding="utf-8", errors="surrogateescape")
    for name in ("packed-refs", "shallow"):
        if (common / name).is_file():
            text = _small(_inside(common / name, top, "references"), PACKED_REFS)
            (git.store / name).write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    refs = _inside(common / "refs", top, "references")
    shutil.copytree(refs, git.store / "refs", dirs_exist_ok=True, symlinks=True, ignore=_no_links)


def _no_links(folder: str, names: list[str]) -> list[str]:
    """References are small plain files; whatever else lies among them is not followed."""
    odd = []
    for name in names:
        facts = os.lstat(os.path.join(folder, name))
        plain = stat.S_ISREG(facts.st_mode) and facts.st_size < 4096
        if not plain and not stat.S_ISDIR(facts.st_mode):
            odd.append(name)
    return odd


def _check_alternates(objects: Path, top: Path, depth: int) -> None:
    """Refuse a store that borrows from outside the root: git would follow it there."""
    listed = objects / "info" / "alternates"
    if not listed.exists():
        return
    if depth == 0:
        raise SourceError("The repository borrows objects from too many others.", "path")
    for line in _small(_inside(listed, top, "objects")).splitlines():
        if line and not line.startswith("#"):
            if line.startswith('"'):
                raise SourceError("The repository borrows objects from an odd place.", "path")
            _check_alternates(_inside(objects / line, top, "objects"), top, depth - 1)


def _resolved(git: Git, folder: Path, ref: str) -> Found:
    names = [ref, f"refs/remotes/origin/{ref}"] if ref else ["HEAD"]
    for name in names:
        with contextlib.suppress(GitFailed):
            return replace(resolve(git, name), has_history=True)
    if ref:
        raise SourceError(f"The repository in {folder} has no branch, tag or commit {ref}.", "ref")
    raise SourceError(f"The repository in {folder} has no commit yet. Commit something first.", "empty")


# --- plain files -------------------------------------------------------------------------------------


def _add_files(git: Git, folder: Path, limits: Limits) -> Found:
    """Copy the files of a folder into the store, by git's own rules of what is ignored."""
    there = Git(git.folder, git.stop, git.env | {"GIT_WORK_TREE": str(folder)}, git.options)
    (git.store / "info").mkdir(exist_ok=True)
    # Comes before what .gitattributes in the folder say: bytes are taken as they are.
    (git.store / "info" / "attributes").write_text("* -text -filter -ident -eol -working-tree-encoding\n")
    listing = Budget(limits.seconds)
    others = ["-C", str(folder), "ls-files", "--others", "--exclude-standard", "-z"]
    names = [name for name in there.run(*others, budget=listing).split(b"\0") if name]
    if len(names) > limits.entries:
        raise SourceError(
            f"The folder has {len(names):,} files; {limits.entries:,} is the limit. Choose a part of it.",
            "too_large",
        )
    _check_size(folder, names, limits)
    add = ["-C", str(folder), "add", "--ignore-errors", "--no-warn-embedded-repo", "--all", "--", "."]
    with contextlib.suppress(GitFailed):  # what could not be read stays among the others, and is told below
        there.run(*add, budget=Budget(limits.seconds, disk=limits.disk))
    left = [name for name in there.run(*others, budget=listing).split(b"\0") if name]
    tree = there.run("write-tree").decode().strip()
    return Found("", tree, [_left_out(name) for name in left])


def _check_size(folder: Path, names: list[bytes], limits: Limits) -> None:
    total = 0
    for name in names:
        with contextlib.suppress(OSError):
            total += os.lstat(os.path.join(os.fsencode(folder), name)).st_size
    if total > limits.unpacked:
        raise SourceError(
            f"The folder holds {total >> 20:,} MB; {limits.unpacked >> 20:,} MB is the limit. "
            "Choose a part of it.",
            "too_large",
        )


def _left_out(name: bytes) -> FileFacts:
    detail = "It could not be read."
    return FileFacts(os.fsdecode(name), "", 0, read=False, reason="unreadable", detail=detail)
