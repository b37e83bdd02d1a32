"""The function in the database and the engine in Python must decide alike, over random graphs and orders."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nyxcore.states import Status, transition
from tests.factories import make_user
from tests.workflows.engine_helpers import WORKER
from workflows import engine, hotpath, services
from workflows.models import Step, StepAttempt, Workflow
from workflows.work import Result

pytestmark = pytest.mark.django_db(transaction=True)


@st.composite
def graphs(draw: st.DrawFn) -> list[list[int]]:
    """For each step the earlier steps that it needs."""
    size = draw(st.integers(1, 6))
    return [sorted(draw(st.sets(st.integers(0, n - 1), max_size=3))) if n else [] for n in range(size)]


def build(graph: list[list[int]]) -> Workflow:
    workflow = Workflow.objects.create(owner=make_user(), name="graph")
    for n, needs in enumerate(graph):
        config = {"prompt": "p"}
        row: dict[str, Any] = {
            "key": f"s{n}",
            "title": f"S{n}",
            "kind": "llm",
            "config": config,
            "position": n + 1,
        }
        Step.objects.create(workflow=workflow, needs=[f"s{m}" for m in needs], **row)
    return workflow


def snapshot(workflow: Workflow) -> Any:
    """All that the two writers decide, without keys and times."""
    workflow.refresh_from_db()
    steps = Step.objects.filter(workflow=workflow).order_by("position")
    return (
        (workflow.status, workflow.reason, bool(workflow.started_at), bool(workflow.finished_at)),
        [(s.key, s.status, s.reason, s.output, bool(s.started_at), bool(s.finished_at)) for s in steps],
        [
            (a.step.key, a.number, a.status, a.cause, a.worker, a.output, bool(a.due_at), bool(a.deadline_at))
            for a in StepAttempt.objects.filter(step__workflow=workflow).order_by("step__position", "number")
        ],
    )


def take(workflow: Workflow, key: str) -> StepAttempt:
    """The open attempt of a step, held by the worker."""
    attempt = StepAttempt.objects.select_related("step__workflow").get(
        step__workflow=workflow, step__key=key, status__in=("pending", "running")
    )
    if attempt.status == "pending":
        from nyxcore.states import Later

        transition(
            attempt, Status.PENDING, Status.RUNNING, worker=WORKER, due_at=Later(60), deadline_at=Later(600)
        )
    return attempt


def by_function(workflow: Workflow, key: str, claim: bool) -> None:
    attempt = take(workflow, key)
    StepAttempt.objects.filter(pk=attempt.pk).update(stop_reason="end_turn")
    assert hotpath.go_on(hotpath.load_job(attempt.pk), key, None, WORKER, claim=claim) is not False


def by_engine(workflow: Workflow, key: str, claim: bool) -> None:
    attempt = take(workflow, key)
    engine.write_facts(attempt.pk, WORKER, {"stop_reason": "end_turn", "output": key})
    engine.finish(attempt, Result(Status.COMPLETED, text=key), WORKER, claim=claim)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs(), data=st.data(), claim=st.booleans())
def test_function_and_engine_decide_alike(graph: list[list[int]], data: st.DataObject, claim: bool):
    first, second = build(graph), build(graph)
    services.start_workflow(first, by=first.owner)
    with services.verb(second.pk, second.owner, "start") as locked:
        transition(locked, Status.PENDING, Status.RUNNING)
        engine.settle(locked)
    assert snapshot(first) == snapshot(second)
    while open_keys := sorted(
        StepAttempt.objects.filter(step__workflow=first, status__in=("pending", "running")).values_list(
            "step__key", flat=True
        )
    ):
        key = data.draw(st.sampled_from(open_keys))
        by_function(first, key, claim)
        by_engine(second, key, claim)
        assert snapshot(first) == snapshot(second)
    assert first.status == "completed"


@pytest.mark.parametrize("case", ["held", "budget", "failed", "lost"])
def test_whatever_is_not_plain_is_left_to_the_engine(case):
    workflow = build([[], []])
    services.start_workflow(workflow, by=workflow.owner)
    attempt = take(workflow, "s0")
    StepAttempt.objects.filter(pk=attempt.pk).update(stop_reason="end_turn")
    if case == "held":
        services.pause_workflow(workflow, by=workflow.owner)
    elif case == "budget":
        Workflow.objects.filter(pk=workflow.pk).update(budget=1)
    elif case == "failed":
        other = take(workflow, "s1")
        engine.finish(other, Result(Status.FAILED, "bad_request"), WORKER, claim=False)
    job = hotpath.load_job(attempt.pk)
    before = snapshot(workflow)
    worker = "other:1" if case == "lost" else WORKER
    assert hotpath.go_on(job, "x", None, worker, claim=True) is False
    assert snapshot(workflow) == before
