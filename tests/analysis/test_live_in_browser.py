"""The page of an analysis while its units run: by hints over a real stream, and without any stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, Route, expect

from analysis import runner
from analysis.models import AnalysisRun, Unit
from nyxcore import events, pulse
from nyxcore.states import Status
from tests.analysis.engine_helpers import WORKER, Scripted, begin, take, write
from tests.analysis.engine_helpers import module as source
from tests.browser import Site
from tests.nyxcore.live_tools import Server
from tests.nyxcore.test_live import bus_here, valkey

__all__ = ["bus_here", "valkey"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
SOON = 8_000  # ms; a page that is live compares itself every 30 s, so what comes sooner came by a hint
POLLED = 25_000


@pytest.fixture
def server(valkey: Any, bus_here: Any, tmp_path: Path) -> Iterator[Server]:
    """Where the event streams come from."""
    started = Server(valkey.url, {}, {}, tmp_path / "server.log")
    yield started
    started.stop()


@pytest.fixture
def page(server: Server, site: Site) -> Page:
    """A page whose event stream is a real one, from a server of its own."""

    def away(route: Route) -> None:
        query = route.request.url.partition("?")[2]
        route.continue_(url=f"http://127.0.0.1:{server.port}/events/?{query}")

    opened = site.page()
    opened.route("**/events/?token=*", away)
    return opened


@pytest.fixture
def run(root: Path, model: Scripted, user: Any) -> AnalysisRun:
    """Its source is read; two analyzers are to look at two files with a fault each."""
    folder = write(root / "shop", {"app.py": source("app", bug=True), "web.py": source("web", bug=True)})
    found = begin(folder, owner=user, analyzers=("correctness", "security"))
    while not Unit.objects.filter(run=found, kind="chunk", status=Status.RUNNING).exists():
        step()
    return found


def step() -> None:
    """One unit is done, and what it tells the pages leaves at once, as in a worker."""
    runner.run_attempt(take(), WORKER)
    pulse.drain()


def rest() -> None:
    while runner.work(WORKER):
        pass
    while (attempt := runner.next_attempt(WORKER)) is not None:
        runner.run_attempt(attempt, WORKER)
    pulse.drain()


def test_findings_of_a_unit_are_told_by_its_hint_and_come_when_asked_for(
    page: Page, run: AnalysisRun
) -> None:
    step()  # the first analyzer
    page.goto(f"{run.get_absolute_url()}?tab=findings")
    page.evaluate("window.stayed = true")
    expect(page.locator("#live-state")).to_have_text("live")
    articles = page.locator("article.finding[id]")
    expect(articles).to_have_count(2)
    opened = articles.nth(1)
    opened.locator("summary").click()
    expect(opened.locator(".finding-body .facts")).to_be_visible()
    step()  # the second
    expect(page.locator("#news")).to_contain_text("2 new findings", timeout=SOON)
    expect(page.locator("#findings-count")).to_have_text("4")
    expect(articles).to_have_count(2)
    name = opened.get_attribute("id")
    place = page.locator(f"#{name}")
    before = place.bounding_box()
    page.locator("#show-news").click()
    expect(articles).to_have_count(4)
    expect(page.locator("article.came")).to_have_count(2)
    expect(page.locator("#show-news")).to_have_count(0)
    expect(place.locator(".finding-body .facts")).to_be_visible()
    assert before is not None
    assert before["y"] == pytest.approx(place.bounding_box()["y"], abs=2)  # type: ignore[index]
    assert page.evaluate("window.stayed")


def test_an_empty_list_fills_by_itself_and_the_end_is_seen(page: Page, run: AnalysisRun) -> None:
    page.goto(f"{run.get_absolute_url()}?tab=findings")
    expect(page.get_by_text("Nothing found so far.")).to_be_visible()
    expect(page.locator("#live-state")).to_have_text("live")
    step()
    expect(page.locator("article.finding[id]")).to_have_count(2, timeout=SOON)
    rest()
    expect(page.locator("#run")).to_have_attribute("data-status", "completed", timeout=SOON)
    expect(page.locator("#progress")).to_contain_text("Report")


def test_a_page_whose_stream_is_dead_asks_by_itself(page: Page, server: Server, run: AnalysisRun) -> None:
    page.goto(f"{run.get_absolute_url()}?tab=findings")
    expect(page.locator("#live-state")).to_have_text("live")
    server.stop()
    expect(page.locator("#live-state")).to_have_text("polling", timeout=POLLED)
    step()
    expect(page.locator("article.finding[id]")).to_have_count(2, timeout=POLLED)
    rest()
    expect(page.locator("#run")).to_have_attribute("data-status", "completed", timeout=POLLED)
    expect(page.locator("#findings-count")).to_have_text("4")


def test_a_page_of_a_document_is_read_while_it_is_written(
    page: Page, root: Path, model: Scripted, user: Any
) -> None:
    folder = write(root / "shop", {"app.py": source("app")})
    begin(folder, owner=user, documents=("architecture",))
    while (attempt := take()).unit.parent_id is None:
        runner.run_attempt(attempt, WORKER)
    unit = attempt.unit
    page.goto(reverse("analysis:unit", args=[unit.run_id, unit.pk]))
    expect(page.locator("#live-state")).to_have_text("live")
    events.text(unit.channel, attempt.pk, unit.dom_id, 0, "It begins in ")
    pulse.drain()
    expect(page.locator("pre.stream")).to_have_text("It begins in ")
    runner.run_attempt(attempt, WORKER)
    pulse.drain()
    expect(page.locator("#unit > .facts .status")).to_have_text("Completed", timeout=SOON)
    expect(page.locator("pre.stream")).to_have_count(0)


def test_opened_folders_stay_open_while_units_go_on(page: Page, run: AnalysisRun, root: Path) -> None:
    page.goto(f"{run.get_absolute_url()}?tab=coverage")
    expect(page.locator("#live-state")).to_have_text("live")
    page.evaluate("document.querySelector('.tree').dataset.mine = '1'")
    rest()
    expect(page.locator("#run")).to_have_attribute("data-status", "completed", timeout=SOON)
    assert page.locator(".tree[data-mine]").count() == 1
