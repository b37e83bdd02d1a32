"""Mending a run that failed and what was cut off in it, and its settings, in Chromium."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser import DESKTOP, PHONE
from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from tests.workflows.views.helpers import cut_off, url
from workflows import services
from workflows.models import Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
sizes = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])

FIRST = "A plan has five parts. The first part names the goal and the second"
SECOND = "A plan has six parts. The first part names the goal, the second names the people and the third"


def long_run() -> Workflow:
    """20 steps: 13 done; 14 failed and 15, beside it, cut twice; the last five follow both."""
    steps: list[dict[str, Any]] = [{"key": f"s{n}", "title": f"Chapter {n}"} for n in range(1, 21)]
    steps[14]["needs"] = ["s13"]
    steps[14]["config"] = {"max_tokens": 100}
    steps[15]["needs"] = ["s14", "s15"]
    workflow = make_workflow(steps, start=True, name="A book of twenty chapters")
    for n in range(1, 14):
        finish(claim(), f"Text of chapter {n}.")
    beside = {attempt.step.key: attempt for attempt in (claim(), claim())}
    cut_off(beside["s15"], FIRST, 100)
    services.retry_step(step_of(workflow, "s15"), by=workflow.owner, max_tokens=200)
    cut_off(claim(), SECOND, 200)
    fail(beside["s14"], "auth")
    workflow.refresh_from_db()
    assert workflow.status == "failed"
    return workflow


@sizes
def test_all_cut_steps_are_mended_from_the_banner(site: Any, viewport: Any) -> None:
    page = site.page(viewport=viewport)
    workflow = make_workflow(
        [{"key": f"s{n}", "needs": [], "config": {"max_tokens": 100}} for n in range(3)], start=True
    )
    for attempt in [claim(), claim(), claim()]:
        cut_off(attempt, FIRST, 100)
    page.goto(url("detail", workflow.pk))
    page.get_by_role("button", name="Retry all 3 with double room").click()
    expect(page.locator("#run")).to_have_attribute("data-status", "running")
    expect(page.locator(".cut-panel")).to_have_count(0)
    assert [step_of(workflow, f"s{n}").config["max_tokens"] for n in range(3)] == [200] * 3


@sizes
def test_settings_are_saved_in_place_with_errors_beside_their_fields(site: Any, viewport: Any) -> None:
    page = site.page(viewport=viewport)
    workflow = make_workflow()
    page.goto(url("detail", workflow.pk))
    page.click("#settings > summary")
    room = page.get_by_label("Max tokens of Two")
    room.fill("900000")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#id_max_tokens-two_error")).to_contain_text("at most 128,000")
    expect(room).to_be_focused()
    room.fill("900")
    page.get_by_label("When an answer of Two is cut off").select_option("raise")
    page.locator("#id_on_cut_off").select_option("continue")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    expect(page.locator("#settings > summary")).to_contain_text("ask the model to go on")
    assert step_of(workflow, "two").config | {"prompt": ""} == {
        "prompt": "", "max_tokens": 900, "on_cut_off": "raise",
    }  # fmt: skip


def test_without_scripts_one_can_compare_and_run_again(site: Any) -> None:
    workflow = long_run()
    page = site.page(java_script_enabled=False)
    page.goto(step_of(workflow, "s15").get_absolute_url())
    page.locator("[id^=attempts-] > summary").click()
    page.get_by_role("button", name="Answers").click()
    expect(page.locator(".diff del").first).to_have_text(re.compile("five"))
    page.goto(step_of(workflow, "s14").get_absolute_url() + "rerun/")
    page.get_by_role("button", name="Run 7 steps again").click()
    assert statuses(workflow)[""] == "running"


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")], ids=["desktop dark", "phone light"]
)
def test_nobody_is_shut_out(site: Any, scheme: str, viewport: Any) -> None:
    workflow = long_run()
    cut, broken = step_of(workflow, "s15"), step_of(workflow, "s14")
    page = site.page(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    for path in (
        cut.get_absolute_url(),
        f"{cut.get_absolute_url()}?compare=1,2",
        f"{broken.get_absolute_url()}rerun/",
        url("settings", workflow.pk),
        url("detail", workflow.pk),
    ):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach((fold) => { fold.open = true; })")
        page.wait_for_load_state("networkidle")
        found = Axe().run(page).response["violations"]
        assert [(path, rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
