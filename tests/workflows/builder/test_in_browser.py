"""The builder in Chromium: keyboard, mouse, live check, preview, a draft that survives; and without scripts."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE, Site
from tests.factories import make_user, make_workflow
from tests.workflows.views.helpers import url
from workflows import catalog, templates_service
from workflows.models import Workflow, WorkflowTemplate

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
BUILDER = "/workflows/new/builder/"


@pytest.fixture
def page(site: Site, request: pytest.FixtureRequest) -> Page:
    """On a desktop, or on what `sizes` says."""
    opened = site.page(viewport=getattr(request, "param", DESKTOP))
    opened.goto(BUILDER)
    expect(opened.locator("#step-1 .grip")).to_be_visible()  # the script has begun
    return opened


sizes = pytest.mark.parametrize("page", [DESKTOP, PHONE], ids=["desktop", "phone"], indirect=True)


def titles(page: Page) -> list[str]:
    return [field.input_value() for field in page.locator("#steps input[id$='-title']").all()]


@sizes
def test_a_workflow_is_built_by_keyboard_previewed_and_saved(page):
    page.get_by_label("Name", exact=True).first.fill("Two of mine")
    page.get_by_role("button", name="Add: Language model").press("Enter")
    expect(page.locator("#step-2-title")).to_be_focused()
    page.keyboard.type("Critic")
    assert page.locator("#step-2-llm-prompt").input_value() == "{{ steps.summary.content }}\n\n"
    page.locator("#step-2-llm-prompt").fill("Judge: {{ steps.summary.content }}")
    expect(page.locator("#verdict")).to_have_text("Ready: 2 steps, 1 input")

    page.locator("#step-2-title").press("Alt+ArrowUp")
    assert titles(page) == ["Critic", "Summary"]
    expect(page.locator("#step-2-title")).to_be_focused()
    expect(page.locator("#step-2-llm-prompt_error")).to_have_text(
        re.compile(r"^Line 1, column 11: .*it comes later")
    )
    page.locator("#step-2-title").press("Alt+ArrowDown")
    expect(page.locator("#step-2-llm-prompt_error")).to_be_hidden()
    assert titles(page) == ["Summary", "Critic"]

    page.locator("#step-2").get_by_role("button", name="Preview").press("Enter")
    expect(page.locator("#preview-2 pre")).to_have_text("Judge: [The output of step 1, Summary]")
    page.get_by_role("button", name="Save as template").press("Enter")
    expect(page.locator(".flash")).to_have_text("Saved: Two of mine, version 1.")
    spec = WorkflowTemplate.objects.get().spec
    assert [(step["key"], step["title"]) for step in spec["steps"]] == [
        ("summary", "Summary"),
        ("step_2", "Critic"),
    ]


def test_moves_are_told_to_screen_readers(page):
    said = page.locator("#builder-said")
    page.get_by_role("button", name="Add: Approval").click()
    expect(said).to_have_text("Added Step 2, 2 of 2.")
    page.locator("#step-2-title").press("Alt+ArrowUp")
    expect(said).to_have_text("Step 2 is now 1 of 2.")
    page.locator("#step-2").get_by_role("button", name="Remove Step 2").click()
    expect(page.locator("#step-1")).to_be_focused()


def test_a_step_is_dragged_to_its_place(page):
    page.set_viewport_size({"width": 1280, "height": 2400})  # nothing has to scroll between press and move
    for _ in range(2):
        page.get_by_role("button", name="Add: Language model").click()
    page.locator("#step-3 .grip").drag_to(page.locator("#step-1 .b-bar"), target_position={"x": 100, "y": 2})
    expect(page.locator("#step-3 .b-no")).to_have_text("1")
    assert titles(page) == ["Step 3", "Summary", "Step 2"]


@sizes
def test_a_mistake_shows_while_typing_and_its_link_leads_to_the_place(page):
    prompt = page.locator("#step-1-llm-prompt")
    prompt.fill("one\n{{ input.txt }}")
    expect(page.locator("#step-1-llm-prompt_error")).to_have_text(
        "Line 2, column 4: There is no input field txt. Did you mean input.text?"
    )
    expect(prompt).to_be_focused()
    expect(prompt).to_have_attribute("aria-invalid", "true")
    page.locator(".b-problems a").click()
    assert prompt.evaluate("(area) => area.selectionStart") == len("one\n") + 3
    prompt.fill("{{ input.text }}")
    expect(page.locator("#verdict")).to_have_text("Ready: 1 step, 1 input")


def test_a_new_name_is_followed_by_prompts_and_needs(page):
    page.get_by_role("button", name="Add: Language model").click()
    page.locator("#step-2-after").select_option("chosen")
    page.locator("#step-2 [data-picks] .pick").click()
    expect(page.locator("#step-2-needs")).to_have_value("summary")
    page.locator("#step-1-key").fill("digest")
    page.locator("#step-1-key").press("Tab")
    expect(page.locator("#step-2-needs")).to_have_value("digest")
    expect(page.locator("#step-2-llm-prompt")).to_have_value("{{ steps.digest.content }}\n\n")
    page.locator("#input-1-name").fill("words")
    page.locator("#input-1-name").press("Tab")
    expect(page.locator("#step-1-llm-prompt")).to_have_value(re.compile(r"{{ input\.words }}"))
    expect(page.locator("#verdict")).to_have_text("Ready: 2 steps, 1 input")


def test_a_name_is_put_into_the_prompt(page):
    page.locator("#step-1-llm-prompt").fill("Look at ")
    page.locator("#step-1 [data-names]").get_by_role("button", name="input.text").click()
    expect(page.locator("#step-1-llm-prompt")).to_have_value("Look at {{ input.text }}")


def test_another_kind_keeps_what_was_typed(page):
    page.get_by_role("button", name="Add: Language model").click()
    page.locator("#step-2-llm-prompt").fill("Mine {{ input.text }}")
    page.locator("#step-2-kind").select_option("gate")
    expect(page.locator("#step-2-llm-prompt")).to_be_hidden()
    expect(page.locator("#step-2-gate-shows")).to_be_visible()
    page.locator("#step-2-kind").select_option("llm")
    expect(page.locator("#step-2-llm-prompt")).to_have_value("Mine {{ input.text }}")


def test_a_draft_survives_a_reload_until_one_starts_over(page):
    page.get_by_role("button", name="Add: Language model").click()
    page.locator("#step-2-title").fill("Not saved yet")
    page.reload()
    expect(page.locator("#restored")).to_be_visible()
    assert titles(page) == ["Summary", "Not saved yet"]
    expect(page.locator("#verdict")).to_have_text("Ready: 2 steps, 1 input")
    page.get_by_role("button", name="Start over").click()
    expect(page.locator("#step-2")).to_have_count(0)


def test_what_was_saved_is_no_draft_any_more(page):
    page.locator("#step-1-title").fill("Changed")
    page.get_by_role("button", name="Save as template").click()
    expect(page.locator(".flash")).to_be_visible()
    page.goto(BUILDER)
    expect(page.locator("#step-1 .grip")).to_be_visible()
    assert titles(page) == ["Summary"]


@sizes
def test_use_leads_to_a_run(page):
    page.get_by_role("button", name="Use it now").click()
    page.get_by_label("Your text").fill("Some text.")
    page.get_by_role("button", name="Create and start").click()
    expect(page).to_have_url(re.compile(r"/workflows/\d+/$"))
    assert Workflow.objects.get().status == "running"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_yaml_mistakes_lead_to_their_line(site, size):
    page = site.page(viewport=size)
    page.goto(url("builder-yaml"))
    page.locator("#yaml").fill("name: x\nslug: x\nsteeps: []\n")
    page.get_by_role("button", name="Open in the builder").click()
    page.get_by_role("link", name="Line 3, steeps").click()
    chosen = "(area) => area.value.slice(area.selectionStart, area.selectionEnd)"
    assert page.locator("#yaml").evaluate(chosen) == "steeps: []"


def test_a_file_is_shown_before_it_is_sent(site, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: From a file\n")
    page = site.page()
    page.goto(url("builder-yaml"))
    page.locator("#file").set_input_files(file)
    expect(page.locator("#yaml")).to_have_value("name: From a file\n")


def test_without_scripts_one_can_build_and_save(site):
    page = site.page(java_script_enabled=False)
    page.goto(BUILDER)
    page.get_by_role("button", name="Add: Language model").click()
    page.locator("#step-2-title").fill("By hand")
    page.get_by_role("button", name="Move Step 2 up").click()
    assert titles(page) == ["By hand", "Summary"]
    page.locator("#step-2-llm-prompt").fill("Say {{ input.text }}")
    page.get_by_role("button", name="Save as template").click()
    assert [step["title"] for step in WorkflowTemplate.objects.get().spec["steps"]] == ["By hand", "Summary"]


# --- for everyone ---------------------------------------------------------------------------------------------


@pytest.fixture
def addresses(db) -> list[str]:
    user = make_user()
    spec = catalog.get("security-review")
    assert spec is not None
    template = templates_service.save_template(spec.model_copy(update={"slug": "mine"}), by=user)
    run = make_workflow(owner=user, inputs=[{"name": "text"}], data={"text": "Mine"})
    return [
        f"{BUILDER}?template={template.chosen_as}",
        f"{url('builder-yaml')}?template={template.chosen_as}",
        url("new"),
        url("template-delete", template.pk),
        url("duplicate", run.pk),
        url("detail", run.pk),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(site, addresses, scheme):
    page = site.page(color_scheme=scheme)
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state()
        for fold in page.locator("#steps details.fold").all()[:4]:
            fold.evaluate("(one) => { one.open = true; }")
        found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]})
        assert found.violations_count == 0, f"{address}: {found.generate_report()}"


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_sticks_out(site, addresses, size):
    page = site.page(viewport=size)
    for address in addresses:
        page.goto(address)
        assert page.evaluate(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ), address
