"""Temporary folders for sources. They go with the block, and after a kill with the next `remove_leftovers()`.

Whether the owner of a folder lives is told by a lock on a file in it: the kernel gives it back however a process
ends, and it also holds between containers that share a disk and not their process ids. The name carries the
process id, for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

PREFIX = "nyxcore-source-"
LOCK = "lock"
NEW = 60.0  # seconds that a folder may be without its lock: it is just being made


@contextlib.contextmanager
def scratch(base: Path | None = None) -> Iterator[Path]:
    """A folder for the time of the block, for its owner only."""
    where = base or Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=where))
    lock = _lock_new(folder)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def _lock_new(folder: Path) -> int:
    """Lock before the file gets its name, so that nobody ever sees it free while we live."""
    fd = os.open(folder / "lock.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.rename(folder / "lock.new", folder / LOCK)
    return fd


def remove_leftovers(base: Path | None = None) -> int:
    """Remove the folders whose owner is gone, and end what still runs in them; return how many there were."""
    where = base or Path(tempfile.gettempdir())
    removed = 0
    for folder in where.glob(f"{PREFIX}*"):
        if folder.is_symlink() or not folder.is_dir() or not _ours(folder):
            continue
        with _abandoned(folder) as abandoned:
            if abandoned:
                _end_processes(folder)
                _remove(folder)
                removed += 1
                log.info("Removed %s: its owner is gone", folder.name)
    return removed


def _ours(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return folder.lstat().st_uid == os.geteuid()
    return False


@contextlib.contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Whether nobody holds the folder; if so, we hold it for the time of the block."""
    try:
        fd = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield _age(folder) > NEW
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)


def _age(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return time.time() - folder.lstat().st_mtime
    return 0.0


def _end_processes(folder: Path) -> None:
    """End the git processes of a dead owner: those that stand in its folder (Linux; elsewhere they time out)."""
    real = os.path.realpath(folder)
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            inside = os.readlink(link)
            if inside == real or inside.startswith(real + os.sep):
                os.kill(int(link.parent.name), signal.SIGKILL)


def _remove(folder: Path) -> None:
    """Remove a folder, also while a process that is just ending still writes there."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
    log.warning("The temporary folder %s could not be removed. The next sweep tries again.", folder)
