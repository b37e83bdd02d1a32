"""The page of active runs and the acts on all matches, in Chromium. No worker: the test does its part."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from nyxcore import bulk
from tests.browser import DESKTOP, PHONE
from tests.factories import make_user, make_workflow
from tests.workflows.engine_helpers import claim
from tests.workflows.views.helpers import completed, cut, failed, url
from workflows import services
from workflows.models import Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}


sizes = pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])


@sizes
def test_active_follows_without_a_reload_and_keeps_what_is_the_same(site, viewport):
    page = site.page(viewport=viewport)
    stays = cut().workflow
    moves = make_workflow(start=True, name="Moving")
    page.goto("/active/")
    expect(page.locator("#live-state")).to_have_text("live")
    expect(page.get_by_role("link", name="Active (2)")).to_be_visible()
    same = page.locator(f"#active-workflow-{stays.pk}").element_handle()
    page.locator(f"#link-workflow-{stays.pk}").focus()
    claim()
    line = page.locator(f"#active-workflow-{moves.pk}")
    expect(line.locator(".active-steps .status")).to_have_text("Running")
    expect(line).to_contain_text("test:1")
    assert same.evaluate("row => row.isConnected && row.contains(document.activeElement)")
    services.cancel_workflow(moves, by=make_user())
    expect(line).to_have_count(0)
    expect(page.get_by_role("link", name="Active (1)")).to_be_visible()


def test_active_tells_when_the_server_is_away_and_comes_back(page):
    make_workflow(start=True)
    page.goto("/active/")
    expect(page.locator("#live-state")).to_have_text("live")
    page.route("**/active/?part=runs*", lambda route: route.abort())
    expect(page.locator("#live-state")).to_have_text("no contact, trying again")
    page.unroute("**/active/?part=runs*")
    expect(page.locator("#live-state")).to_have_text("live")


def test_a_step_of_the_active_page_leads_to_the_step(page):
    step = cut()
    page.goto("/active/")
    page.locator(".active-steps a").click()
    expect(page).to_have_url(re.compile(rf"/workflows/{step.workflow_id}/#{step.dom_id}$"))


@sizes
def test_delete_all_matches_from_search_to_progress(site, viewport):
    page = site.page(viewport=viewport)
    for number in range(3):
        completed(name=f"Old {number}")
    kept = completed(name="Kept")
    page.goto(url("list"))
    expect(page.locator(".all-matches")).to_have_count(0)
    page.get_by_label("Search by name").fill("old")
    expect(page.locator(".all-matches")).to_contain_text("All 3 that match")
    assert page.url.endswith("?q=old")
    page.locator(".all-matches").get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete: 3 workflows").click()
    expect(page.locator("#progress")).to_contain_text("0 of 3")
    page.evaluate("window.same = true")
    bulk.work("worker:1")
    expect(page.locator("#progress")).to_contain_text("All 3 workflows gone through.")
    assert page.evaluate("window.same")
    assert list(Workflow.objects.all()) == [kept]


@sizes
def test_nothing_is_done_to_all_there_are(site, viewport):
    failed()
    page = site.page(viewport=viewport)
    page.goto(url("list"))
    expect(page.locator(".all-matches")).to_have_count(0)
    page.goto(url("bulk", "delete"))
    expect(page.get_by_role("alert").filter(has_text="Narrow the list first")).to_be_visible()
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)


def test_abort_from_the_page(page):
    make_workflow(name="Run")
    page.goto(f"{url('bulk', 'cancel')}?q=run")
    page.get_by_role("button", name="Cancel: 1 workflow").click()
    page.get_by_role("button", name="Abort").click()
    expect(page.locator("#progress")).to_contain_text("Aborted after 0 of 1 workflow; 1 left untouched.")
    bulk.work("worker:1")
    assert Workflow.objects.get().status == "pending"


@sizes
def test_filters_choose_reload_and_clear(site, viewport):
    page = site.page(viewport=viewport)
    completed(name="Done")
    failed(name="Bad")
    page.goto(url("list"))
    page.get_by_role("link", name="Failed 1").click()
    expect(page.locator(".run-name")).to_have_text(["Bad"])
    page.locator("#more-filters summary").click()
    page.get_by_label("Order").select_option("name")
    expect(page).to_have_url(re.compile(r"\?status=failed&sort=name$"))
    page.get_by_label("Cost over").fill("5")
    page.get_by_label("Cost over").blur()
    expect(page.locator("#rows")).to_contain_text("No workflow matches")
    page.reload()
    expect(page.locator(".criteria")).to_contain_text("cost over $5.00")
    page.get_by_role("link", name="cost over $5.00").click()
    expect(page.locator(".run-name")).to_have_text(["Bad"])


def test_everything_works_without_scripts(site):
    page = site.page(java_script_enabled=False)
    failed(name="Bad")
    page.goto(url("list"))
    page.get_by_label("Search by name").fill("bad")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="Retry failed").click()
    page.get_by_role("button", name="Retry failed: 1 workflow").click()
    bulk.work("worker:1")
    page.reload()
    expect(page.locator("#progress")).to_contain_text("All 1 workflow gone through.")
    page.get_by_role("link", name="Active").click()
    expect(page.locator(".active-run")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out_and_nothing_overflows_on_a_phone(site, scheme):
    done = completed(name="A name so long that it cannot stand on one line of a phone, whatever one does")
    failed(name="Bad")
    cut()
    make_workflow(start=True)
    page = site.page(viewport=PHONE, color_scheme=scheme)
    confirm = f"{url('bulk', 'delete')}?q=a"
    for address in (
        "/active/",
        f"{url('list')}?q=a&sort=-cost",
        confirm,
        url("delete", done.pk),
        url("bulk", "cancel"),
    ):
        page.goto(address)
        found = Axe().run(page, options=WCAG).response["violations"]
        assert [(address, one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], address
