"""The end of a unit in one message, and what it must not do: the function against the engine, races, lost replies."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from analysis import hotpath, runner
from analysis.models import AnalysisRun, Unit, UnitAttempt
from analysis.units.chunk import ChunkWork
from nyxcore import attempts
from nyxcore.attempts import Result
from nyxcore.calls import CALLS
from nyxcore.states import Status, transition
from tests.analysis.engine_helpers import (
    WORKER,
    Scripted,
    begin,
    completion,
    done,
    module,
    run_all,
    take,
    units,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)
S = Status
EVER = math.inf


@pytest.fixture
def parts(root: Path, settings: Any) -> Path:
    """Three folders, each large enough to be a chunk of its own."""
    return of_parts(root / "parts", 3, settings)


def of_parts(folder: Path, number: int, settings: Any) -> Path:
    settings.NYXCORE_ANALYSIS_CHUNK = 1_000
    names = [f"part{n}" for n in range(number)]
    return write(folder, {f"{name}/code.py": module(name, lines=60) for name in names})


def up_to_chunks(folder: Path, **options: Any) -> AnalysisRun:
    """A run that has its source and overview."""
    run = begin(folder, **options)
    for _ in ("source", "overview"):
        runner.run_attempt(take(), WORKER)
    return run


def in_the_middle(folder: Path) -> tuple[AnalysisRun, UnitAttempt]:
    """A run whose first chunk is done, and its second one, claimed."""
    run = up_to_chunks(folder)
    runner.run_attempt(take(), WORKER)
    return run, take()


def answered(attempt: UnitAttempt) -> UnitAttempt:
    UnitAttempt.objects.filter(pk=attempt.pk).update(stop_reason="end_turn")
    return attempt


def columns(attempt: UnitAttempt) -> dict[str, Any]:
    """All that an end writes to the two rows; of times only whether they are there."""
    rows = UnitAttempt.objects.get(pk=attempt.pk), Unit.objects.get(pk=attempt.unit_id)
    written = ("status", "reason", "version", "error", "reserved", "worker", "result")
    times = ("due_at", "started_at", "finished_at", "deadline_at", "heartbeat_at")
    return {
        f"{type(row).__name__}.{name}": bool(getattr(row, name)) if name in times else getattr(row, name)
        for row in rows
        for name in (*written, *times)
        if hasattr(row, name)
    }


def test_function_and_engine_end_a_unit_alike(parts: Path, model: Scripted) -> None:
    _run, first = in_the_middle(parts)
    second = take("test:2")
    hotpath.end(answered(first), WORKER, {"found": 1}, claim=False)
    assert attempts.end(answered(second), Result(S.COMPLETED), fence={"worker": "test:2"})
    transition(second.unit, S.RUNNING, S.COMPLETED, result={"found": 1})
    assert columns(first) == columns(second) | {"UnitAttempt.worker": WORKER}
    assert columns(first)["Unit.status"] == S.COMPLETED


def test_what_another_worker_holds_is_not_ended(parts: Path, model: Scripted) -> None:
    _run, attempt = in_the_middle(parts)
    before = columns(answered(attempt))
    assert not hotpath.end(attempt, "other:1", {}, claim=False).done
    assert columns(attempt) == before


def test_a_claimed_unit_has_the_columns_of_its_rows(parts: Path, model: Scripted) -> None:
    _run, attempt = in_the_middle(parts)
    rows = UnitAttempt.objects.select_related("unit__run").get(pk=attempt.pk)
    for given, row in ((attempt, rows), (attempt.unit, rows.unit), (attempt.unit.run, rows.unit.run)):
        fields = [field.attname for field in row._meta.concrete_fields if field.attname in given.__dict__]
        assert {name: getattr(given, name) for name in fields} == {
            name: getattr(row, name) for name in fields
        }
    assert attempt.status == S.RUNNING  # left out, so it is read


def test_a_chunk_takes_four_messages_and_brings_the_next(parts: Path, model: Scripted) -> None:
    _run, attempt = in_the_middle(parts)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        following = runner.run_attempt(attempt, WORKER, until=EVER)
    said = [query["sql"][:60] for query in asked.captured_queries]
    assert len(said) == 4, said  # the texts, what is asked, what was paid for, its end with the next claim
    assert following is not None
    assert UnitAttempt.objects.get(pk=following.pk).status == S.RUNNING


def test_opening_chunks_takes_the_same_queries_for_any_number(
    root: Path, model: Scripted, settings: Any
) -> None:
    asked = []
    for number in (3, 12):
        up_to_chunks(of_parts(root / str(number), number, settings))
        with CaptureQueriesContext(connection) as queries:
            runner.run_attempt(take(), WORKER)
        asked.append(len(queries))
        run_all()
    assert asked[0] == asked[1]


@pytest.mark.parametrize("case", ["its turn is over", "the worker stops"])
def test_the_end_claims_nothing_when(case: str, parts: Path, model: Scripted, monkeypatch: Any) -> None:
    run, attempt = in_the_middle(parts)
    if case == "the worker stops":
        monkeypatch.setattr(CALLS, "draining", True)
    assert runner.run_attempt(attempt, WORKER, until=0.0 if case == "its turn is over" else EVER) is None
    assert UnitAttempt.objects.filter(unit__run=run, status=S.PENDING).count() == 1


def test_the_first_chunk_opens_the_others_though_another_analyzer_has_work(
    parts: Path, model: Scripted
) -> None:
    run = up_to_chunks(parts, analyzers=("correctness", "security"))
    first = take()
    following = runner.run_attempt(first, WORKER, until=EVER)
    assert following is not None
    assert following.unit.analyzer != first.unit.analyzer
    same = Unit.objects.filter(run=run, kind="chunk", analyzer=first.unit.analyzer)
    assert not same.filter(status=S.PENDING).exists()


def test_the_last_chunk_settles_its_run_though_another_run_has_work(
    parts: Path, root: Path, model: Scripted, settings: Any
) -> None:
    run, attempt = in_the_middle(parts)
    runner.run_attempt(take("test:2"), "test:2")
    other = up_to_chunks(of_parts(root / "other", 2, settings))
    following = runner.run_attempt(attempt, WORKER, until=EVER)
    assert following is not None
    assert following.unit.run_id == other.pk
    assert units(run, "merge")[0].status == S.RUNNING


def test_a_claim_whose_reply_was_lost_is_taken_up(parts: Path, model: Scripted, monkeypatch: Any) -> None:
    run, attempt = in_the_middle(parts)
    broken_after(monkeypatch, hotpath.end)
    following = runner.run_attempt(attempt, WORKER, until=EVER)
    running = UnitAttempt.objects.filter(unit__run=run, status=S.RUNNING)
    assert list(running) == [following]
    assert Unit.objects.get(pk=attempt.unit_id).status == S.COMPLETED


def broken_after(monkeypatch: Any, function: Callable[..., Any]) -> None:
    """The connection breaks once after `function` has done what it does, before anybody hears of it."""
    left = [OperationalError("the connection is lost")]

    def broken(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        if left:
            raise left.pop()
        return answer

    monkeypatch.setattr(hotpath, function.__name__, broken)


def test_an_end_that_cannot_be_written_takes_its_claim_back(
    parts: Path, model: Scripted, monkeypatch: Any
) -> None:
    def refused(*_args: Any) -> None:
        raise ValueError("no room")

    write(parts, {"part1/code.py": module("part1", lines=60, bug=True)})
    run, attempt = in_the_middle(parts)
    if attempt.unit.title != "part1/code.py":
        runner.run_attempt(attempt, WORKER)
        attempt = take()
    monkeypatch.setattr(ChunkWork, "apply", refused)
    assert runner.run_attempt(attempt, WORKER, until=EVER) is None
    assert Unit.objects.get(pk=attempt.unit_id).reason == "internal"
    assert not UnitAttempt.objects.filter(unit__run=run, status=S.RUNNING).exists()


def test_a_cut_overview_gets_twice_the_room_once(parts: Path, model: Scripted) -> None:
    model.replies["overview"] = lambda _request: completion("{", "max_tokens")
    run = done(parts)
    (overview,) = units(run, "overview")
    asked = [attempt.request["max_tokens"] for attempt in overview.attempts.order_by("number")]
    assert asked == [asked[0], 2 * asked[0]]
