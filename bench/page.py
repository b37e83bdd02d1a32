"""The page of a run of 1,000 steps, beside a bare page of as many lines through the same middleware."""

from __future__ import annotations

import gzip
import statistics
import time
from typing import Any

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse

from workflows import services
from workflows.models import Workflow
from workflows.specs import load

STEPS = 1000
WORDS = 340  # of one output: 2 KB
TABLES = ("workflows_workflow", "workflows_step", "workflows_stepattempt")

# As if a worker had run them: the rules that guard single moves are left aside, what a row must hold is not.
_FILL = """
INSERT INTO workflows_stepattempt (step_id, kind, branch, number, cause, status, reason, version, queued_at, started_at,
       finished_at, comment, request, output, stop_reason, model, input_tokens, output_tokens, usage, cost,
       cost_estimated, request_id, worker, error)
SELECT id, kind, '', 1, 'start', 'completed', '', 2, t, t + interval '2 s', t + interval '20 s', '',
       '{"model": "claude-opus-5-5", "prompt": "Write.", "max_tokens": 16384}', repeat('words ', %s), 'end_turn',
       'claude-opus-5-5', 900, 700, '{}', 0.0123, false, '', 'bench', ''
  FROM workflows_step, LATERAL (SELECT now() - interval '1 h' + position * interval '1 s' AS t) x
 WHERE workflow_id = %s
"""


def make(owner: Any, steps: int = STEPS) -> Workflow:
    """A completed run; each step has an answer of 2 KB."""
    planned = [
        {"key": f"s{n}", "title": f"Step {n} of the plan", "kind": "llm", "config": {"prompt": "Write."}}
        for n in range(steps)
    ]
    spec = load({"name": "Bench page", "slug": "bench", "version": 1, "steps": planned})
    workflow = services.create_workflow(owner=owner, spec=spec, data={})
    with transaction.atomic(), connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(_FILL, [WORDS, workflow.pk])
        cursor.execute(
            "UPDATE workflows_step s SET status = 'completed', version = 3, output = a.output,"
            " started_at = a.started_at, finished_at = a.finished_at FROM workflows_stepattempt a"
            " WHERE a.step_id = s.id AND s.workflow_id = %s",
            [workflow.pk],
        )
        cursor.execute(
            "UPDATE workflows_workflow SET status = 'completed', version = 9, started_at = now() - interval '1 h',"
            " finished_at = now() WHERE id = %s",
            [workflow.pk],
        )
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
            cursor.execute(f"ANALYZE {table}")
    workflow.refresh_from_db()
    return workflow


def bare_page(request: HttpRequest, pk: int) -> HttpResponse:
    """The least that a page of so many lines can be: one query, one f-string a line, no template."""
    assert request.user.is_authenticated
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, title, status FROM workflows_step WHERE workflow_id = %s ORDER BY position", [pk]
        )
        lines = [f'<li id="{row[0]}"><a href="{row[0]}/">{row[1]}</a> {row[2]}</li>' for row in cursor]
    return HttpResponse(f"<!doctype html><title>Bare</title><ol>{''.join(lines)}</ol>")


def measure(owner: Any, rounds: int) -> dict[str, list[float]]:
    """Milliseconds in the server for either page, with all middleware and gzip; and their sizes in KB."""
    workflow = make(owner)
    client = Client(headers={"Accept-Encoding": "gzip"}, HTTP_HOST="127.0.0.1")
    client.force_login(owner)
    pages: dict[str, str] = {
        "nyxcore": reverse("workflows:detail", args=[workflow.pk]),
        "bare": f"/bare/{workflow.pk}/",
    }
    found: dict[str, list[float]] = {name: [] for name in (*pages, "size nyxcore", "size bare")}
    client.get(reverse("workflows:list"))  # the process has started up
    found["first"] = [1000 * _get(client, pages["nyxcore"])[0]]  # no line of the run known to it
    for number in range(rounds + 3):
        for name, address in pages.items():
            seconds, size = _get(client, address)
            if number >= 3:  # warm
                found[name].append(1000 * seconds)
                found[f"size {name}"].append(size / 1000)
    return found


def _get(client: Client, address: str) -> tuple[float, int]:
    start = time.perf_counter()
    answer = client.get(address)
    taken = time.perf_counter() - start
    assert answer.status_code == 200
    assert answer["Content-Encoding"] == "gzip"
    gzip.decompress(answer.content)
    return taken, len(answer.content)


def line(found: dict[str, list[float]]) -> str:
    middle = {name: statistics.median(values) for name, values in found.items()}
    return (
        f"page of {STEPS:,} steps: {middle['nyxcore']:.1f} ms in the server, {middle['size nyxcore']:.0f} KB gzipped;"
        f" bare page {middle['bare']:.1f} ms, {middle['size bare']:.0f} KB; first time"
        f" {found['first'][0]:.0f} ms (goal <= 25 ms, <= 150 KB)"
    )
