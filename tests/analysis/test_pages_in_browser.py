"""Analyses in Chromium: judging by keyboard, confirming with something left out, live progress, axe, small screens."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page, expect

from analysis import bulk, runner, services
from analysis.models import AnalysisRun, Finding, SourceFile, TrackedFinding
from analysis.rows import options_of
from nyxcore import bulk as kernel
from nyxcore.models import BulkAction
from tests.analysis.engine_helpers import WORKER
from tests.analysis.rows_made import make_run
from tests.analysis.views.conftest import repo, run, waiting
from tests.browser import PHONE, Site

__all__ = ["repo", "run", "waiting"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
TABS = ("overview", "coverage", "findings", "documents", "units", "settings")


def addresses(run: AnalysisRun) -> list[str]:
    """Every kind of page there is."""
    finding = Finding.objects.filter(run=run)[0]
    base = run.get_absolute_url()
    more = [
        reverse("analysis:finding", args=[run.pk, finding.pk]),
        f"{base}documents/architecture/",
        f"{base}again/",
    ]
    more += [
        f"{base}delete/",
        f"{base}source/?path=app.py&start=1&end=2",
        "/analysis/?q=shop",
        "/analysis/new/",
    ]
    more += [reverse("analysis:bulk", args=["delete"]) + "?status=completed"]
    verb = bulk.SOURCE.verbs["delete"]
    action = kernel.begin(
        by=run.owner, source=bulk.SOURCE, verb=verb, query="q=shop", said="“shop”", rows=[run.pk]
    )
    BulkAction.objects.filter(pk=action.pk).update(remarks=[[run.pk, "It is live; cancel it first."]])
    more += [reverse("bulk", args=[action.pk])]
    return [*(f"{base}?tab={tab}" for tab in TABS), f"{base}units/{finding.unit_id}/", *more]


def test_axe_finds_nothing_in_either_scheme_and_nothing_sticks_out_on_a_phone(
    site: Site, run: AnalysisRun, waiting: AnalysisRun
) -> None:
    page = site.page(viewport=PHONE)
    found = {}
    for address in [*addresses(run), waiting.get_absolute_url()]:
        page.emulate_media(color_scheme="light")
        page.goto(address)
        opener = page.locator(".tree summary, summary.finding-line").first
        if opener.count():
            opener.click()
            expect(page.locator(".finding-body .facts, .tree .tree .file").first).to_be_visible()
        broken = [violation["id"] for violation in Axe().run(page).response["violations"]]
        page.emulate_media(color_scheme="dark")
        colours = {"runOnly": ["color-contrast"]}  # nothing else depends on the scheme
        broken += [one["id"] for one in Axe().run(page, options=colours).response["violations"]]
        wide = page.evaluate("document.documentElement.scrollWidth") > PHONE["width"]
        if broken or wide:
            found[address] = (broken, wide)
    assert found == {}


def test_findings_are_judged_by_keyboard(page: Page, user: Any) -> None:
    made = make_run(user, findings=8)
    page.goto(f"{made.get_absolute_url()}?tab=findings")
    articles = page.locator("article.finding[id]")
    page.keyboard.press("j")
    expect(articles.nth(0).locator("summary")).to_be_focused()
    page.keyboard.press("a")
    expect(articles.nth(0)).to_have_attribute("data-triage", "accepted")
    expect(articles.nth(1).locator("summary")).to_be_focused()
    page.keyboard.press("d")
    page.locator("#dismiss-why").select_option("wont_fix")
    page.locator("#dismiss-note").fill("Legacy.")
    page.keyboard.press("Enter")
    expect(articles.nth(1)).to_have_attribute("data-triage", "dismissed")
    page.keyboard.press("k")
    page.keyboard.press("o")
    expect(articles.nth(1).locator(".decided")).to_contain_text("Dismissed as will not be fixed by ada")
    page.keyboard.press("u")
    expect(articles.nth(1)).to_have_attribute("data-triage", "")
    said = TrackedFinding.objects.exclude(triage="").values_list("triage", "dismissal")
    assert list(said) == [("accepted", "")]


def test_the_keys_are_told(page: Page, user: Any) -> None:
    page.goto(f"{make_run(user, findings=2).get_absolute_url()}?tab=findings")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_a_folder_is_left_out_on_the_spot_and_the_rest_confirmed(page: Page, waiting: AnalysisRun) -> None:
    page.goto(waiting.get_absolute_url())
    page.locator(".tree summary", has_text="web/").click()
    inner = page.get_by_label("Leave out web/views.py")
    expect(inner).to_be_enabled()
    page.get_by_label("Leave out web/", exact=True).check()
    expect(inner).to_be_disabled()
    page.get_by_role("button", name="Confirm and start").click()
    expect(page.locator("#run .status")).not_to_have_text("Needs you")
    waiting.refresh_from_db()
    assert waiting.confirmed
    assert options_of(waiting).exclude == ("/web/",)


def test_progress_shows_without_a_reload(page: Page, waiting: AnalysisRun) -> None:
    page.goto(f"{waiting.get_absolute_url()}?tab=coverage")
    page.evaluate("window.stayed = true")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#run")).to_have_attribute(
        "data-status", "waiting"
    )  # the question was answered with no
    services.confirm_analysis(waiting, by=waiting.owner)
    while runner.work(WORKER):
        pass
    # The test server has no stream of events, so the page asks every few seconds.
    expect(page.locator("#run")).to_have_attribute("data-status", "completed", timeout=20_000)
    expect(page).to_have_title("Completed: shop · nyxcore")
    expect(page.locator("#favicon")).to_have_attribute("href", "/static/icons/completed.svg")
    expect(page.locator("#progress")).to_contain_text("Report")
    expect(page.locator("#findings-count")).to_have_text(
        str(Finding.objects.filter(run=waiting).kept().count())
    )
    assert page.evaluate("window.stayed")


def test_without_scripts_one_can_read_confirm_and_judge(
    site: Site, run: AnalysisRun, waiting: AnalysisRun
) -> None:
    page = site.page(java_script_enabled=False)
    page.goto(f"{run.get_absolute_url()}?tab=findings")
    page.locator("article.finding .own-page").first.click()
    page.get_by_role("button", name="Accept").click()
    expect(page.locator(".decided")).to_contain_text("Accepted by ada")
    page.goto(f"{waiting.get_absolute_url()}?tab=coverage&folder=web/")
    page.get_by_label("Leave out web/views.py").check()
    page.get_by_role("button", name="Confirm and start").click()
    # Answers of the other run would have been used again, so this may cost more than was shown.
    expect(page.locator(".flash")).to_contain_text("Look at the new estimate first")
    while runner.work(WORKER):
        pass
    page.reload()
    page.get_by_role("button", name="Confirm and start").click()
    waiting.refresh_from_db()
    assert waiting.confirmed
    assert options_of(waiting).exclude == ("/web/views.py",)


def test_a_folder_of_5000_files_opens_level_by_level(page: Page, user: Any) -> None:
    made = make_run(user, files=5_000)
    assert SourceFile.objects.filter(run=made).count() == 5_000
    page.goto(f"{made.get_absolute_url()}?tab=coverage")
    for name in ("src/", "part0/", "pack0/"):
        page.locator(".tree summary", has_text=name).first.click()
    expect(page.get_by_text("module_0.py", exact=True)).to_be_visible()
    assert page.locator(".tree li").count() < 100
