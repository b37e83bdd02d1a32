"""Fixtures of all tests: real rows in PostgreSQL, a quiet queue, and workers as processes where a test needs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nyxcore import events
from nyxcore.calls import CALLS
from nyxcore.places import PLACES


def browser_found() -> bool:
    """Debian's Chromium, or one that Playwright has downloaded."""
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")
    return bool(shutil.which("chromium")) or Path("/usr/bin/chromium").exists() or any(own.glob("chromium*"))


@pytest.hookimpl(wrapper=True)  # before every other's, that of xdist too, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Say which tests stay together with `-n`, and what becomes of browser tests without Chromium.

    A file stays in one process, for its fixtures; what starts processes and counts on their times is never run
    beside its like. Without Chromium its tests are skipped; with REQUIRE_BROWSER=1 they run, and fail.
    """
    for item in items:
        alone = item.get_closest_marker("processes")
        item.add_marker(pytest.mark.xdist_group("processes" if alone else item.nodeid.split("::")[0]))
        if item.get_closest_marker("browser") and not (
            browser_found() or os.environ.get("REQUIRE_BROWSER") == "1"
        ):
            item.add_marker(
                pytest.mark.skip(reason="Chromium is not installed; REQUIRE_BROWSER=1 insists on it")
            )
    yield
    if config.getoption("loadgroup", None) and not all("@" in item.nodeid for item in items):
        raise pytest.UsageError(
            "pytest-xdist did not take the groups over; its release does not fit pytest's."
        )


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No test leaves hints or calls to the next."""
    events.queue.clear()
    CALLS.draining = False
    PLACES.reset()
    yield
    events.queue.clear()
    CALLS.draining = False
    PLACES.reset()


@pytest.fixture
def user(db: Any) -> Any:
    from tests.factories import make_user

    return make_user()


@pytest.fixture
def stranger(db: Any) -> Any:
    from tests.factories import make_user

    return make_user("eve")


@pytest.fixture
def staff(db: Any) -> Any:
    from tests.factories import make_user

    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture(scope="session")
def seasoned_postgres(django_db_setup: Any, django_db_blocker: Any) -> None:
    """PostgreSQL has run for longer than a lease, so that the sweep's guard after a restart is over."""
    from django.db import connection

    from tests.seasoned import season

    with django_db_blocker.unblock():
        with connection.cursor() as cursor:
            season(cursor.execute, connection.settings_dict["NAME"])
        connection.close()
