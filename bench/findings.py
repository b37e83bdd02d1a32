"""The findings page of a run with 2,000 findings, and the coverage page of one with 5,000 files."""

from __future__ import annotations

import statistics
import time
from typing import Any

from django.apps import apps
from django.db import connection
from django.test import Client

from tests.analysis.rows_made import make_run

FINDINGS, FILES = 2_000, 5_000


def measure(owner: Any, rounds: int) -> dict[str, list[float]]:
    """Milliseconds in the server, by the wall and of the processor, with all middleware and gzip."""
    run = make_run(owner, FILES, FINDINGS, "bench")
    with connection.cursor() as cursor:  # as autovacuum does within a minute
        for model in apps.get_app_config("analysis").get_models():
            cursor.execute(f"ANALYZE {model._meta.db_table}")
    client = Client(headers={"Accept-Encoding": "gzip"}, HTTP_HOST="127.0.0.1")
    client.force_login(owner)
    base = f"{run.get_absolute_url()}?tab="
    pages = {
        "by file": f"{base}findings&all=1", "by rule": f"{base}findings&all=1&group=rule",
        "one rule": f"{base}findings&severity=critical&q=value", "coverage": f"{base}coverage",
        "folder": f"{run.get_absolute_url()}files/?folder=src/part0/pack0",
    }  # fmt: skip
    found: dict[str, list[float]] = {}
    for number in range(rounds + 3):
        for name, address in pages.items():
            wall, own, size = _get(client, address)
            if number >= 3:  # warm
                found.setdefault(name, []).append(wall)
                found.setdefault(f"{name}, processor", []).append(own)
                found.setdefault(f"{name}, KB", []).append(size)
    return found


def _get(client: Client, address: str) -> tuple[float, float, float]:
    wall, own = time.perf_counter(), time.process_time()
    answer = client.get(address)
    spent = 1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - own)
    assert answer.status_code == 200
    return *spent, len(answer.content) / 1000


def lines(found: dict[str, list[float]]) -> list[str]:
    told = []
    for name in [name for name in found if "," not in name]:
        wall, own, size = (
            statistics.median(found[key]) for key in (name, f"{name}, processor", f"{name}, KB")
        )
        what = f"{FILES:,} files" if name in ("coverage", "folder") else f"{FINDINGS:,} findings"
        goal = "" if name in ("coverage", "folder") else " (goal <= 60 ms)"
        told.append(
            f"{what}, {name}: {wall:.1f} ms in the server, {own:.1f} ms processor, {size:.0f} KB gzipped{goal}"
        )
    return told
