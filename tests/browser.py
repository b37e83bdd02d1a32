"""Chromium for tests of pages: one browser a module, one context a page, signed in as Ada."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.factories import make_user

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
ZOOMED = {"width": 640, "height": 450}  # what is left of the desktop at 200 %


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    system = Path("/usr/bin/chromium")
    # Playwright keeps an event loop in this thread, which Django takes for a mistake.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(
            executable_path=system if system.exists() else None,
            args=["--headless", "--no-sandbox", "--disable-gpu"],
        )
        yield browser
        browser.close()


class Site:
    """Opens pages of the test server as Ada; any script error or breach of the security policy fails the test."""

    def __init__(self, chromium: Browser, address: str) -> None:
        self.chromium = chromium
        self.address = address
        self.problems: list[str] = []
        self.contexts: list[Any] = []

    def page(self, **options: Any) -> Page:
        context = self.chromium.new_context(**{"viewport": DESKTOP, "base_url": self.address} | options)
        self.sign_in(context)
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(8_000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: "Security Policy" in line.text and self.problems.append(line.text))
        return page

    def sign_in(self, context: BrowserContext) -> None:
        """Give all pages of `context` a new session."""
        client = Client()
        client.force_login(make_user())
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": self.address}])


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_browser() as browser:
        yield browser


@pytest.fixture
def site(chromium: Browser, live_server: Any) -> Iterator[Site]:
    opened = Site(chromium, live_server.url)
    yield opened
    for context in opened.contexts:
        context.close()
    assert opened.problems == []


@pytest.fixture
def page(site: Site) -> Page:
    return site.page()
