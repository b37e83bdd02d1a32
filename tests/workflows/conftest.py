"""Pages in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.workflows.browser import Site, chromium_browser


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
