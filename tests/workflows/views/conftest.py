"""Browsers of a person, of a stranger and of nobody; htmx requests carry what htmx sends."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/workflows/1/"}


@pytest.fixture
def ada(user: Any, client: Client) -> Client:
    client.force_login(user)
    return client


@pytest.fixture
def eve(stranger: Any) -> Client:
    client = Client()
    client.force_login(stranger)
    return client


@pytest.fixture
def htmx(user: Any) -> Client:
    """Ada's browser, asking for fragments."""
    client = Client(headers=HTMX)
    client.force_login(user)
    return client
