"""Fixtures: worker processes against the test database, a model server, and a Valkey of one's own.

A worker runs with the product's settings and short times. Every process is ended by its own handle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nyxcore import pulse
from tests.processes.model import Model
from tests.processes.servers import Bus, WorkerProcess
from tests.processes.tools import LEASE, SWEEP_EVERY, environment, speaking_to

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture(autouse=True)
def short_times(settings: Any) -> None:
    """This process counts as the workers do."""
    settings.NYXCORE_LEASE, settings.NYXCORE_SWEEP_EVERY = LEASE, SWEEP_EVERY


@pytest.fixture
def start_worker(transactional_db: None, seasoned_postgres: None, tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker: start_worker("first", NYXCORE_LLM="practice"); returns when it takes work."""
    started: list[WorkerProcess] = []

    def start(
        name: str = "worker", *, module: str = "nyxcore.worker", wait: bool = True, **env: str
    ) -> WorkerProcess:
        worker = WorkerProcess(tmp_path, name, environment(**env), module)
        started.append(worker)
        return worker.await_ready() if wait else worker

    yield start
    for worker in started:
        if worker.alive:
            worker.kill()
        print(f"--- log of {worker.name}, exit code {worker.child.returncode}\n{worker.words()}")


@pytest.fixture
def model() -> Iterator[Model]:
    server = Model()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
    for call in server.calls:
        call.close()


@pytest.fixture
def asking(start_worker: StartWorker, model: Model) -> StartWorker:
    """Start a worker whose steps ask `model`."""

    def start(name: str = "worker", **env: Any) -> WorkerProcess:
        return start_worker(name, **speaking_to(model.url), **env)

    return start


@pytest.fixture
def web(transactional_db: None, seasoned_postgres: None, short_times: None) -> Iterator[pulse.Process]:
    """The threads of a web process, in this one: sweep and sender."""
    process = pulse.Process()
    process.start()
    yield process
    process.close()


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Bus]:
    """A Valkey for this test alone, on which this process rings and hints too."""
    from celery import Celery
    from django_eventstream import eventstream
    from redis import Redis

    import nyxcore.celery
    from nyxcore.bus import options

    own = Bus(tmp_path)
    ringing = Celery("own", set_as_current=False)
    ringing.conf.update({**nyxcore.celery.app.conf.changes, "broker_url": own.url})
    monkeypatch.setattr(nyxcore.celery, "app", ringing)
    monkeypatch.setattr(eventstream, "redis_client", Redis(**options(own.url)))
    settings.EVENTSTREAM_REDIS = options(own.url)
    yield own
    own.kill()
    ringing.close()
