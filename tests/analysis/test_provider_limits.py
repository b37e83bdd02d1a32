"""A provider that refuses: real workers ask LLMock over the wire, for an analysis and for workflows at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis import services
from analysis.models import AnalysisRun, UnitAttempt
from tests.analysis.engine_helpers import begin, module, root, units, write
from tests.factories import make_workflow
from tests.processes.conftest import StartWorker, short_times, start_worker
from tests.processes.mock import LLMock, refusal, reply, serving
from tests.processes.tools import ends, eventually, speaking_to

__all__ = ["root", "short_times", "start_worker"]
pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
CHUNKS, PARALLEL = 6, 4
OVERVIEW = reply(json.dumps({"summary": "A shop.", "stack": [], "layout": "", "conventions": ""}))
NOTHING = reply('{"findings": []}', times=None)
SLOW = {"type": "delay", "seconds": 0.3, "times": None}


@pytest.fixture(scope="module")
def server() -> Iterator[LLMock]:
    with serving() as server:
        yield server


@pytest.fixture
def llmock(server: LLMock) -> LLMock:
    server.ask("reset", {})
    return server


@pytest.fixture
def parts(root: Path) -> Path:
    """A source of six chunks."""
    return write(root / "parts", {f"part{n}/code.py": module(f"part{n}", lines=40) for n in range(CHUNKS)})


@pytest.fixture
def worker(start_worker: StartWorker, root: Path, llmock: LLMock) -> Any:
    sizes = {"NYXCORE_ANALYSIS_ROOT": str(root), "NYXCORE_ANALYSIS_CHUNK": "700"}
    asked = speaking_to(f"{llmock.url}/anthropic")
    return lambda: start_worker("worker", **asked, **sizes, NYXCORE_PROVIDER_PARALLEL=str(PARALLEL))


def comes_to(run: AnalysisRun, *statuses: str) -> AnalysisRun:
    eventually(AnalysisRun.objects.filter(pk=run.pk, status__in=statuses).exists, 60, "for the analysis")
    run.refresh_from_db()
    return run


def at_once(calls: Sequence[dict[str, Any]]) -> int:
    """How many of these calls were under way together, at most."""
    return max(sum(a["started_at"] <= b["started_at"] < a["ended_at"] for a in calls) for b in calls)


def test_a_429_makes_everybody_wait_as_asked_and_then_ask_less_at_once(
    worker: Any, llmock: LLMock, parts: Path
) -> None:
    llmock.play(OVERVIEW, reply('{"findings": []}'))  # the first chunk warms the vendor's cache
    llmock.play(NOTHING, SLOW)
    run = begin(parts, verify=False)
    worker()
    eventually(lambda: len(llmock.calls()) == 2, 30, "for the first chunk")
    llmock.play(refusal(429, retry_after=2, times=PARALLEL))
    workflow = make_workflow([{"key": "one"}], start=True)
    assert (comes_to(run, "completed", "failed", "paused").status, run.gaps) == ("completed", [])
    ends(workflow)
    calls = llmock.calls()
    refused = [call for call in calls if call["status"] == 429]
    later = [call for call in calls if call["started_at"] > refused[0]["ended_at"] and call not in refused]
    assert refused
    assert len(calls) == 1 + CHUNKS + 1 + len(refused)
    assert all(call["started_at"] - refused[-1]["ended_at"] > 1.5 for call in later)
    assert at_once(later[:3]) <= PARALLEL // 2
    assert UnitAttempt.objects.filter(unit__run=run, reason="rate_limited").count() <= len(refused)


def test_a_spend_limit_stops_every_unit_keeps_what_is_there_and_waits_for_a_person(
    worker: Any, llmock: LLMock, parts: Path
) -> None:
    llmock.play(OVERVIEW, NOTHING, SLOW)
    run = begin(parts, verify=False)
    worker()
    eventually(lambda: len(llmock.calls()) == 2, 30, "for the first chunk")
    llmock.play(refusal(402, times=None))
    comes_to(run, "paused", "failed", "completed")
    assert (run.status, run.reason) == ("paused", "billing")
    eventually(
        lambda: not UnitAttempt.objects.filter(unit__run=run).open().exists(), what="for the last calls"
    )
    assert 1 <= sum(call["status"] == 402 for call in llmock.calls()) <= PARALLEL
    done = [unit.pk for unit in units(run, "chunk") if unit.status == "completed"]
    assert done
    assert {unit.status for unit in units(run, "chunk") if unit.pk not in done} == {"pending"}
    llmock.ask("reset", {})
    llmock.play(NOTHING)
    services.resume_analysis(run, by=run.owner)
    assert comes_to(run, "completed", "failed").status == "completed"
    assert len(llmock.calls()) == CHUNKS - len(done)
