"""Analyses with real workers that ask a server over the wire, and that are killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis import services
from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore.llm.base import Message, Request
from tests.analysis.engine_helpers import KINDS, Scripted, begin, found, module, write
from tests.nyxcore.llm.wire import END, answer, block, event, start, stop, text
from tests.processes.conftest import StartWorker, short_times, start_worker, web
from tests.processes.model import HOLD, Call, Model
from tests.processes.tools import eventually, speaking_to

__all__ = ["short_times", "start_worker", "web"]
pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
KILLS, PARALLEL = 2, 2


class Reviewer(Model):
    """Answers as the scripted provider does; `holding` chunks are held in the middle until the client hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.scripted = Scripted()
        self.holding = threading.Event()

    def begin(self, body: dict[str, Any]) -> tuple[Call, Sequence[Any]]:
        call, _script = super().begin(body)
        kind, said = self.reply(body)
        if kind == "chunk" and self.holding.is_set():
            rest = [text(said), event("content_block_stop", index=0), stop("end_turn"), END]
            return call, [start(), block(), HOLD, *rest]
        return call, answer(said)

    def reply(self, body: dict[str, Any]) -> tuple[str, str]:
        kind = next(kind for words, kind in KINDS.items() if body["system"].startswith(words))
        content = body["messages"][0]["content"]
        prompt = content if isinstance(content, str) else content[-1]["text"]
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        request = Request("m", (Message("user", prompt),), 10, system=body["system"], schema=schema)
        return kind, getattr(self.scripted, f"_{kind}")(request)

    def in_flight(self) -> bool:
        """Whether an answer is held and its client waits for it."""
        return any(call.held.is_set() and not call.ended.is_set() for call in self.calls)

    def asked(self, kind: str) -> list[str]:
        """The prompts of that kind."""
        begins = next(words for words, name in KINDS.items() if name == kind)
        return [str(call.body["messages"]) for call in self.calls if call.body["system"].startswith(begins)]


@pytest.fixture
def reviewer() -> Iterator[Reviewer]:
    server = Reviewer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    for call in server.calls:
        call.close()


@pytest.fixture
def parts(root: Path) -> Path:
    """A source of six chunks."""
    files = {f"part{n}/code.py": module(f"part{n}", bug=n == 1, lines=40) for n in range(6)}
    return write(root / "parts", files)


def worker_env(root: Path, reviewer: Reviewer) -> dict[str, str]:
    sizes = {"NYXCORE_ANALYSIS_ROOT": str(root), "NYXCORE_ANALYSIS_CHUNK": "700"}
    return {**speaking_to(reviewer.url), **sizes, "NYXCORE_PROVIDER_PARALLEL": str(PARALLEL)}


def completes(run: AnalysisRun) -> AnalysisRun:
    ended = ("completed", "failed", "cancelled", "paused")
    eventually(
        AnalysisRun.objects.filter(pk=run.pk, status__in=ended).exists, 60, "for the end of the analysis"
    )
    run.refresh_from_db()
    return run


def test_killed_workers_cost_at_most_the_calls_in_flight(
    web: Any, start_worker: StartWorker, reviewer: Reviewer, root: Path, parts: Path
) -> None:
    run = begin(parts)
    done = Unit.objects.filter(run=run, kind="chunk", status="completed")
    for kill in range(KILLS):
        reviewer.holding.clear()
        worker = start_worker(f"worker{kill}", **worker_env(root, reviewer))
        eventually(lambda least=1 + kill: done.count() >= least, 30, "for a chunk")  # type: ignore[misc]
        reviewer.holding.set()
        eventually(reviewer.in_flight, 30, "for a call in flight")
        worker.kill()
    reviewer.holding.clear()
    start_worker("last", **worker_env(root, reviewer))
    run = completes(run)
    assert (run.status, run.gaps, found(run)) == ("completed", [], ["part1/code.py:45"])
    assert len(reviewer.asked("overview")) == 1
    assert 6 < len(reviewer.asked("chunk")) <= 6 + KILLS * PARALLEL
    assert UnitAttempt.objects.filter(unit__run=run, reason="lost").count() <= KILLS * PARALLEL


def test_a_cancel_reaches_the_calls_within_two_seconds(
    start_worker: StartWorker, reviewer: Reviewer, root: Path, parts: Path
) -> None:
    reviewer.holding.set()
    run = begin(parts)
    start_worker("worker", **worker_env(root, reviewer))
    chunk = eventually(
        lambda: next((c for c in reviewer.calls if c.held.is_set()), None), 30, "for a held call"
    )
    services.cancel_analysis(run, by=run.owner)
    assert chunk.ended.wait(2)
    assert chunk.hung_up_at is not None
    assert AnalysisRun.objects.get(pk=run.pk).status == "cancelled"
