"""A process that has met one dead connection meets no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.signals import got_request_exception
from django.db import OperationalError, connection
from django.db.backends.postgresql.base import DatabaseWrapper

from nyxcore import contact

pytestmark = pytest.mark.django_db(transaction=True)
IDLE = 3


@pytest.fixture
def pooled() -> Iterator[Any]:
    """A connection of a process that keeps some idle ones, as web and workers do."""
    pool = {"min_size": IDLE, "max_size": IDLE, "timeout": 10, "reconnect_timeout": 1}
    options = {**connection.settings_dict["OPTIONS"], "pool": pool}
    wrapper = DatabaseWrapper({**connection.settings_dict, "OPTIONS": options}, alias="pooled")
    wrapper.pool.open(wait=True)
    yield wrapper
    wrapper.close()
    wrapper.close_pool()


def ask(wrapper: Any) -> int:
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def end_all_others() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        )


def test_after_one_dead_connection_all_others_are_new(pooled):
    end_all_others()
    with pytest.raises(OperationalError):
        ask(pooled)
    contact.lost(pooled)
    for _ in range(2 * IDLE):
        assert ask(pooled)
        pooled.close()


def test_a_connection_that_lives_costs_the_others_nothing(pooled):
    with pytest.raises(OperationalError), pooled.cursor() as cursor:
        cursor.execute("SET statement_timeout = '1ms'; SELECT pg_sleep(1)")
    before = pooled.pool.get_stats()["pool_available"]
    contact.lost(pooled)
    assert pooled.pool.get_stats()["pool_available"] == before + 1


def test_a_request_that_fails_for_its_connection_is_the_last_to_do_so(monkeypatch):
    met: list[bool] = []
    monkeypatch.setattr(contact, "lost", lambda: met.append(True))
    for error in (OperationalError("gone"), ValueError("ours")):
        try:
            raise error
        except type(error):
            got_request_exception.send(sender=None, request=None)
    assert met == [True]
