"""What `make bench` can measure: one function a part, each giving the lines that are printed."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import BARE, STARTED, idle_memory, pss, worker, workers
from nyxcore.processes import end_child
from nyxcore.worker import worker_program


@dataclass(frozen=True)
class Bench:
    """What a part is given: the arguments, the environment of processes, the owner of runs."""

    options: argparse.Namespace
    env: dict[str, str]
    owner: Any

    @property
    def rounds(self) -> int:
        return int(self.options.rounds)


Lines = Iterator[str]


def run(options: argparse.Namespace, env: dict[str, str]) -> None:
    """Measure the one part that is asked for, or all but those that take very long."""
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth import get_user_model

    bench = Bench(options, env, get_user_model().objects.create_user("bench"))
    chosen = {options.only: (PARTS | ASKED_FOR)[options.only]} if options.only else PARTS
    for part in chosen.values():
        for line in part(bench):
            print(line, flush=True)


def page(bench: Bench) -> Lines:
    from bench import page

    yield page.line(page.measure(bench.owner, bench.rounds))


def findings(bench: Bench) -> Lines:
    from bench import findings

    yield from findings.lines(findings.measure(bench.owner, bench.rounds))


def browser(bench: Bench) -> Lines:
    from bench import browser

    streaming = bench.env | {"NYXCORE_PRACTICE_SPEED": "60"}
    yield from browser.measure(bench.owner, streaming, max(3, bench.rounds // 4), bench.options.seconds)


def streams(bench: Bench) -> Lines:
    from bench import streams

    with _sending():
        yield from streams.report(bench.env, bench.rounds)


def manifest(bench: Bench) -> Lines:
    from bench import manifest

    yield manifest.line()


def analysis(bench: Bench) -> Lines:
    """Chunks of an analysis, with one worker process and with two."""
    from django.conf import settings

    from bench import analysis

    with analysis.source() as folder, analysis.model_server() as address:
        settings.NYXCORE_ANALYSIS_ROOT = str(folder.parent)
        told = {"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": address, "NYXCORE_LLM": "anthropic"}
        sizes = {"NYXCORE_ANALYSIS_ROOT": str(folder.parent), "NYXCORE_ANALYSIS_CHUNK": "2500"}
        for number, parallel in ((1, 4), (2, 8)):
            each = {"NYXCORE_PROVIDER_PARALLEL": str(parallel // number), "NYXCORE_SWEEP_EVERY": "1"}
            with workers(number, bench.env | told | sizes | each):
                time.sleep(STARTED)  # they know the vendor's SDK then
                found = analysis.measure(bench.owner, folder, parallel)
            yield analysis.line(parallel, number, *found)


def memory(bench: Bench) -> Lines:
    yield idle_memory(bench.env)


def latency(bench: Bench) -> Lines:
    from bench import engine

    with _beside_bare_celery(bench):
        found = engine.latency(bench.owner, bench.rounds)
        yield engine.line("10 steps, one workflow", found, "ms", "<= 0.6, aim 0.5")


def throughput(bench: Bench) -> Lines:
    from bench import engine

    with _beside_bare_celery(bench):
        found = engine.throughput(bench.owner, max(3, bench.rounds // 10))
        yield engine.line("100 x 10 steps, two workers", found, "steps/s", ">= 2.2, aim 2.5")


def load(bench: Bench) -> Lines:
    """A long queue and several workers."""
    from django.contrib.auth import get_user_model

    from bench import load

    other = get_user_model().objects.create_user("other")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def begin() -> list[int]:
            pids = []
            for n in range(
                bench.options.workers
            ):  # as `up` starts them, so that the processor is shared alike
                program = worker_program(f"w{n}", folder / f"w{n}", bench.env)
                child = program.spawn(None)
                stack.callback(end_child, child, program)
                pids.append(child.pid)
            return pids

        yield load.line(load.measure(bench.owner, other, bench.options.runs, begin, pss))


def many(bench: Bench) -> Lines:
    """A million rows."""
    from django.contrib.auth import get_user_model

    from bench import many

    people = get_user_model().objects
    owners = [people.create_user(f"p{n}", is_staff=n == many.OWNERS - 1) for n in range(many.OWNERS)]
    many.fill(owners, bench.options.attempts, bench.options.queued)
    yield from many.measure(owners, bench.rounds)
    yield many.plan()


@contextlib.contextmanager
def _sending() -> Iterator[None]:
    """The threads of a web process, in this one: what is published leaves."""
    from nyxcore.pulse import Process

    sender = Process()
    sender.start()
    try:
        yield
    finally:
        sender.close()


@contextlib.contextmanager
def _beside_bare_celery(bench: Bench) -> Iterator[None]:
    """Two of our workers and bare Celery, all of them warm."""
    from bench import engine

    plain = {name: value for name, value in bench.env.items() if name != "DJANGO_SETTINGS_MODULE"}
    with _sending(), workers(2, bench.env), worker(*BARE, "-n", "bare@%h", env=plain):
        time.sleep(STARTED)
        engine.latency(bench.owner, 5)
        yield


Part = Callable[[Bench], Lines]
PARTS: dict[str, Part] = {
    "page": page,
    "findings": findings,
    "browser": browser,
    "streams": streams,
    "manifest": manifest,
    "analysis": analysis,
    "memory": memory,
    "latency": latency,
    "throughput": throughput,
}
ASKED_FOR: dict[str, Part] = {"load": load, "many": many}  # minutes each: only by --only
