import re

import pytest
from django.db import DatabaseError

from nyxcore.dbtime import ago
from nyxcore.models import Worker
from tests.factories import make_workflow

pytestmark = pytest.mark.django_db


@pytest.fixture
def worker():
    return Worker.objects.create(name="w:1", host="h", threads=16)


def test_health_needs_nothing_else(client, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")


def test_ready_with_database_and_worker(client, worker):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"ready": True, "checks": {"database": "ok", "worker": "ok"}}


def test_without_a_living_worker_it_says_since_when(client, worker):
    Worker.objects.update(seen_at=ago(3600))
    response = client.get("/readyz")
    assert response.status_code == 503
    assert re.fullmatch(r"no worker since \d\d:\d\d UTC", response.json()["checks"]["worker"])


def test_worker_that_is_leaving_does_not_count(client, worker):
    Worker.objects.update(stopping=True)
    assert client.get("/readyz").status_code == 503


def test_without_database_it_is_not_ready(client, monkeypatch):
    def gone():
        raise DatabaseError("away")

    monkeypatch.setattr("nyxcore.views.health.no_worker_since", gone)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["database"] == "not reachable: DatabaseError"


def test_metrics_count_open_attempts_and_workers(client, worker):
    make_workflow(start=True)
    text = client.get("/metrics").content.decode()
    assert "nyxcore_workers 1\n" in text
    assert "nyxcore_worker_threads 16\n" in text
    assert 'nyxcore_attempts{model="stepattempt",status="pending"} 1\n' in text
    assert re.search(r'nyxcore_queued_seconds\{model="stepattempt"\} [\d.]+\n', text)


def test_metrics_are_well_formed(client):
    for line in client.get("/metrics").content.decode().splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) nyxcore_\w+ .+|nyxcore_\w+(\{[^}]*\})? [\d.e+-]+", line), line


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_only_get(client, path):
    assert client.post(path).status_code == 405
