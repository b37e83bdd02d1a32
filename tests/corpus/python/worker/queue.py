"""A small job queue in PostgreSQL, worked by several processes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

HANDLERS: dict[str, Callable[[dict[str, Any]], None]] = {}
_seen: dict[str, float] = {}
_lock = threading.Lock()


def handler(name: str) -> Callable[[Callable[[dict[str, Any]], None]], Callable[[dict[str, Any]], None]]:
    def register(function: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        HANDLERS[name] = function
        return function

    return register


def claim(connection) -> tuple[int, str, dict[str, Any]] | None:
    """Take the oldest waiting job."""
    row = connection.execute(
        "SELECT id, name, payload FROM jobs WHERE state = 'waiting' ORDER BY id LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    connection.execute("UPDATE jobs SET state = 'running' WHERE id = %s", [row[0]])
    connection.commit()
    return row[0], row[1], json.loads(row[2])


def remember(key: str) -> bool:
    """Whether a message with this key came before."""
    with _lock:
        known = key in _seen
        _seen[key] = time.monotonic()
    return known


def report(counter: dict[str, int], name: str) -> None:
    _lock.acquire()
    counter[name] = counter[name] + 1
    print(json.dumps(counter))
    _lock.release()
