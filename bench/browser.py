"""`python -m bench.browser`: the page of a run in Chromium, with its own servers, web process and worker.

Prints, for a run of 1,000 steps: first contentful paint, and how long "expand all" takes and holds up the page; for
eight steps that stream side by side: tasks over 50 ms and how far the layout shifted.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from typing import Any

from bench.__main__ import worker

LANES = 8
WATCH = """
window.seen = { tasks: [], shift: 0, asked: 0 };
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) seen.tasks.push([Math.round(one.startTime), Math.round(one.duration)]);
}).observe({ type: "longtask", buffered: true });
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) seen.shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
EXPAND = """async () => {
  seen.tasks.length = 0;
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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.browser", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="of the 1,000-step page")
    parser.add_argument("--seconds", type=int, default=60, help="of streaming")
    options = parser.parse_args()
    from nyxcore import embedded

    with tempfile.TemporaryDirectory(prefix="nyxcore-bench-") as folder, embedded.services(folder) as servers:
        env = os.environ | {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "SECRET_KEY": "bench",
            "ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "NYXCORE_LLM": "practice",
            "NYXCORE_PRACTICE_SPEED": "60",
            "LOG_LEVEL": "WARNING",
        }
        os.environ.update(env)
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        port = _free_port()
        web = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "nyxcore.asgi:application",
                "--port",
                str(port),
                "--log-level",
                "error",
            ],
            env=env,
        )
        ours = ["-A", "nyxcore", "worker", "--pool", "threads", "--concurrency", "16", "-n", "browser@%h"]
        try:
            with worker(*ours, env=env):
                measure(options, f"http://127.0.0.1:{port}")
        finally:
            web.terminate()
            web.wait(20)


def measure(options: argparse.Namespace, address: str) -> None:
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.test import Client
    from playwright.sync_api import sync_playwright

    from bench import page

    owner = get_user_model().objects.create_user("bench")
    long_run, lanes = page.make(owner).pk, _lanes(owner)
    client = Client()
    client.force_login(owner)
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "url": address,
    }
    _wait_for(address)
    with sync_playwright() as playwright:
        system = "/usr/bin/chromium"
        browser = playwright.chromium.launch(
            executable_path=system if os.path.exists(system) else None, args=["--headless", "--no-sandbox"]
        )
        paints, expands = [], []
        for _ in range(options.rounds + 1):  # the first fills the server's and the browser's caches
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            context.add_cookies([cookie])  # type: ignore[list-item]
            tab = context.new_page()
            tab.add_init_script(WATCH)
            tab.goto(f"{address}/workflows/{long_run}/", wait_until="load")
            paints.append(_paint(tab))
            tab.wait_for_timeout(500)
            found = tab.evaluate(EXPAND)
            tab.wait_for_timeout(200)
            expands.append((found["painted"], found["seen"], _longest(tab)))
            context.close()
        print(
            f"first contentful paint: {_middle(paints[1:])} ms, first visit {paints[0]:.0f} ms (goal <= 500)"
        )
        painted, seen, held = zip(*expands[1:], strict=True)
        print(
            f"expand all of 1,000: painted after {_middle(painted)} ms, bodies in view there after {_middle(seen)} ms,"
            f" longest task {_middle(held)} ms (goal <= 1000)"
        )
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.add_cookies([cookie])  # type: ignore[list-item]
        tab = context.new_page()
        tab.add_init_script(WATCH)
        tab.goto(f"{address}/workflows/{lanes}/")
        tab.get_by_role("button", name="Start").click()
        tab.locator(".stream").nth(LANES - 1).wait_for(state="attached", timeout=30_000)
        tab.evaluate("() => { seen.tasks.length = 0; seen.shift = 0; }")
        tab.wait_for_timeout(options.seconds * 1000)
        written = tab.evaluate(
            "[...document.querySelectorAll('.stream')].reduce((sum, one) => sum + one.textContent.length, 0)"
        )
        tasks = tab.evaluate("seen.tasks")
        still = tab.locator(".stream").count()
        print(
            f"{options.seconds} s of streaming in {LANES} steps ({still} to the end, {written:,} characters shown,"
            f" {tab.locator('#live-state').inner_text()}): {len(tasks)} tasks over 50 ms"
            f" {[length for _at, length in tasks]}, layout shift {tab.evaluate('seen.shift'):.4f}"
        )
        browser.close()


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


def _paint(tab: Any) -> float:
    """Milliseconds; the entry may come a moment after the load."""
    entry = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    while not (painted := float(tab.evaluate(entry))):
        tab.wait_for_timeout(50)
    return painted


def _longest(tab: Any) -> float:
    return float(tab.evaluate("Math.max(0, ...seen.tasks.map(([, length]) => length))"))


def _middle(values: Any) -> str:
    return f"{statistics.median(values):.0f}"


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


if __name__ == "__main__":
    main()
