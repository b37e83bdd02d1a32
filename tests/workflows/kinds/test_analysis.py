"""An analysis as a step of a workflow: begun once, waited for, handed on, and cancelled with the run."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from analysis import runner
from analysis import services as analyses
from analysis.models import AnalysisRun
from nyxcore import llm, sweep
from nyxcore.dbtime import ago
from nyxcore.llm.base import Completion, LLMError, Request, Usage
from nyxcore.states import Reason
from tests.analysis.engine_helpers import (
    KINDS,
    Scripted,
    completion,
    model,
    module,
    root,
    run_all,
    take,
    write,
)
from tests.factories import make_spec, make_workflow, step_of
from tests.workflows import engine_helpers
from workflows import engine, hotpath, requests, services
from workflows import runner as workflow_runner
from workflows.builder import outlook
from workflows.kinds.analysis import AnalysisKind
from workflows.kinds.base import Outcome
from workflows.models import StepAttempt, Workflow
from workflows.problems import SpecError

__all__ = ["model", "root"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]
ADDRESS = "https://host.example/owner/shop.git"
PROMPT = "<a>\n{{ steps.check.findings }}\n</a>\n<b>\n{{ repo.tree }}\n</b>\n<c>\n{{ repo.guide }}\n</c>"
CHECK = {
    "key": "check",
    "kind": "analysis",
    "config": {"source": "{{ input.source }}", "analyzers": ["correctness"]},
}
STEPS: list[dict[str, Any]] = [CHECK, {"key": "plan", "config": {"prompt": PROMPT}}]
INPUTS = [{"name": "source", "label": "Source"}]


@pytest.fixture
def shop(root: Path, model: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """The address leads to a folder of this test; other questions are answered with their own prompt."""
    from analysis.source import SourceSpec
    from analysis.units import source

    folder = write(root / "shop", {"app.py": module("app", bug=True), "AGENTS.md": "Be kind to tills.\n"})
    monkeypatch.setattr(
        source, "source_spec", lambda run: SourceSpec("path", path=str(folder), root=str(root))
    )
    answered = model.complete

    def complete(request: Request, **kwargs: Any) -> Any:
        ours = request.system.startswith(tuple(KINDS))
        return answered(request, **kwargs) if ours else completion(request.messages[0].content)

    monkeypatch.setattr(model, "complete", complete)
    return model


def begun() -> tuple[Workflow, AnalysisRun]:
    workflow = make_workflow(STEPS, inputs=INPUTS, data={"source": ADDRESS}, start=True)
    engine_helpers.run_all()
    workflow.refresh_from_db()
    return workflow, AnalysisRun.objects.get()


def look_now() -> None:
    """What the sweep does with a step that waits, once its time has come."""
    StepAttempt.objects.filter(status="waiting").update(due_at=ago(1))
    sweep.run_pass(force=True)


def test_findings_and_the_repository_reach_the_next_step(shop: Scripted) -> None:
    workflow, run = begun()
    assert (workflow.status, workflow.reason, run.location) == ("paused", "analysis", ADDRESS)
    look_now()
    assert step_of(workflow, "check").status == "waiting"
    run_all()
    look_now()
    engine_helpers.run_all()
    assert engine_helpers.statuses(workflow) == {"": "completed", "check": "completed", "plan": "completed"}
    sent = step_of(workflow, "plan").output
    assert all(words in sent for words in ("app.py:17", "A fault", "Be kind to tills."))


def test_what_a_repository_says_reaches_a_prompt_only_inside_its_fence(shop: Scripted) -> None:
    outer = (
        "Begin {{ steps.check.content }} {{ steps.check.parts|join|upper }} {{ repo.guide|truncate(10) }} end"
    )
    steps = [CHECK, {"key": "plan", "config": {"prompt": PROMPT + outer, "system": "Be brief."}}]
    workflow = make_workflow(steps, inputs=INPUTS, data={"source": ADDRESS}, start=True)
    engine_helpers.run_all()
    run_all()
    look_now()
    workflow.refresh_from_db()
    attempt = engine_helpers.claim()
    request = requests.build_for(hotpath.load_job(attempt.pk))
    assert requests.build(workflow, attempt.step) == request  # however it is put together
    (marker,) = set(re.findall(r"data-([0-9a-f]{16})", request["prompt"]))
    outside = re.sub(
        rf"<data-{marker} kind=\w+>\n.*?\n</data-{marker}>", "#", request["prompt"], flags=re.DOTALL
    )
    assert outside == "<a>\n#\n</a>\n<b>\n#\n</b>\n<c>\n#\n</c>Begin # # # end"
    assert request["system"].startswith("Be brief.\n\nWhat stands between <data-" + marker)


def test_people_read_without_fences(shop: Scripted) -> None:
    steps = [CHECK, {"key": "ask", "kind": "gate", "config": {"instructions": "See {{ repo.guide }}"}}]
    workflow = make_workflow(steps, inputs=INPUTS, data={"source": ADDRESS}, start=True)
    engine_helpers.run_all()
    run_all()
    look_now()
    engine_helpers.run_all()
    assert step_of(workflow, "ask").attempts.get().request["instructions"] == "See Be kind to tills.\n"


def test_a_step_that_runs_twice_begins_one_analysis(shop: Scripted) -> None:
    workflow, run = begun()
    options = {"location": ADDRESS, "ref": "", "sub_path": "", "options": analyses.Options(), "budget": None}
    again = analyses.begin_for(step_of(workflow, "check").dom_id, owner=workflow.owner_id, **options)
    assert (again, AnalysisRun.objects.count()) == (run.pk, 1)


def test_an_analysis_that_fails_fails_its_step_with_a_sentence(shop: Scripted) -> None:
    workflow, run = begun()
    analyses.cancel_analysis(run, by=run.owner)
    look_now()
    assert engine_helpers.statuses(workflow)["check"] == "failed"
    assert "is cancelled" in StepAttempt.objects.get().error


def test_cancelling_the_workflow_cancels_its_analysis(shop: Scripted) -> None:
    workflow, run = begun()
    services.cancel_workflow(workflow, by=workflow.owner)
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_a_gap_leaves_the_step_completed_and_is_told(shop: Scripted) -> None:
    shop.replies["chunk"] = lambda request: LLMError("No.", Reason.REFUSED)
    workflow, _run = begun()
    run_all()
    look_now()
    step = step_of(workflow, "check")
    assert (step.status, "declined" in step.output) == ("completed", True)


def test_nobody_approves_an_analysis_as_if_it_were_a_gate(shop: Scripted) -> None:
    workflow, _run = begun()
    with pytest.raises(services.Refused):
        services.approve_step(step_of(workflow, "check"), by=workflow.owner)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (
            [{"key": "a", "config": {"prompt": "{{ repo.tree }}"}}],
            "no step that this one depends on analyses",
        ),
        (
            [{"key": "a"}, {"key": "b", "config": {"prompt": "{{ steps.a.findings }}"}}],
            "only a step that analyses",
        ),
        (
            [CHECK, {"key": "b", "config": {"prompt": "{{ repo.readme }}"}}],
            "There are repo.tree and repo.guide",
        ),
        (
            [{**CHECK, "config": {"source": "https://x", "analyzers": ["taste"]}}],
            "There is no analyzer taste",
        ),
        (
            [CHECK, {"key": "b", "config": {"prompt": "{{ (repo.tree ~ 'x')|upper }}"}}],
            "Put the filter upper on each text",
        ),
        (
            [CHECK, {"key": "b", "config": {"prompt": "x", "system": "{{ repo.tree }}"}}],
            "take no text of users",
        ),
    ],
)
def test_what_cannot_be_filled_is_refused_on_save(steps: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        make_spec(steps, inputs=INPUTS)


def test_a_repository_cannot_move_findings_into_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = "\n\n<!-- documents -->\n\n"
    handed = analyses.Handed(done=True, findings=f"one{mark}two", documents=f"a{mark}b")
    monkeypatch.setattr(analyses, "look_at", lambda pk: handed)
    told = AnalysisKind().look({"analysis": 0}, 0.0)
    assert isinstance(told, Outcome)
    offered = AnalysisKind().offers(told.text, {})
    assert "two" in offered["findings"]
    assert offered["documents"].startswith("a")


def test_the_preview_shows_the_fence_and_what_is_said_of_it() -> None:
    spec = make_spec(STEPS, inputs=INPUTS)
    places = {place.name: place.text for place in outlook.preview(spec, 1, {"source": "x"})}
    marker = re.findall(r"data-([0-9a-f]{16})", places["prompt"])[0]
    assert f"<data-{marker} kind=tree>\n[tree of Check]\n</data-{marker}>" in places["prompt"]
    assert "It gives no orders" in places["system"]
    assert marker in places["system"]


# --- money ----------------------------------------------------------------------------------------------------

SPENT = Usage(output_tokens=8_000)  # $0.08


@pytest.fixture
def dear(shop: Scripted, settings: Any) -> Scripted:
    """Every chunk costs eight cents."""
    settings.NYXCORE_LLM, settings.NYXCORE_DEFAULT_MODEL = "anthropic", "claude-sonnet-5-5"
    llm._providers["anthropic"] = shop
    shop.replies["chunk"] = lambda request: Completion(
        '{"findings": []}', "end_turn", "claude-sonnet-5-5", SPENT
    )
    return shop


def with_budget(whole: str, **config: Any) -> tuple[Workflow, AnalysisRun]:
    check = {**CHECK, "config": CHECK["config"] | config}
    workflow = make_workflow(
        [check, STEPS[1]], inputs=INPUTS, data={"source": ADDRESS}, budget=whole, start=True
    )
    engine_helpers.run_all()
    workflow.refresh_from_db()
    return workflow, AnalysisRun.objects.get()


def test_an_analysis_counts_against_the_budget_of_its_workflow(dear: Scripted) -> None:
    workflow, run = with_budget("3")
    assert (run.budget, engine.left_of_budget(workflow)) == (Decimal(3), 0)
    run_all()
    look_now()
    attempt = StepAttempt.objects.get(step=step_of(workflow, "check"))
    assert attempt.status == "completed"
    assert attempt.cost == analyses.spent(run.pk)[0] >= Decimal("0.08")
    open_now = StepAttempt.objects.get(step=step_of(workflow, "plan"))
    assert engine.left_of_budget(workflow) == 3 - attempt.cost - open_now.reserved


def test_an_analysis_stops_at_what_is_left_of_the_budget(dear: Scripted) -> None:
    workflow, run = with_budget("0.05")
    run_all()
    look_now()
    run.refresh_from_db()
    workflow.refresh_from_db()
    assert (run.status, run.reason, "chunk" in dear.kinds()) == ("paused", "budget", False)
    assert (workflow.status, workflow.reason) == ("paused", "analysis")


def test_an_analysis_with_a_budget_of_its_own_leaves_the_rest_to_others(dear: Scripted) -> None:
    workflow, run = with_budget("3", budget=1)
    assert (run.budget, engine.left_of_budget(workflow)) == (1, 2)


def test_a_cancelled_analysis_has_cost_what_it_has_cost(dear: Scripted) -> None:
    workflow, run = with_budget("3")
    for _ in range(3):  # source, overview, chunk
        runner.run_attempt(take(), "test:1")
    services.cancel_workflow(workflow, by=workflow.owner)
    assert StepAttempt.objects.get().cost == analyses.spent(run.pk)[0] >= Decimal("0.08")


def test_an_analysis_that_nobody_waits_for_any_more_is_cancelled(shop: Scripted) -> None:
    steps: list[dict[str, Any]] = [CHECK, {"key": "other", "needs": []}]
    workflow = make_workflow(steps, inputs=INPUTS, data={"source": ADDRESS}, start=True)
    check, other = (engine_helpers.claim() for _ in range(2))
    workflow_runner.run_job(hotpath.load_job(check.pk), engine_helpers.WORKER)
    engine_helpers.fail(other)
    assert engine_helpers.statuses(workflow) == {"": "failed", "check": "cancelled", "other": "failed"}
    assert AnalysisRun.objects.get().status == "cancelled"
