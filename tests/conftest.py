"""Fixtures of all tests: real rows in PostgreSQL, a quiet queue, and workers as processes where a test needs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nyxcore import events
from nyxcore.calls import CALLS


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """No test leaves hints or calls to the next."""
    events.queue.clear()
    CALLS.draining = False
    yield
    events.queue.clear()
    CALLS.draining = False


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
    from django.conf import settings
    from django.db import connection

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_sleep(greatest(0, %s - extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())))",
            [settings.NYXCORE_LEASE + 0.1],
        )
