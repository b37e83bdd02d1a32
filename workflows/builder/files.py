"""Uploaded files as text."""

from __future__ import annotations

from typing import Any

from django.core.files.uploadedfile import UploadedFile

from workflows.problems import Problem
from workflows.yamlfile import MAX_BYTES


def read_upload(file: UploadedFile[Any], kept: str) -> tuple[str, list[Problem]]:
    """The text of an uploaded file; where it is none, `kept` and why."""
    size = file.size or 0
    if size > MAX_BYTES:
        return kept, [Problem("", f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read.")]
    data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return kept, [
            Problem("", f"This is not UTF-8 text (byte {error.start + 1:,}); save it as UTF-8.", line)
        ]
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        return kept, [Problem("", "This is no text file: it has NUL bytes.", line)]
    return text.replace("\r\n", "\n"), []
