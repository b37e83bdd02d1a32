"""`manage.py thin_attempts`: long texts of old attempts go, what a step was accepted with and every fact stay."""

from __future__ import annotations

from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from nyxcore import thinning
from nyxcore.dbtime import ago
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from workflows import services
from workflows.models import StepAttempt, Workflow
from workflows.recovery import OLD_TEXTS as WORKFLOWS

pytestmark = pytest.mark.django_db

DAY = 86_400
REQUEST = {
    "model": "practice", "prompt": "A long prompt.", "system": "Be kind.", "max_tokens": 50, "sizes": {"prompt": 14},
}  # fmt: skip
ONE = [{"key": "one"}]


def thin(*args: str) -> str:
    out = StringIO()
    call_command("thin_attempts", "--older-than", "30", *args, stdout=out)
    return out.getvalue()


def aged(workflow: Workflow, days: float = 31) -> Workflow:
    Workflow.objects.filter(pk=workflow.pk).update(
        started_at=ago(days * DAY + 60), finished_at=ago(days * DAY)
    )
    return workflow


def asked() -> StepAttempt:
    """The next attempt, claimed, with its prompt stored."""
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(request=REQUEST)
    attempt.request = REQUEST
    return attempt


def answered_twice() -> Workflow:
    """A completed run whose first answer was replaced by a rerun."""
    workflow = make_workflow(ONE, start=True)
    finish(asked(), "The first answer.")
    services.rerun_from(step_of(workflow, "one"), by=workflow.owner)
    finish(asked(), "The second answer.")
    return workflow


def everything() -> list:
    return list(StepAttempt.objects.order_by("pk").values())


def test_prompts_and_replaced_answers_go_and_their_lengths_stay():
    workflow = aged(answered_twice())
    said = thin()
    first, second = attempts_of(workflow, "one")
    kept = {"model": "practice", "max_tokens": 50, "sizes": {"prompt": 14}}
    assert first.request == kept | {"thinned": {"prompt": 14, "system": 8, "output": 17}}
    assert second.request == kept | {"thinned": {"prompt": 14, "system": 8}}
    assert (first.output, second.output) == ("", "The second answer.")
    assert step_of(workflow, "one").output == "The second answer."
    assert said.startswith("2 attempts thinned, ")


def test_every_fact_stays():
    workflow = answered_twice()
    StepAttempt.objects.update(cost=Decimal("0.25"), request_id="r1")
    before = everything()
    aged(workflow)
    thin()
    for old, new in zip(before, everything(), strict=True):
        assert {**old, "request": 0, "output": 0} == {**new, "request": 0, "output": 0}


def test_younger_runs_stay_whole():
    aged(answered_twice(), days=29)
    before = everything()
    assert thin().startswith("0 attempts thinned")
    assert everything() == before


@pytest.mark.parametrize("state", ["running", "paused", "pending"])
def test_an_open_run_stays_whole_however_old(state):
    workflow = make_workflow([{"key": "one"}, {"key": "two"}], start=state != "pending")
    if state != "pending":
        finish(asked(), "Text.")
    if state == "paused":
        services.pause_workflow(workflow, by=workflow.owner)
    Workflow.objects.update(created_at=ago(400 * DAY), status_changed_at=ago(400 * DAY))
    StepAttempt.objects.exclude(started_at=None).update(started_at=ago(400 * DAY))
    before = everything()
    thin()
    assert everything() == before


def test_what_a_resume_could_build_on_stays():
    workflow = make_workflow(ONE, start=True)
    finish(asked(), "Half of", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)
    fail(asked(), "stuck")
    aged(workflow)
    thin()
    assert [attempt.output for attempt in attempts_of(workflow, "one")] == ["Half of", ""]
    services.retry_step(step_of(workflow, "one"), by=workflow.owner)
    finish(claim(), " it.")
    assert statuses(workflow)["one"] == "completed"
    assert step_of(workflow, "one").output == "Half of it."


def test_the_parts_of_a_continued_answer_stay():
    workflow = make_workflow(ONE, start=True)
    finish(asked(), "Half of", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)
    finish(asked(), " it.")
    aged(workflow)
    thin()
    assert [attempt.output for attempt in attempts_of(workflow, "one")] == ["Half of", " it."]


def test_a_run_that_was_thinned_can_be_run_again():
    workflow = aged(answered_twice())
    thin()
    services.rerun_from(step_of(workflow, "one"), by=workflow.owner)
    finish(claim(), "The third answer.")
    assert statuses(workflow) == {"": "completed", "one": "completed"}


def test_a_dry_run_tells_and_changes_nothing():
    aged(answered_twice())
    before = everything()
    assert thin("--dry-run").startswith("2 attempts would be thinned; their texts take ")
    assert everything() == before


def test_a_second_run_finds_nothing_and_one_that_was_ended_goes_on():
    for _ in range(3):
        aged(answered_twice())
    batches = thinning.thin(WORKFLOWS, 30, batch=2)
    assert next(batches).attempts == 2  # ended after its first batch
    assert thin().startswith("4 attempts thinned")
    assert thin().startswith("0 attempts thinned")


def test_batches_are_small_and_grow_smaller_when_they_are_slow(monkeypatch):
    for _ in range(6):
        aged(answered_twice())
    monkeypatch.setattr(thinning, "SLOW", -1.0)
    monkeypatch.setattr(thinning, "AT_LEAST", 1)
    assert [batch.attempts for batch in thinning.thin(WORKFLOWS, 30, batch=8)] == [8, 4]


def test_a_statement_that_takes_too_long_is_undone_and_made_smaller(monkeypatch):
    """As when the disk is busy: its rows are free again at once, and nothing is left out."""
    for _ in range(4):
        aged(answered_twice())
    slowly = "SELECT count(*) + 0 * sum(length(pg_sleep(0.02)::text))"  # for each row
    monkeypatch.setattr(thinning, "_THIN", thinning._THIN.replace("SELECT count(*)", slowly))
    batches = list(thinning.thin(WORKFLOWS, 30, batch=8))
    assert sum(batch.attempts for batch in batches) == 8
    assert max(batch.attempts for batch in batches) < 8
    assert all("thinned" in attempt.request for attempt in StepAttempt.objects.all())


def test_pages_say_that_it_was_thinned(client):
    workflow = aged(answered_twice())
    thin()
    step = step_of(workflow, "one")
    first, second = attempts_of(workflow, "one")
    client.force_login(workflow.owner)
    url = f"/workflows/{workflow.pk}/steps/{step.pk}/"
    page = client.get(url).content.decode()
    assert "Prompt as sent: thinned; it had 14 characters." in page
    assert ">thinned</span>" in page
    assert "this answer had 17 characters" in client.get(f"{url}?attempt={first.pk}").content.decode()
    for of, told in (("prompt", "attempt 1 and attempt 2 the prompts"), ("text", "attempt 1 the answers")):
        compared = client.get(f"{url}?compare=1,{second.number}&of={of}").content.decode()
        assert f"Thinned: of {told} are not kept any more" in compared
        assert "No word differs" not in compared


@pytest.mark.parametrize("days", ["-1", "x", "1.5", ""])
def test_nonsense_is_refused(days):
    with pytest.raises(CommandError, match="a whole number"):
        call_command("thin_attempts", f"--older-than={days}")
