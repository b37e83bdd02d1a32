"""Pages in Chromium while something breaks: each ends right, without a reload, and never says `live` when it is not.

Web process, Valkey and sender are real; a test stands in for the worker. Times are shortened alike on both sides, see
livesite.py. What live.js does with each single event is tested in tests/nyxcore/test_live_js.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import Site, chromium_browser
from tests.factories import make_user, make_workflow
from tests.nyxcore.live_page import hide
from tests.processes.livesite import QUICK_PAGE, QUICK_SERVER, Author, Watched, Web, WebProxy, sending_bus
from tests.processes.servers import Bus
from tests.workflows.engine_helpers import claim
from tests.workflows.views.helpers import url
from workflows.models import Workflow

pytestmark = [pytest.mark.browser, pytest.mark.processes, pytest.mark.django_db(transaction=True)]

BACK_WITHIN = 30_000  # ms until a page is live again; slow machines included
AT_ONCE = 3.0  # s in which the page must have noticed what closes its connection


@pytest.fixture(scope="module")
def bus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bus]:
    with sending_bus(tmp_path_factory.mktemp("valkey")) as own:
        yield own


@pytest.fixture(scope="module")
def web(bus: Bus, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    started = Web(tmp_path_factory.mktemp("web"), bus.url, QUICK_SERVER)
    yield started
    started.kill()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_browser() as browser:
        yield browser


@pytest.fixture
def proxy(web: Web) -> Iterator[WebProxy]:
    opened = WebProxy(web.port)
    yield opened
    opened.close()


@pytest.fixture
def site(chromium: Browser, web: Web, proxy: WebProxy) -> Iterator[Site]:
    opened = Site(chromium, f"http://127.0.0.1:{proxy.port}")
    yield opened
    for context in opened.contexts:
        context.close()
    assert opened.problems == []


@pytest.fixture(autouse=True)
def patient(short_times: None, settings: Any) -> None:
    """Authors send no heartbeat: no sweep is to take their attempts."""
    settings.NYXCORE_LEASE = 600


@pytest.fixture
def author() -> Author:
    """A run whose first step is being written; two others follow."""
    make_workflow(start=True)
    return Author(claim())


@pytest.fixture
def page(site: Site) -> Page:
    return site.page()


@pytest.fixture
def watched(page: Page, author: Author) -> Watched:
    """The page of that run, live, with the first words."""
    found = Watched(page, QUICK_PAGE)
    author.write()
    page.goto(url("detail", author.step.workflow_id))
    becomes(page, "live")
    shows(page, author)
    return found


def becomes(page: Page, state: str) -> None:
    expect(page.locator("#live-state")).to_have_attribute("data-state", state, timeout=BACK_WITHIN)


def shows(page: Page, author: Author) -> None:
    """All that is written stands on the page, once."""
    stream = page.locator(f'pre.stream[data-attempt="{author.attempt.pk}"]')
    expect(stream).to_have_text(author.text, use_inner_text=False, timeout=BACK_WITHIN)
    assert stream.text_content() == author.text


def ends_right(watched: Watched, author: Author) -> None:
    """The page is live and right, with everything written so far; then it hears that the step ends."""
    page = watched.page
    author.write()
    becomes(page, "live")
    shows(page, author)
    author.finish()
    step = page.locator(f"#{author.step.dom_id}")
    expect(step).to_have_attribute("data-status", "completed", timeout=BACK_WITHIN)
    expect(step.locator(".prose")).to_have_text(author.text.strip(), timeout=BACK_WITHIN)
    becomes(page, "live")
    watched.texts_grew_into(author.text)
    watched.was_not_reloaded()


# --- what breaks between page and worker


def test_web_server_killed_and_back(watched, author, web):
    web.kill()
    died = time.time()
    author.write_while(4)
    assert watched.live_between(died + AT_ONCE, time.time()) == 0
    web.start()
    shows(watched.page, author)
    ends_right(watched, author)


def test_valkey_away_for_longer_than_a_listener_lives(watched, author, bus):
    bus.kill()
    died = time.time()
    author.write_while(8)
    shows(watched.page, author)  # by asking
    assert watched.live_between(died + AT_ONCE, time.time()) == 0
    assert "polling" in watched.states(died)
    bus.start()
    ends_right(watched, author)


def test_proxy_that_buffers_from_the_beginning(page, author, proxy):
    proxy.keeps_back = True
    watched = Watched(page, QUICK_PAGE)
    page.goto(url("detail", author.step.workflow_id))
    becomes(page, "polling")
    author.write_while(2)
    shows(page, author)
    assert "live" not in watched.states()
    proxy.keeps_back = False
    ends_right(watched, author)


def test_proxy_that_begins_to_buffer(watched, author, proxy):
    proxy.keeps_back = True
    began = time.time()
    author.write_while(8)
    shows(watched.page, author)
    assert watched.live_between(began + QUICK_PAGE["QUIET"] / 1000 + AT_ONCE, time.time()) == 0
    proxy.keeps_back = False
    ends_right(watched, author)


def test_proxy_that_cuts_every_stream(site, page, author, proxy):
    proxy.cuts_after = 1.5
    watched = Watched(page, QUICK_PAGE)
    page.goto(url("detail", author.step.workflow_id))
    author.write_while(7)
    shows(page, author)
    assert proxy.streams >= 3
    assert watched.states().count("live") >= 2
    ends_right(watched, author)


def test_token_ends_and_is_renewed_while_text_is_written(watched, author, proxy):
    first = proxy.streams
    author.write_while(QUICK_SERVER["live_tokens.TOKEN_AGE"] + 1)
    assert proxy.streams > first
    ends_right(watched, author)


# --- what happens to the page


@contextmanager
def asleep(chromium: Browser) -> Iterator[None]:
    """Stop the processes that run the pages and hold their connections, as a closed lid does."""
    session = chromium.new_browser_cdp_session()
    info = session.send("SystemInfo.getProcessInfo")["processInfo"]
    pids = [int(one["id"]) for one in info if one["type"] == "renderer" or "network" in one["type"].lower()]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_laptop_asleep(watched, author, proxy, chromium):
    """Longer than a token lives and than the page allows between two looks; nobody tells it that its stream is gone."""
    with asleep(chromium):
        proxy.forget()
        author.write_while(QUICK_SERVER["live_tokens.TOKEN_AGE"] + 1)
        woke = time.time()
    shows(watched.page, author)
    becomes(watched.page, "live")
    doubted = [at for at, mode in watched.modes() if at > woke and mode != "live"]
    assert doubted, "it went on saying live over a stream that was gone"
    assert doubted[0] < woke + AT_ONCE
    ends_right(watched, author)


def test_a_thousand_events_while_the_tab_is_hidden(watched, author):
    page = watched.page
    hide(page, True)
    for _ in range(500):
        author.write(2, save=False)
    author.save()
    expect(page.locator("#live-state")).not_to_have_attribute("data-state", "live", timeout=BACK_WITHIN)
    for _ in range(500):  # the connection has been given back
        author.write(2, save=False)
    author.save()
    hide(page, False)
    shows(page, author)
    ends_right(watched, author)


def test_runs_opened_in_background_tabs_leave_the_connections_to_others(watched, author):
    """A browser has six for all tabs of one server; seven streams would shut everything else out."""
    page, behind = watched.page, []
    for _ in range(7):
        tab = page.context.new_page()
        tab.add_init_script(
            "Object.defineProperty(document, 'hidden', { configurable: true, get: () => true });"
        )
        tab.goto(page.url)
        behind.append(tab)
    hide(behind[-1], False)  # one of them is looked at
    becomes(behind[-1], "live")
    shows(behind[-1], author)
    ends_right(watched, author)


# --- who may look


def test_signed_out_in_another_tab_and_in_again(site, watched, author):
    page = watched.page
    other = page.context.new_page()
    other.goto(url("list"))
    other.locator("details.menu summary").click()
    other.get_by_role("button", name="Sign out").click()
    becomes(page, "signed-out")
    before = author.text
    author.write()
    expect(page.locator("#live-state a")).to_have_attribute("href", f"/accounts/login/?next={encoded(page)}")
    assert page.locator("pre.stream").text_content() == before
    site.sign_in(page.context)
    hide(page, True)
    hide(page, False)  # one comes back to the tab
    ends_right(watched, author)


def encoded(page: Page) -> str:
    return str(page.evaluate("encodeURIComponent(location.pathname + location.search)"))


def deactivate(workflow: Workflow) -> str:
    user = workflow.owner
    user.is_active = False
    user.save()
    return "signed-out"


def give_away(workflow: Workflow) -> str:
    Workflow.objects.filter(pk=workflow.pk).update(owner=make_user("eve"))
    return "no-access"


@pytest.mark.parametrize("take_away", [deactivate, give_away])
def test_access_taken_away(watched, author, proxy, take_away):
    word = take_away(author.step.workflow)
    becomes(watched.page, word)
    asked, before = proxy.streams, watched.page.locator("pre.stream").text_content()
    author.write_while(2)
    assert proxy.streams == asked
    assert watched.page.locator("pre.stream").text_content() == before
    expect(watched.page.locator("#live-state")).to_have_attribute("data-state", word)
    watched.was_not_reloaded()


def test_events_of_one_web_process_reach_the_pages_of_another(watched, author, bus, tmp_path):
    """Signed out in one process: the page that hangs on the other one knows at once."""
    second = Web(tmp_path, bus.url, QUICK_SERVER)
    try:
        page = watched.page
        cookies = {one["name"]: one["value"] for one in page.context.cookies()}
        began = time.time()
        assert sign_out(second.port, cookies) == 302
        becomes(page, "signed-out")
        assert time.time() - began < QUICK_PAGE["COMPARE_EVERY"] / 1000
    finally:
        second.kill()


def sign_out(port: int, cookies: dict[str, str]) -> int:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    jar = "; ".join(f"{name}={value}" for name, value in cookies.items())
    headers = {"Cookie": jar, "X-CSRFToken": cookies["csrftoken"]}
    connection.request("POST", "/accounts/logout/", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status
