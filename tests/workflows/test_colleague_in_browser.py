"""A colleague gets the link to a run of 100 steps that failed at step 61, and brings it to its end, in Chromium."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db.models import Count
from playwright.sync_api import Page, expect

from tests.browser import Site
from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from tests.workflows.views.helpers import cut_off, url
from workflows import services
from workflows.models import Step, StepAttempt, Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
FIRST = "The harbour has five piers. The first pier is for boats and the second"
SECOND = "The harbour has six piers. The first pier is for boats, the second for ships and the third"
THIRD = "The harbour has six piers, and this answer is **whole**."


def hundred_steps() -> Workflow:
    """Chapter 17 ran beside the others and was cut twice; 18 to 60 are done, 61 failed; only the last needs 17."""
    steps: list[dict[str, Any]] = [{"key": f"s{n}", "title": f"Chapter {n}"} for n in range(1, 101)]
    steps[16] |= {"config": {"max_tokens": 100}}
    steps[17] |= {"needs": ["s16"]}
    steps[99] |= {"needs": ["s99", "s17"]}
    workflow = make_workflow(steps, start=True, name="A book of a hundred chapters")
    for n in range(1, 17):
        finish(claim(), f"Text of chapter {n}.")
    beside = {attempt.step.key: attempt for attempt in (claim(), claim())}
    cut_off(beside["s17"], FIRST, 100)
    services.retry_step(step_of(workflow, "s17"), by=workflow.owner, max_tokens=200)
    again = claim()
    finish(beside["s18"], "Text of chapter 18.")
    for n in range(19, 61):
        finish(claim(), f"Text of chapter {n}.")
    broken = claim()
    cut_off(again, SECOND, 200)
    fail(broken, "auth")
    assert statuses(workflow) | {"": "failed", "s17": "cut_off", "s61": "failed"} == statuses(workflow)
    return workflow


@pytest.fixture
def workflow(transactional_db: Any) -> Workflow:
    return hundred_steps()


def test_a_pasted_link_leads_from_the_failure_to_the_end_and_nothing_is_paid_twice(
    site: Site, workflow: Workflow
) -> None:
    page = site.page()
    page.goto(url("detail", workflow.pk))
    broken = sees_why_61_failed(page, workflow)
    cut = finds_17_by_one_key_and_compares_its_attempts(page, workflow)
    watches_it_write_with_more_room(page, workflow, cut)
    runs_the_rest_from_61(page, workflow, broken)
    assert statuses(workflow)[""] == "completed"
    tries = dict(workflow.steps.annotate(tries=Count("attempts")).values_list("position", "tries"))
    assert {position: count for position, count in tries.items() if count > 1} == {17: 3, 61: 2}


def sees_why_61_failed(page: Page, workflow: Workflow) -> Step:
    broken = step_of(workflow, "s61")
    shown = page.locator(f"#{broken.dom_id}")
    expect(shown).to_have_attribute("open", "")
    expect(shown.locator(".cause")).to_be_in_viewport()
    expect(shown.locator(".cause")).to_contain_text("refused our key")
    expect(shown.locator(".next")).to_contain_text("Check the provider's key")
    expect(page.locator(".step-pill[aria-current]")).to_have_attribute("title", "Chapter 61")
    return broken


def finds_17_by_one_key_and_compares_its_attempts(page: Page, workflow: Workflow) -> Step:
    cut = step_of(workflow, "s17")
    page.keyboard.press("n")
    shown = page.locator(f"#{cut.dom_id}")
    expect(shown.locator("> summary")).to_be_focused()
    expect(shown.locator(".cause")).to_contain_text("limit of 200 tokens")
    shown.locator(f"#attempts-{cut.pk} > summary").click()
    shown.get_by_role("button", name="Answers").click()
    expect(shown.locator(".diff del").first).to_have_text(re.compile("five"))
    expect(shown.locator(".diff ins").first).to_have_text(re.compile("six"))
    return cut


def watches_it_write_with_more_room(page: Page, workflow: Workflow, cut: Step) -> None:
    shown = page.locator(f"#{cut.dom_id}")
    shown.get_by_role("button", name="Retry with 400 tokens").click()
    expect(shown).to_have_attribute("data-status", "running")
    attempt = claim()
    assert (attempt.step_id, attempt.cause, attempt.max_tokens) == (cut.pk, "retry", None)
    StepAttempt.objects.filter(pk=attempt.pk).update(output="The harbour has six piers, and")
    expect(shown.locator(".stream")).to_contain_text("six piers, and", timeout=20_000)
    finish(attempt, THIRD)
    expect(shown.locator(".output strong")).to_have_text("whole", timeout=20_000)


def runs_the_rest_from_61(page: Page, workflow: Workflow, broken: Step) -> None:
    shown = page.locator(f"#{broken.dom_id}")
    shown.get_by_role("link", name="Run again from here").click()
    expect(page.locator("#plan-again")).to_have_text("Runs again 40")
    expect(page.locator("#plan-kept")).to_have_text("Reused as it is 60")
    page.get_by_role("button", name="Run 40 steps again").click()
    expect(page).to_have_url(re.compile(rf"#{broken.dom_id}$"))
    for _n in range(40):
        finish(claim(), "The rest.")
    expect(page.locator("#run")).to_have_attribute("data-status", "completed", timeout=20_000)
