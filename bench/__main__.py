"""`make bench`: starts its own servers and workers, measures, prints one line per figure."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

CELERY = [sys.executable, "-m", "celery"]
QUIET = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "ERROR"]


@contextlib.contextmanager
def worker(*options: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Celery worker process for the time of the block."""
    process = subprocess.Popen([*CELERY, *options, *QUIET], env=env)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def pss(pid: int) -> float:
    """MiB of a process, shared pages counted by share."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise LookupError(f"no Pss of {pid}")


def analyses(owner: object, env: dict[str, str]) -> None:
    """Chunks of an analysis, with one worker process and with two."""
    from django.conf import settings

    from bench import analysis

    with analysis.source() as folder, analysis.model_server() as address:
        settings.NYXCORE_ANALYSIS_ROOT = str(folder.parent)
        told = {"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": address, "NYXCORE_LLM": "anthropic"}
        sizes = {"NYXCORE_ANALYSIS_ROOT": str(folder.parent), "NYXCORE_ANALYSIS_CHUNK": "2500"}
        for workers, parallel in ((1, 4), (2, 8)):
            each = {"NYXCORE_PROVIDER_PARALLEL": str(parallel // workers), "NYXCORE_SWEEP_EVERY": "1"}
            ours = ["-A", "nyxcore", "worker", "--pool", "threads", "--concurrency", "16"]
            with contextlib.ExitStack() as stack:
                for number in range(workers):
                    stack.enter_context(worker(*ours, "-n", f"n{number}@%h", env=env | told | sizes | each))
                time.sleep(8)  # the workers have started, and know the vendor's SDK
                found = analysis.measure(owner, folder, parallel)
            print(analysis.line(parallel, workers, *found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30, help="rounds of the latency row")
    kinds = ["latency", "throughput", "memory", "page", "findings", "manifest", "analysis"]
    parser.add_argument("--only", choices=kinds)
    options = parser.parse_args()
    if options.only in (None, "manifest"):
        from bench import manifest

        print(manifest.line(), flush=True)
        if options.only:
            return
    from nyxcore import embedded

    with tempfile.TemporaryDirectory(prefix="nyxcore-bench-") as folder, embedded.services(folder) as servers:
        env = os.environ | {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "SECRET_KEY": "bench",
            "ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "NYXCORE_LLM": "practice",
            "LOG_LEVEL": "WARNING",
        }
        os.environ.update(env)
        measure(options, env)


def measure(options: argparse.Namespace, env: dict[str, str]) -> None:
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    from django.contrib.auth import get_user_model

    from bench import engine, findings, page
    from nyxcore.pulse import Process

    owner = get_user_model().objects.create_user("bench")
    if options.only in (None, "page"):
        print(page.line(page.measure(owner, options.rounds)), flush=True)
        if options.only:
            return
    if options.only in (None, "findings"):
        print("\n".join(findings.lines(findings.measure(owner, options.rounds))), flush=True)
        if options.only:
            return
    if options.only in (None, "analysis"):
        analyses(owner, env)
        if options.only:
            return
    sender = Process()
    sender.start()
    ours = ["-A", "nyxcore", "worker", "--pool", "threads", "--concurrency", "16"]
    with worker(*ours, "-n", "a@%h", env=env) as first, worker(*ours, "-n", "b@%h", env=env):
        if options.only in (None, "memory"):
            time.sleep(8)  # idle: after the start, before any work
            print(memory(first.pid, env), flush=True)
        bare = ["-A", "bench.bare", "worker", "--pool", "prefork", "--concurrency", "2", "-n", "bare@%h"]
        plain = {name: value for name, value in env.items() if name != "DJANGO_SETTINGS_MODULE"}
        with worker(*bare, "-Q", "bare", env=plain):
            engine.latency(owner, 5)  # warm both
            if options.only in (None, "latency"):
                found = engine.latency(owner, options.rounds)
                print(engine.line("10 steps, one workflow", found, "ms", "<= 0.6, aim 0.5"), flush=True)
            if options.only in (None, "throughput"):
                found = engine.throughput(owner, max(3, options.rounds // 10))
                print(
                    engine.line("100 x 10 steps, two workers", found, "steps/s", ">= 2.2, aim 2.5"),
                    flush=True,
                )
    sender.close()


def memory(worker_pid: int, env: dict[str, str]) -> str:
    """Idle PSS of one worker and one web process."""
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "nyxcore.asgi:application",
        "--port",
        "0",
        "--log-level",
        "error",
    ]
    web = subprocess.Popen(command, env=env)
    try:
        time.sleep(8)
        sizes = {"worker": pss(worker_pid), "web": pss(web.pid)}
    finally:
        web.terminate()
        web.wait(20)
    parts = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    return f"idle memory, PSS MiB: {parts}; sum {sum(sizes.values()):.0f} (goal <= 160)"


if __name__ == "__main__":
    main()
