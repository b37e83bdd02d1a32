"""Ten steps in a row, and a hundred such workflows at once, beside bare Celery."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import redis
from django.conf import settings

from bench import bare
from workflows import services
from workflows.models import Workflow
from workflows.specs import load

STEPS = 10


def make(owner: Any) -> Workflow:
    """A pending workflow of ten steps, each using the text of the one before."""
    steps = [{"key": "s1", "title": "Step 1", "kind": "noop", "config": {"prompt": "x"}}]
    steps += [
        {
            "key": f"s{n}",
            "title": f"Step {n}",
            "kind": "noop",
            "config": {"prompt": f"{{{{ steps.s{n - 1}.content }}}}"},
        }
        for n in range(2, STEPS + 1)
    ]
    spec = load({"name": "Bench", "slug": "bench", "version": 1, "steps": steps})
    return services.create_workflow(owner=owner, spec=spec, data={})


class Done:
    """Hears, as a page does, that workflows are completed."""

    def __init__(self) -> None:
        self.pubsub = redis.from_url(settings.REDIS_URL).pubsub(ignore_subscribe_messages=True)
        self.pubsub.subscribe("events_channel")
        self.pubsub.get_message(timeout=1)

    def wait(self, pks: set[int], timeout: float = 60.0) -> None:
        end = time.monotonic() + timeout
        left = {f'"workflow-{pk}"' for pk in pks}
        while left:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(left)} workflows did not complete")
            message = self.pubsub.get_message(timeout=1)
            if message and message["type"] == "message":
                text = message["data"].decode().replace("\\", "")
                if '"completed"' in text:
                    left -= {name for name in left if f'"id": {name}' in text or f'"id":{name}' in text}


def latency(owner: Any, rounds: int) -> dict[str, list[float]]:
    """Milliseconds from the start of a workflow to its completion, and the same for a chain; taken in turns."""
    done = Done()
    found: dict[str, list[float]] = {"nyxcore": [], "celery": []}
    for number in range(rounds):
        workflow = make(owner)

        def ours(workflow: Workflow = workflow) -> None:
            services.start_workflow(workflow, by=owner)
            done.wait({workflow.pk})

        def theirs(number: int = number) -> None:
            bare.run(f"bench:{number}", STEPS)
            bare.wait(f"bench:{number}")

        for name, action in _in_turn(number, ours, theirs):
            found[name].append(1000 * _seconds(action))
        workflow.refresh_from_db()
        assert workflow.status == "completed"
    return found


def throughput(owner: Any, rounds: int, runs: int = 100) -> dict[str, list[float]]:
    """Steps per second for `runs` workflows of ten steps started at once; taken in turns."""
    done = Done()
    found: dict[str, list[float]] = {"nyxcore": [], "celery": []}
    for number in range(rounds):
        workflows = [make(owner) for _ in range(runs)]

        def ours(workflows: list[Workflow] = workflows) -> None:
            for workflow in workflows:
                services.start_workflow(workflow, by=owner)
            done.wait({workflow.pk for workflow in workflows})

        def theirs(number: int = number) -> None:
            for n in range(runs):
                bare.run(f"bench:w:{number}:{n}", STEPS)
            for n in range(runs):
                bare.wait(f"bench:w:{number}:{n}")

        for name, action in _in_turn(number, ours, theirs):
            found[name].append(runs * STEPS / _seconds(action))
    return found


def _in_turn(
    number: int, ours: Callable[[], None], theirs: Callable[[], None]
) -> list[tuple[str, Callable[[], None]]]:
    pair = [("nyxcore", ours), ("celery", theirs)]
    return pair if number % 2 else pair[::-1]


def _seconds(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def ratio(found: dict[str, list[float]]) -> float:
    """nyxcore's median divided by the baseline's."""
    return statistics.median(found["nyxcore"]) / statistics.median(found["celery"])


def line(name: str, found: dict[str, list[float]], unit: str, goal: str) -> str:
    """One row of the report."""
    parts = [
        f"{who} {statistics.median(v):.1f} {unit} ({min(v):.1f}-{max(v):.1f})" for who, v in found.items()
    ]
    return f"{name}: {', '.join(parts)}; ratio {ratio(found):.2f} (goal {goal})"


def as_json(**rows: Any) -> str:
    return json.dumps(rows)
