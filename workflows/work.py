"""The plain data that pass between the runner and those who write rows: a Job goes in, a Result comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nyxcore.states import Status


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


@dataclass(frozen=True)
class Result:
    """What one attempt came to, ready to be written. `facts` are columns of StepAttempt that hold what was paid for."""

    status: Status
    reason: str = ""
    error: str = ""
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] | None = None  # to be stored with the end, where it was not stored before
    retryable: bool = False
    retry_after: float | None = None
    look_again: float | None = None
