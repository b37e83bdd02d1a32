"""Moving about a long run in Chromium: where the page opens, search and filter, the address, the drawing."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE, ZOOMED
from tests.factories import make_user, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish
from tests.workflows.views.helpers import completed, cut, failed, url
from workflows import services
from workflows.models import Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
sizes = pytest.mark.parametrize("viewport", [DESKTOP, PHONE, ZOOMED], ids=["desktop", "phone", "zoomed"])


def broken(at: int = 30, count: int = 40) -> Workflow:
    """A chain that is done up to `at`, where it failed."""
    steps = [{"key": f"s{n}", "title": f"Step number {n + 1}"} for n in range(count)]
    workflow = make_workflow(steps, start=True)
    for n in range(at):
        finish(
            claim(),
            f"Answer {n + 1} tells of a **rocket** and a Rocket." if n in (3, 7) else "Nothing of it.",
        )
    fail(claim(), "auth")
    return workflow


def refetch(page: Page, dom_id: str) -> None:
    """What live.js does when a hint arrives."""
    page.evaluate(
        """(id) => {
          const part = document.getElementById(id);
          return htmx.ajax("GET", part.dataset.src, { source: part, target: part, swap: "outerHTML" });
        }""",
        dom_id,
    )


def clear_of_the_bar(page: Page, dom_id: str) -> bool:
    """The step's line is seen below the bar, whose foot it does not touch."""
    return bool(
        page.evaluate(
            """(id) => {
              const bar = document.getElementById("step-nav").getBoundingClientRect();
              const line = document.querySelector(`#${id} > summary`).getBoundingClientRect();
              return Math.abs(bar.top) < 1 && line.top >= bar.bottom - 0.5 && line.top < bar.bottom + 60;
            }""",
            dom_id,
        )
    )


@sizes
def test_page_begins_at_the_failed_step_clear_of_the_bar(site, viewport):
    workflow = broken()
    there = step_of(workflow, "s30").dom_id
    page = site.page(viewport=viewport)
    page.goto(url("detail", workflow.pk))
    expect(page.locator(f"#{there}")).to_have_attribute("open", "")
    expect(page.locator(f"#{there} .trouble")).to_be_in_viewport()
    assert clear_of_the_bar(page, there)
    expect(page.locator(".step-pill[aria-current]")).to_have_attribute("href", f"#{there}")
    expect(page.locator(".step-pill[aria-current]")).to_be_in_viewport()


@sizes
def test_no_jump_ends_under_the_bar(site, viewport):
    """By deep link, by pill, by key, and with the search open, which makes the bar higher."""
    workflow = broken()
    page = site.page(viewport=viewport, reduced_motion="reduce")
    first, second = step_of(workflow, "s9").dom_id, step_of(workflow, "s20").dom_id
    page.goto(f"{url('detail', workflow.pk)}#{first}")
    expect(page.locator(f"#{first} > summary")).to_be_focused()
    page.wait_for_load_state("networkidle")
    assert clear_of_the_bar(page, first)
    page.locator(f'.step-pill[href="#{second}"]').evaluate("(pill) => pill.click()")
    page.wait_for_load_state("networkidle")
    assert clear_of_the_bar(page, second)
    page.keyboard.press("/")
    expect(page.locator("#find-q")).to_be_focused()
    # Both keys within one frame: the bar has become lower, and nothing has told the page yet.
    page.evaluate(
        """(id) => {
      const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      press("Escape");
      document.querySelector(`#${id} > summary`).focus();
      press("n");
    }""",
        second,
    )
    assert clear_of_the_bar(page, step_of(workflow, "s30").dom_id)


def test_smooth_scroll_only_where_motion_is_welcome(site):
    workflow = broken(1, 3)
    for motion, behaviour in (("reduce", "auto"), ("no-preference", "smooth")):
        page = site.page(reduced_motion=motion)
        page.goto(url("detail", workflow.pk))
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == behaviour


def test_next_that_needs_attention_by_button_counts_and_goes_round(page):
    step = cut()
    page.goto(url("detail", step.workflow_id))
    button = page.locator("#next-needed")
    expect(button).to_have_text(re.compile("1"))
    page.click("#collapse-all")
    button.click()
    expect(page.locator(f"#{step.dom_id}")).to_have_attribute("open", "")
    services.accept_step(step, by=make_user())
    refetch(page, "pipeline")
    expect(button).to_be_hidden()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_search_covers_closed_steps_counts_on_pills_and_is_in_the_address(site, viewport):
    workflow = broken(10, 12)
    page = site.page(viewport=viewport)
    page.goto(url("detail", workflow.pk))
    page.keyboard.press("/")
    page.keyboard.type("ROCKET")
    expect(page.locator(".step-row:visible")).to_have_count(2)
    expect(page.locator(".step-pill:visible .hits")).to_have_text(["2", "2"])
    expect(page.locator("#find-said")).to_have_text("4 hits in 2 steps")
    expect(page).to_have_url(re.compile(r"\?q=ROCKET"))
    page.keyboard.press("Enter")
    there = step_of(workflow, "s3").dom_id
    expect(page.locator(f"#{there} strong")).to_have_text("rocket")
    assert page.evaluate("document.activeElement.id") == "find-q"
    page.wait_for_function("CSS.highlights.get('found')?.size === 2")
    page.reload()
    expect(page.locator(".step-row:visible")).to_have_count(2)
    expect(page.locator("#find-q")).to_have_value("ROCKET")
    page.locator("#find-close").click()
    expect(page.locator(".step-row:visible")).to_have_count(12)
    expect(page).not_to_have_url(re.compile("q="))


def test_search_covers_prompts_and_titles(page):
    workflow = make_workflow(
        [{"key": "one", "title": "Zebra"}, {"key": "two", "config": {"prompt": "About a zebra."}}]
    )
    page.goto(f"{url('detail', workflow.pk)}?q=zebra")
    expect(page.locator("summary[data-hits]")).to_have_count(2)
    said = page.locator("summary[data-hits]").evaluate_all("all => all.map((one) => one.dataset.hits)")
    assert said == ["1 in the title", "1 in the prompt"]


def test_filter_by_status_shows_what_is_left_and_nothing_says_so(page):
    workflow = broken(4, 6)
    page.goto(url("detail", workflow.pk))
    page.click("#find-open")
    page.select_option("#find-status", "left")
    expect(page.locator(".step-row:visible")).to_have_count(2)
    expect(page.locator(".step-pill:visible")).to_have_count(2)
    expect(page.locator("a.node.off")).to_have_count(4)
    expect(page).to_have_url(re.compile("status=left"))
    page.fill("#find-q", "not to be found")
    expect(page.locator("#no-hit")).to_be_visible()
    page.click("#clear-find")
    expect(page.locator(".step-row:visible")).to_have_count(6)


def test_pasted_link_shows_the_same_view(site):
    workflow = broken(6, 8)
    page = site.page()
    page.goto(url("detail", workflow.pk))
    page.click("#collapse-all")
    opened = [step_of(workflow, key).dom_id for key in ("s1", "s3")]
    for dom_id in opened:
        page.locator(f"#{dom_id} > summary").click()
    page.click('#drawing .switch [data-view="timeline"]')
    expect(page.locator("svg.timeline")).to_be_visible()
    expect(page).to_have_url(re.compile(r"open=\d+\.\d+.*view=timeline"))
    other = site.page()  # another person's browser remembers nothing
    other.goto(page.url)
    expect(other.locator("details.step[open]")).to_have_count(2)
    assert other.locator("details.step[open]").evaluate_all("all => all.map((one) => one.id)") == opened
    expect(other.locator("svg.timeline")).to_be_visible()


def test_link_to_all_open_and_to_none(site):
    workflow = broken(6, 8)
    page = site.page()
    page.goto(url("detail", workflow.pk))
    page.click("#expand-all")
    second = page.locator(f"#{step_of(workflow, 's2').dom_id}")
    second.scroll_into_view_if_needed()
    expect(second.locator(".step-body[data-load]")).to_have_count(0)  # what comes in above moves it no more
    second.locator("> summary").click()
    expect(page).to_have_url(re.compile(r"open=all&shut=\d+"))
    other = site.page()
    other.goto(page.url)
    expect(other.locator("details.step[open]")).to_have_count(7)
    other.click("#collapse-all")
    expect(other).to_have_url(re.compile("open=none"))
    other.reload()
    expect(other.locator("details.step[open]")).to_have_count(0)


@pytest.mark.parametrize(
    ("count", "viewport"),
    [(3, DESKTOP), (100, DESKTOP), (100, PHONE)],
    ids=["3", "100", "100 on a phone"],
)
def test_drawing_is_readable_and_leads_to_its_steps(site, count, viewport):
    workflow = broken(2, count)
    page = site.page(viewport=viewport)
    page.goto(url("detail", workflow.pk))
    assert page.evaluate("document.querySelector('svg.graph').getBoundingClientRect().width") <= 1152
    smallest = page.locator("svg.graph text").evaluate_all(
        "all => Math.min(...all.map((one) => parseFloat(getComputedStyle(one).fontSize)))"
    )
    assert smallest >= 11
    expect(page.locator("svg.graph a.node")).to_have_count(count)
    there = step_of(workflow, "s1").dom_id
    page.locator(f'svg.graph a[href="#{there}"]').click()
    expect(page.locator(f"#{there}")).to_have_attribute("open", "")
    page.click('#drawing .switch [data-view="timeline"]')
    page.locator(f'svg.timeline a[href="#{step_of(workflow, "s0").dom_id}"]').click()
    expect(page.locator(f"#{step_of(workflow, 's0').dom_id}")).to_have_attribute("open", "")


def test_words_stand_in_for_the_drawing(page):
    workflow = broken(1, 3)
    page.goto(url("detail", workflow.pk))
    page.get_by_role("link", name="Words").click()
    words = page.get_by_role("list", name="The steps in words")
    expect(words).to_contain_text("2 Step number 2, Failed, after 1")
    assert page.evaluate("document.activeElement.dataset.view") == "words"


def test_desktop_notice_is_asked_for_remembered_and_told_once_the_run_ends(site):
    step = step_of(make_workflow(start=True), "one")
    page = site.page(permissions=["notifications"])
    page.add_init_script(
        """window.told = [];
        window.Notification = class { static permission = "granted"; static requestPermission = async () => "granted";
          constructor(title) { told.push(title); } close() {} };
        document.hasFocus = () => false;"""
    )
    page.goto(url("detail", step.workflow_id))
    page.click("#notify")
    expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    fail(claim(), "auth")
    refetch(page, "run")
    expect(page.locator("#run .status")).to_have_text(re.compile("Failed|Paused"))
    told = page.evaluate("told")
    assert len(told) == 1
    assert told[0].startswith(("Failed: ", "Paused: "))


def test_times_are_shown_in_the_readers_zone(site):
    workflow = completed()
    page = site.page(timezone_id="Asia/Tokyo", locale="en-GB")
    page.goto(url("detail", workflow.pk))
    expect(page.locator(".facts time").first).to_have_attribute("title", re.compile(r"GMT\+9"))


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"]
)
def test_search_and_every_drawing_shut_nobody_out(site, viewport, scheme):
    workflow = broken(3, 30)
    page = site.page(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    for view in ("graph", "timeline", "words"):
        page.goto(f"{url('detail', workflow.pk)}?view={view}&q=number&open=none")
        expect(page.locator("#find-said")).to_contain_text("hits")
        found = Axe().run(page).response["violations"]
        assert [(view, rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), view
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    assert Axe().run(page).response["violations"] == []


def test_without_scripts_drawings_are_links(site):
    step = failed()
    page = site.page(java_script_enabled=False)
    page.goto(url("detail", step.workflow_id))
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator("svg.timeline")).to_be_visible()
    page.get_by_role("link", name="Words").click()
    expect(page.get_by_role("list", name="The steps in words")).to_be_visible()
