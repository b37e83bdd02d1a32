"""The baseline: a bare Celery chain, prefork with two children, defaults, on the same Valkey. It keeps no record."""

from __future__ import annotations

import os

import redis
from celery import Celery, chain

from bench.noop import change

app = Celery("bare", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="bare", broker_connection_retry_on_startup=True, worker_hijack_root_logger=False
)
store = redis.from_url(os.environ["REDIS_URL"], socket_timeout=None)


@app.task(name="bare.step")
def step(text: str) -> str:
    return change(text)


@app.task(name="bare.last")
def last(text: str, key: str) -> str:
    store.rpush(key, "done")
    return text


def run(key: str, steps: int) -> None:
    """Send a chain whose last task sets `key`."""
    middle = [step.s() for _ in range(steps - 2)]
    chain(step.s("x"), *middle, last.s(key)).apply_async()


def wait(key: str, timeout: float = 60.0) -> None:
    """Return when the chain has set `key`."""
    if store.blpop([key], timeout=timeout) is None:
        raise TimeoutError(key)
