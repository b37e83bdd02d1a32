"""What a source is, how much of it may be taken, and what it turned out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from analysis.plain import FileFacts


@dataclass(frozen=True)
class SourceSpec:
    """Where to read from. Which fields count depends on the kind."""

    kind: Literal["git", "upload", "path"]
    url: str = ""  # git
    ref: str = ""  # git, path: branch, tag or commit; "" the default branch
    subpath: str = ""  # read only what lies below this folder
    token: str = field(default="", repr=False)  # git: reaches git by its environment, never by the address
    archive: bytes | Path = field(
        default=b"", repr=False
    )  # upload: zip, tar, tar.gz, or a file that holds one
    path: str = ""  # path
    root: str = ""  # path: the configured root that it must lie below


@dataclass(frozen=True)
class Limits:
    """What reading one source may take."""

    seconds: float = 300.0
    disk: int = 1 << 30  # bytes of the temporary folder
    entries: int = 100_000
    unpacked: int = 512 << 20  # bytes of an upload when unpacked
    ratio: int = 200  # unpacked bytes for each packed byte of an upload
    file: int = 1 << 20  # bytes of one file that are ever read


USUAL = Limits()


@dataclass(frozen=True)
class Found:
    """What a source turned out to be."""

    commit: str
    tree: str
    skipped: Sequence[FileFacts] = ()
    has_history: bool = False
