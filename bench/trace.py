"""What a browser's trace says of a page: the tasks of its main thread, on the clock and in CPU time."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CATEGORIES = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
LONG = 50.0  # ms


@dataclass
class Tasks:
    """(ms on the clock, ms of CPU) of each task. On a busy machine the first counts the waits for a core too."""

    all: list[tuple[float, float]] = field(default_factory=list)

    @property
    def longest(self) -> tuple[float, float]:
        return max((clock for clock, _cpu in self.all), default=0.0), max(
            (cpu for _c, cpu in self.all), default=0.0
        )

    def __str__(self) -> str:
        clock = [round(clock) for clock, _cpu in self.all if clock > LONG]
        cpu = [round(cpu) for _clock, cpu in self.all if cpu > LONG]
        busy = sum(cpu for _clock, cpu in self.all) / 1000
        return f"{len(cpu)} tasks over 50 ms of CPU {cpu}, {len(clock)} on the clock {clock}; CPU {busy:.1f} s in all"


@contextmanager
def traced(browser: Browser, tab: Page) -> Iterator[Tasks]:
    """Trace the page for the time of the block; its tasks are there afterwards."""
    found = Tasks()
    browser.start_tracing(page=tab, categories=CATEGORIES)
    try:
        yield found
    finally:
        found.all = main_thread(json.loads(browser.stop_tracing())["traceEvents"])


def main_thread(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The tasks of the busiest renderer's main thread: the page's; a spare renderer idles beside it."""
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        thread = (event["pid"], event["tid"])
        if thread in threads and event.get("ph") == "X" and event["name"] == "ThreadControllerImpl::RunTask":
            tasks[thread].append((event.get("dur", 0) / 1000, event.get("tdur", 0) / 1000))
    return max(tasks.values(), key=lambda found: sum(cpu for _clock, cpu in found), default=[])
