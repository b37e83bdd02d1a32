"""The plain data that pass between the runner and those who write rows: a Job goes in, a Result comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nyxcore.attempts import Result as Result


@dataclass(frozen=True)
class Job:
    """A claimed attempt with all that is needed to run it; `outputs` are those of its direct needs."""

    attempt: int
    number: int
    cause: str
    max_tokens: int | None
    continues: int | None
    comment: str
    step: int
    key: str
    kind: str
    config: dict[str, Any]
    workflow: int
    input: dict[str, Any]
    default_model: str
    outputs: dict[str, tuple[str, str]]  # key: (output, notes)
