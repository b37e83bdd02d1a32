"""What the tests of sentences have alike: a moment, and what a sentence must not be."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from nyxcore.states import ENDED, Reason, Status
from nyxcore.telling import Moment

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
MOMENT = Moment(NOW, workers=2, threads=32, busy=3)
IDLE = Moment(NOW, workers=0, last_seen=NOW - timedelta(minutes=5))
REASONS = ["", *Reason.values]
GOES_ON = "goes on by itself"


def earlier(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def attempt_fields(status: str = "running", reason: str = "", **fields: Any) -> dict[str, Any]:
    """The columns of an attempt of that status, as they would stand in a row."""
    times = {
        "queued_at": earlier(60), "started_at": None if status == "pending" else earlier(50),
        "finished_at": earlier(5) if status in ENDED else None,
    }  # fmt: skip
    if status == Status.RUNNING:
        times |= {"heartbeat_at": earlier(4), "due_at": earlier(-56), "deadline_at": earlier(-3550)}
    worker = "" if status in (Status.PENDING, Status.WAITING) else "host:7:abc/0"
    times |= {"due_at": earlier(-60)} if status == Status.WAITING else {}
    return {"number": 1, "status": status, "reason": reason, "worker": worker} | times | fields


def check(text: str) -> None:
    """Whole sentences without a hole."""
    assert text.strip() == text
    assert text.endswith("."), text
    assert not re.search(r"None|unknown|\(\)|  |\.\.|: \.|“”|: ?$", text), text


def check_action(said: str, status: str, reason: str) -> None:
    """What helps is an act, and one that this status allows."""
    act = said.removeprefix("What would move it: ")
    assert said != act
    assert len(act) > 15
    assert not re.search(r"Nothing to do|worker goes on|by itself", act), (status, reason, act)
    if status == Status.CUT_OFF:
        assert re.search(r"more room|larger context|effort", act), (reason, act)
    if status == Status.FAILED:
        assert "Open the step that needs you" not in act
