"""Brings an uploaded archive into the store: no file of it is ever written to the disk under its own name.

Members stream into `git fast-import`, counted against the limits while they are unpacked. Then git itself says which
of them the `.gitignore` files in the archive leave out; only those files are written down for that.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import stat
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from analysis.errors import SourceError
from analysis.git import Git, GitFailed, Running
from analysis.plain import FileFacts
from analysis.spec import Found, Limits

IGNORE = b".gitignore"
IGNORE_LIMIT = 1 << 18  # bytes of a file of rules
TREE = "refs/heads/upload^{tree}"
COMMIT = b"commit refs/heads/upload\ncommitter upload <> 0 +0000\ndata 0\n"
FAST_IMPORT = ("fast-import", "--quiet", "--depth=0", f"--big-file-threshold={1 << 20}")
PATH_LIMIT = 1_000  # bytes; deeper nesting is listed as skipped
HOPELESS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    gzip.BadGzipFile,
    ValueError,
    NotImplementedError,
    RecursionError,
)
RATIO_FROM = 10 << 20  # below so many bytes no ratio is alarming
CHUNK = 1 << 16
IN_MEMORY = 4 << 20  # larger members pass through a file without a name
HEADER_LIMIT = 1 << 16
LONG_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# LZMA is not among them: its header alone decides how much memory unpacking takes.
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
ENTRY_MARK = b"PK\x01\x02"


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `opened` gives its bytes, None where it is not a plain file."""

    name: bytes
    executable: bool
    opened: Callable[[], IO[bytes]] | None
    why: str = ""  # what it is, where it is not a plain file
    link: bool = False


class Counter:
    """What has been unpacked so far, against the limits."""

    def __init__(self, git: Git, limits: Limits, packed: int) -> None:
        self.git = git
        self.limits = limits
        self.packed = max(packed, 1)
        self.bytes = 0
        self.entries = 0

    def entry(self) -> None:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise _refused(f"has more than {self.limits.entries:,} entries, which is the limit")

    def add(self, size: int) -> None:
        self.git.check_stop()
        self.bytes += size
        if self.bytes > self.limits.unpacked:
            raise _refused(f"unpacks to more than {self.limits.unpacked >> 20} MB, which is the limit")
        if self.bytes > RATIO_FROM and self.bytes > self.packed * self.limits.ratio:
            raise _refused(f"unpacks to more than {self.limits.ratio} times its size, like a bomb")


class Counted(io.RawIOBase):
    """A file that is counted while it is unpacked: also headers, which no entry shows."""

    def __init__(self, file: IO[bytes], counter: Counter) -> None:
        self.file = file
        self.counter = counter

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(min(size, CHUNK) if size >= 0 else CHUNK)
        self.counter.add(len(data))
        return data

    def close(self) -> None:
        self.file.close()
        super().close()


class PlainInfo(tarfile.TarInfo):
    """An entry of a tar whose headers stay small: tarfile reads them whole into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> PlainInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file with holes")
        if info.type in LONG_HEADERS and info.size > HEADER_LIMIT:
            raise tarfile.ReadError("a header that is too long")
        return info


def store(git: Git, archive: bytes | Path, limits: Limits) -> Found:
    """Put what an archive holds into the store; the tree of it is what counts, there is no commit."""
    try:
        with contextlib.closing(_file(archive)) as file:
            counter = Counter(git, limits, file.seek(0, os.SEEK_END))
            file.seek(0)
            paths, skipped = _import(git, _members(file, counter), counter)
    except HOPELESS as error:
        raise _refused(f"is damaged or of a kind that is not known ({type(error).__name__})") from error
    if not paths:
        raise SourceError("The archive holds no files that can be read.", "empty")
    return _finish(git, paths, skipped)


def _refused(what: str) -> SourceError:
    return SourceError(f"The archive {what}. Upload a zip or tar.gz of the source alone.", "archive")


def _file(archive: bytes | Path) -> IO[bytes]:
    return io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")


# --- reading zip and tar -------------------------------------------------------------------------


def _members(file: IO[bytes], counter: Counter) -> Iterator[Member]:
    """Yield what an archive holds, in its order; directories are left out."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"PK":
        _count_entries(file, counter.limits)
        yield from _zip_members(file, counter)
    elif magic[:2] == b"\x1f\x8b":
        yield from _tar_members(Counted(gzip.GzipFile(fileobj=file), counter))  # type: ignore[arg-type]
    elif magic[:3] == b"BZh":
        yield from _tar_members(Counted(bz2.BZ2File(file), counter))
    else:
        yield from _tar_members(Counted(file, counter))


def _count_entries(file: IO[bytes], limits: Limits) -> None:
    """Refuse a zip of too many entries before zipfile makes an object of each."""
    found, kept = 0, b""
    while chunk := file.read(1 << 20):
        found += (kept + chunk).count(ENTRY_MARK)
        kept = chunk[-3:]
        if found > limits.entries:
            raise _refused(f"has more than {limits.entries:,} entries, which is the limit")
    file.seek(0)


def _zip_members(file: IO[bytes], counter: Counter) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield _zip_member(archive, info, counter)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, counter: Counter) -> Member:
    mode = info.external_attr >> 16 if info.create_system == 3 else 0
    kind = stat.S_IFMT(mode)
    # Without bit 11 a name is bytes of an unknown code page, which zipfile reads as cp437.
    name = info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437", "surrogateescape")
    if kind == stat.S_IFLNK:
        return Member(name, False, None, "It is a link.", link=True)
    if info.flag_bits & 1:
        return Member(name, False, None, "It is encrypted.")
    if kind not in (0, stat.S_IFREG):
        return Member(name, False, None, "It is a device or a pipe.")
    if info.compress_type not in ZIP_METHODS:
        return Member(name, False, None, "It is packed in a way that is not known.")
    opened = lambda: Counted(archive.open(info), counter)  # noqa: E731
    return Member(name, bool(mode & 0o100), opened)  # type: ignore[arg-type]


def _tar_members(file: IO[bytes] | Counted) -> Iterator[Member]:
    # A stream: nothing is sought, so a member is read exactly once and headers cannot send us round.
    settings = {"encoding": "utf-8", "errors": "surrogateescape", "tarinfo": PlainInfo}
    with tarfile.open(fileobj=file, mode="r|", **settings) as archive:  # type: ignore[call-overload]
        for info in archive:
            archive.members.clear()  # tarfile remembers every entry; we do not need them
            if not info.isdir():
                yield _tar_member(archive, info)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    name = info.name.encode("utf-8", "surrogateescape")
    if info.issym() or info.islnk():
        return Member(name, False, None, "It is a link.", link=True)
    if info.isreg() and not info.issparse():
        return Member(name, bool(info.mode & 0o100), lambda: _extracted(archive, info))
    return Member(name, False, None, "It is a device, a pipe or a file with holes.")


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    opened = archive.extractfile(info)
    if opened is None:
        raise tarfile.ReadError("a file without contents")
    return opened


# --- into the store ------------------------------------------------------------------------------


def problem(name: bytes) -> str:
    """Return why a name in an archive is not taken as a path; "" if it is."""
    parts = name.split(b"/")
    if name.startswith((b"/", b"\\")) or b":" in parts[0][1:2]:
        return "Its name is absolute."
    if b".." in parts or b".." in name.split(b"\\"):
        return "Its name leads out of the archive."
    if b"\0" in name or b"" in parts or b"." in parts:
        return "Its name is not a plain path."
    if any(part.lower().rstrip(b" .") in (b".git", b"git~1") for part in parts):
        return "It belongs to git itself."
    if len(name) > PATH_LIMIT:
        return f"Its name is longer than {PATH_LIMIT} bytes."
    return ""


def _import(
    git: Git, members: Iterator[Member], counter: Counter
) -> tuple[dict[bytes, int], list[FileFacts]]:
    """Stream plain files into the store; return their paths with sizes, and what was not taken."""
    taken: dict[bytes, int] = {}
    folders: set[bytes] = set()
    skipped: list[FileFacts] = []
    with git.started(*FAST_IMPORT, stdin=subprocess.PIPE) as running:
        pipe = _stdin(running)
        try:
            pipe.write(COMMIT)
            for member in members:
                counter.entry()
                name = member.name.removeprefix(b"./")
                why = member.why or problem(name) or _clash(name, taken, folders)
                if why or member.opened is None:
                    reason = "link" if member.link else "archive"
                    skipped.append(
                        _skipped(name, 0, reason, why)
                    )  # a size that is only claimed tells nothing
                else:
                    taken[name] = _copy(member, name, pipe, git)
                    folders.update(_parents(name))
            pipe.write(b"done\n")
            pipe.close()
        except BrokenPipeError:
            git.check_stop()  # else git has ended by itself, and says why
        running.stdout.read()
        running.wait()
    return taken, skipped


def _copy(member: Member, name: bytes, pipe: IO[bytes], git: Git) -> int:
    """Write one member to git, which wants to know its length first; return that."""
    assert member.opened is not None
    with member.opened() as opened, tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(git.folder)) as spool:
        size = 0
        while chunk := opened.read(CHUNK):
            size += spool.write(chunk)
        spool.seek(0)
        mode = b"100755" if member.executable else b"100644"
        pipe.write(b"M %s inline %s\ndata %d\n" % (mode, quoted(name), size))
        while chunk := spool.read(CHUNK):
            pipe.write(chunk)
        pipe.write(b"\n")
    return size


def _stdin(running: Running) -> IO[bytes]:
    assert running.popen.stdin is not None
    return running.popen.stdin


def _clash(name: bytes, paths: Collection[bytes], folders: set[bytes]) -> str:
    """A name that is there already, or is a file here and a folder there: the first one stays."""
    if name in paths or name in folders or any(parent in paths for parent in _parents(name)):
        return "The archive has another entry of this name."
    return ""


def _parents(name: bytes) -> list[bytes]:
    parts = name.split(b"/")
    return [b"/".join(parts[:n]) for n in range(1, len(parts))]


def quoted(name: bytes) -> bytes:
    """Return a path as fast-import takes it, whatever bytes it has."""
    return b'"' + b"".join(_QUOTED[byte] for byte in name) + b'"'


_QUOTED = [
    bytes([byte]) if 0x20 <= byte < 0x7F and byte not in b'"\\' else b"\\%03o" % byte for byte in range(256)
]


def _skipped(name: bytes, size: int, reason: str, why: str) -> FileFacts:
    return FileFacts(os.fsdecode(name), "", size, read=False, reason=reason, detail=why)


# --- ignored files -------------------------------------------------------------------------------


def _finish(git: Git, taken: dict[bytes, int], skipped: list[FileFacts]) -> Found:
    """Take the ignored files out of the tree, and the folder that everything lies in off it."""
    ignored = ignored_paths(git, taken)
    if ignored:
        gone = b"".join(b"D %s\n" % quoted(path) for path in ignored)
        git.run(*FAST_IMPORT, stdin=COMMIT + b"from refs/heads/upload^0\n" + gone + b"done\n")
    top = _common_folder(taken)
    where = f"{TREE}:{os.fsdecode(top)}" if top else TREE
    tree = git.run("rev-parse", "--verify", where).decode().strip()
    told = [*skipped, *(_skipped(path, taken[path], "ignored", rule) for path, rule in ignored.items())]
    prefix = os.fsdecode(top) + "/" if top else ""
    return Found("", tree, [replace(facts, path=facts.path.removeprefix(prefix)) for facts in told])


def _common_folder(paths: Collection[bytes]) -> bytes:
    """Return the one folder that everything lies in, as code hosts pack it; b"" where there is none."""
    tops = {path.partition(b"/")[0] for path in paths}
    only = tops.pop()
    return only if not tops and only not in paths else b""


def ignored_paths(git: Git, paths: Mapping[bytes, int]) -> dict[bytes, str]:
    """Return which paths the `.gitignore` files among them leave out, and by which rule. git decides."""
    files = [path for path in paths if path.rpartition(b"/")[2] == IGNORE and paths[path] <= IGNORE_LIMIT]
    if not files:
        return {}
    bare = git.folder / "ignores"
    for path, content in _contents(git, files):
        with contextlib.suppress(OSError):  # a name that this disk cannot hold: its rules do not count
            target = os.path.join(os.fsencode(bare), path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "xb") as file:
                file.write(content)
    return _asked(git, bare, paths)


def _contents(git: Git, paths: Collection[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield files of the store, all by one process: there may be as many as entries."""
    listed = git.run("ls-tree", "-r", "-z", "--full-tree", TREE).split(b"\0")
    blobs = {path: facts.split()[2] for facts, _, path in (line.partition(b"\t") for line in listed if line)}
    asked = b"".join(blobs[path] + b"\n" for path in paths)
    with git.started("cat-file", "--batch", "--buffer", stdin=asked) as running:
        for path in paths:
            size = int(running.stdout.readline().split()[2])
            yield path, running.stdout.read(size + 1)[:-1]


def _asked(git: Git, bare: Path, paths: Mapping[bytes, int]) -> dict[bytes, str]:
    bare.mkdir(exist_ok=True)
    there = Git(git.folder, git.stop, {"GIT_WORK_TREE": str(bare)}, git.options)
    arguments = ["-C", str(bare), "check-ignore", "--no-index", "--verbose", "-z", "--stdin"]
    try:
        said = there.run(*arguments, stdin=b"".join(b"./%s\0" % path for path in sorted(paths)))
    except GitFailed as error:
        if error.code != 1:  # 1: nothing is ignored
            raise
        return {}
    fields = said.split(b"\0")
    rules = zip(fields[0::4], fields[2::4], fields[3::4], strict=False)
    return {
        path.removeprefix(b"./"): f"{os.fsdecode(file)}: {os.fsdecode(pattern)}"
        for file, pattern, path in rules
        if not pattern.startswith(b"!")
    }
