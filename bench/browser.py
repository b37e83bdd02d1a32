"""The page of a run in Chromium, with a web process and a worker of its own.

For a run of 1,000 steps: first contentful paint, and how long "expand all" takes and holds up the page; for eight
steps that stream side by side: tasks over 50 ms, from a browser's trace, and how far the layout shifted.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.page import STEPS
from bench.processes import worker
from bench.trace import Tasks, traced

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LANES = 8
SHIFT = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
WRITTEN = """() => {
  const streams = [...document.querySelectorAll(".stream")];
  return [streams.reduce((sum, one) => sum + one.textContent.length, 0), streams.length, window.shift];
}"""
EXPAND = """async () => {
  const start = performance.now();
  document.getElementById("expand-all").click();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const painted = performance.now() - start;
  // Rows, not bodies: measuring inside a row that is not rendered would render it.
  const waits = () => [...document.querySelectorAll(".step-row")].some((row) => {
    const box = row.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight && row.querySelector(".step-body[data-load]");
  });
  while (waits()) await new Promise((done) => setTimeout(done, 10));
  return { painted, seen: performance.now() - start };
}"""


def measure(owner: Any, env: dict[str, str], rounds: int, seconds: int) -> Iterator[str]:
    """A line for each figure; a web process and a worker of its own."""
    from bench import page

    if not shutil.which("chromium") and not _own_browsers():
        yield "the page in a browser: not measured, Chromium is not installed"
        return

    long_run, lanes = page.make(owner).pk, _lanes(owner)
    ours = ["-A", "nyxcore", "worker", "--pool", "threads", "--concurrency", "16", "-n", "browser@%h"]
    with web(env) as address, worker(*ours, env=env), chromium() as browser:

        def tab() -> Page:
            return _tab(browser, owner, address)

        yield from _long_page(browser, tab, f"{address}/workflows/{long_run}/", rounds)
        yield _streaming(browser, tab, f"{address}/workflows/{lanes}/", seconds)


def _long_page(browser: Browser, tab: Callable[[], Page], address: str, rounds: int) -> Iterator[str]:
    paints: list[float] = []
    expands: list[tuple[float, float, Tasks]] = []
    for _ in range(rounds + 1):  # the first fills the server's and the browser's caches
        page = tab()
        page.goto(address, wait_until="load")
        paints.append(_paint(page))
        page.wait_for_timeout(500)
        with traced(browser, page) as tasks:
            found = page.evaluate(EXPAND)
            page.wait_for_timeout(200)
        expands.append((found["painted"], found["seen"], tasks))
        page.context.close()
    yield (
        f"first contentful paint of {STEPS:,} steps: {_middle(paints[1:])} ms, quickest {min(paints[1:]):.0f}, first"
        f" visit {paints[0]:.0f} (goal <= 500); {_load()}"
    )
    painted, seen, tasks_of = zip(*expands[1:], strict=True)
    longest = [tasks.longest for tasks in tasks_of]
    yield (
        f"expand all of {STEPS:,}: painted after {_middle(painted)} ms, bodies in view there after {_middle(seen)} ms"
        f" (goal <= 1000), longest task {_middle(clock for clock, _cpu in longest)} ms,"
        f" {_middle(cpu for _clock, cpu in longest)} of CPU; {_load()}"
    )


def _streaming(browser: Browser, tab: Callable[[], Page], address: str, seconds: int) -> str:
    page = tab()
    page.goto(address)
    page.get_by_role("button", name="Start").click()
    page.locator(".stream").nth(LANES - 1).wait_for(state="attached", timeout=60_000)
    page.evaluate("window.shift = 0")
    with traced(browser, page) as tasks:
        page.wait_for_timeout(seconds * 1000)
        written, still, shift = page.evaluate(WRITTEN)
    return (
        f"{seconds} s of streaming in {LANES} steps ({still} to the end, {written:,} characters,"
        f" {page.locator('#live-state').inner_text()}): {tasks}; layout shift {shift:.4f}; {_load()}"
    )


# --- servers and tabs -----------------------------------------------------------------------------------------


@contextmanager
def web(env: dict[str, str]) -> Iterator[str]:
    """The address of a web process for the time of the block."""
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "nyxcore.asgi:application", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "error"], env=env)
    try:
        _wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread, which Django takes for a mistake.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox"]
        )
        yield browser
        browser.close()


def _own_browsers() -> list[Path]:
    """What Playwright has downloaded."""
    return list(Path.home().glob(".cache/ms-playwright/chromium*"))


def _tab(browser: Browser, owner: Any, address: str) -> Page:
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(owner)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": address}])
    page = context.new_page()
    page.add_init_script(SHIFT)
    return page


def _lanes(owner: Any) -> int:
    """A pending run of eight steps without needs, each with an answer of more than a minute."""
    from workflows import services
    from workflows.specs import load

    text = " ".join(f"word{n} about harbours and lighthouses," for n in range(420))
    steps = [
        {
            "key": f"s{n}",
            "title": f"Lane {n}",
            "kind": "llm",
            "needs": [],
            "config": {"prompt": f"Expand {n}. {text}"},
        }
        for n in range(LANES)
    ]
    spec = load({"name": "Bench lanes", "slug": "bench", "version": 1, "steps": steps})
    return int(services.create_workflow(owner=owner, spec=spec, data={}).pk)


def _paint(page: Page) -> float:
    """Milliseconds; the entry may come a moment after the load."""
    entry = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    while not (painted := float(page.evaluate(entry))):
        page.wait_for_timeout(50)
    return painted


def _middle(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.0f}"


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f}"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(address: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return
