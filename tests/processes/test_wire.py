"""A worker process that asks LLMock over the wire: what it sends, what it keeps, what becomes of each failure.

One worker serves the whole module, so the rows stay until its end: no test may count all of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from nyxcore.dbtime import ago
from tests.factories import attempts_of, make_workflow, step_of
from tests.processes.mock import LLMock, refusal, reply, serving
from tests.processes.servers import WorkerProcess
from tests.processes.tools import (
    KEY,
    ends,
    environment,
    eventually,
    speaking_to,
    story,
)
from tests.workflows.engine_helpers import statuses
from workflows import services
from workflows.models import StepAttempt, Workflow

pytestmark = pytest.mark.processes

ONE = [{"key": "one"}]


@pytest.fixture(scope="module")
def served(
    django_db_setup: None,
    django_db_blocker: Any,
    seasoned_postgres: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LLMock, WorkerProcess]]:
    """LLMock and a worker that asks it. Its pulse beats every ten seconds: what reaches a call sooner was told."""
    folder: Path = tmp_path_factory.mktemp("wire")
    with django_db_blocker.unblock(), serving() as server:
        worker = WorkerProcess(
            folder, "worker", environment(**speaking_to(f"{server.url}/anthropic"), NYXCORE_LEASE="60")
        )
        try:
            yield server, worker.await_ready()
        finally:
            worker.kill()
            call_command("flush", interactive=False, verbosity=0)


@pytest.fixture
def transactional_db(served: tuple[LLMock, WorkerProcess]) -> None:
    """In place of the plugin's: it would empty the tables under the worker after each test."""


@pytest.fixture
def llmock(served: tuple[LLMock, WorkerProcess], transactional_db: None) -> Iterator[LLMock]:
    server, worker = served
    server.ask("reset", {})
    before = len(worker.words())
    yield server
    print(f"--- log of the worker\n{worker.words()[before:]}")


def waiting_attempt(workflow: Workflow) -> StepAttempt:
    """The attempt that a back-off has opened."""
    rows = StepAttempt.objects.filter(step__workflow=workflow, status="pending", number__gt=1)
    return eventually(rows.first, what=f"for a back-off, now {story(workflow)}")


def test_requests_are_as_current_models_want_them_and_the_facts_of_answers_are_stored(llmock):
    llmock.play(reply("The first answer."), reply("The second."))
    second = {"key": "two", "config": {"prompt": "Improve: {{ steps.one.content }}", "system": "Be brief."}}
    workflow = make_workflow([{"key": "one"}, second], start=True)
    ends(workflow)
    sent = [call["body"] for call in llmock.calls()]
    assert len(sent) == 2
    for body in sent:
        assert not {"temperature", "top_p", "top_k"} & body.keys()
        assert (body["messages"][-1]["role"], body["stream"]) == ("user", True)
    assert sent[1]["messages"][-1]["content"] == "Improve: The first answer."
    assert sent[1]["system"] == "Be brief."
    for key, text, body in zip(("one", "two"), ("The first answer.", "The second."), sent, strict=True):
        (attempt,) = attempts_of(workflow, key)
        assert (attempt.output, attempt.stop_reason, attempt.cost_estimated) == (text, "end_turn", False)
        assert attempt.usage["input_tokens"] == attempt.input_tokens > 0
        assert attempt.usage["output_tokens"] == attempt.output_tokens > 0
        assert attempt.cost > 0
        assert attempt.model == attempt.request["model"] == body["model"]
        assert attempt.request["max_tokens"] == body["max_tokens"]
        assert attempt.request["prompt"] == body["messages"][-1]["content"]


def test_an_answer_that_ends_early_is_no_answer_and_is_asked_for_again(llmock):
    llmock.play(reply("one two three four"), {"type": "stream_fault", "kind": "truncate", "after_chunks": 5})
    llmock.play(reply("one two three four"))
    workflow = make_workflow(ONE, start=True)
    again = waiting_attempt(workflow)
    first = attempts_of(workflow, "one")[0]
    assert (first.status, first.reason, first.stop_reason) == ("failed", "transport", "")
    assert first.output
    assert "one two three four".startswith(first.output)
    StepAttempt.objects.filter(pk=again.pk).update(queued_at=ago(1))
    ends(workflow)
    assert story(workflow) == [("one", "start", "failed", "transport"), ("one", "backoff", "completed", "")]
    assert step_of(workflow, "one").output == "one two three four"


def test_a_rate_limit_waits_as_long_as_the_provider_says(llmock):
    llmock.play(refusal(429, retry_after=4), reply("At last.", times=2))
    workflow = make_workflow(ONE, start=True)
    waiting_attempt(workflow)
    other = make_workflow(ONE, start=True)
    ends(other)
    ends(workflow)
    assert [entry[1:] for entry in story(workflow)] == [
        ("start", "failed", "rate_limited"), ("backoff", "completed", ""),
    ]  # fmt: skip
    assert [entry[1:] for entry in story(other)] == [("start", "completed", "")]
    refused, *later = llmock.calls()
    assert all(call["started_at"] - refused["ended_at"] > 3.5 for call in later)


def test_an_overloaded_provider_is_asked_again_by_itself_after_a_while(llmock):
    llmock.play(refusal(529), reply("At last."))
    workflow = make_workflow(ONE, start=True)
    ends(workflow)
    assert story(workflow) == [("one", "start", "failed", "overloaded"), ("one", "backoff", "completed", "")]
    first, second = attempts_of(workflow, "one")
    assert (second.started_at - first.finished_at).total_seconds() >= 2


def test_a_wrong_key_fails_at_once_and_a_person_goes_on_when_it_is_mended(llmock):
    llmock.play(refusal(401))
    workflow = make_workflow(start=True)
    ends(workflow, "failed")
    assert story(workflow) == [("one", "start", "failed", "auth")]
    (attempt,) = attempts_of(workflow, "one")
    assert "ANTHROPIC_API_KEY" in attempt.error
    assert KEY not in attempt.error
    assert step_of(workflow, "two").status == "pending"
    services.retry_step(step_of(workflow, "one"), by=workflow.owner)
    ends(workflow)
    assert [entry[1:] for entry in story(workflow)[1:]] == [
        ("retry", "completed", ""), ("start", "completed", ""), ("start", "completed", ""),
    ]  # fmt: skip


def test_an_answer_cut_at_its_limit_stops_the_workflow_and_reaches_no_later_step(llmock):
    llmock.play(reply("Half a sen", finish_reason="length"))
    workflow = make_workflow(start=True)
    ends(workflow, "paused")
    assert story(workflow) == [("one", "start", "cut_off", "cut_off:max_tokens")]
    assert attempts_of(workflow, "one")[0].output == "Half a sen"
    assert len(llmock.calls()) == 1


def test_cancel_ends_all_calls_at_the_model_within_two_seconds_and_keeps_their_text(llmock):
    stall = {"type": "stream_fault", "kind": "stall", "after_chunks": 5, "stall_seconds": 30, "times": 2}
    llmock.play(reply("one two three four", times=2), stall)
    steps = [
        {"key": "left", "needs": []},
        {"key": "right", "needs": []},
        {"key": "join", "needs": ["left", "right"]},
    ]
    workflow = make_workflow(steps, start=True)
    attempts = StepAttempt.objects.filter(step__workflow=workflow)
    eventually(lambda: attempts.exclude(output="").count() == 2, what="for the saved texts")
    asked = time.monotonic()
    services.cancel_workflow(workflow, by=workflow.owner)
    assert [(call["completed"], call["ended_at"] - asked < 2) for call in llmock.calls()] == [
        (False, True)
    ] * 2
    assert statuses(workflow) == dict.fromkeys(("", "left", "right", "join"), "cancelled")
    eventually(lambda: attempts.filter(cost__isnull=False).count() == 2, what="for the late facts")
    for attempt in attempts:
        assert (attempt.status, attempt.reason, attempt.cost_estimated) == ("cancelled", "user", True)
        assert "one two three four".startswith(attempt.output)
