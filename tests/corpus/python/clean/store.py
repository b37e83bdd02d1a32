"""Uploaded files, each under the hash of its content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

HEX = set("0123456789abcdef")


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def put(self, data: bytes) -> str:
        """Keep `data`; return its name. Writing the same twice is harmless."""
        name = hashlib.sha256(data).hexdigest()
        target = self._path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(draft, target)
        except BaseException:
            os.unlink(draft)
            raise
        return name

    def get(self, name: str) -> bytes:
        return self._path(name).read_bytes()

    def _path(self, name: str) -> Path:
        if len(name) != 64 or not set(name) <= HEX:
            raise ValueError("not a name of this store")
        return self.root / name[:2] / name
