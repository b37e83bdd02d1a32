"""The Celery app. A message is a doorbell: it carries no row and says only that there is work.

PostgreSQL is the queue (see workflows/runner.py), so Celery's own retries, ETA, late acknowledgement and results
stay off, and a broker may lose every message.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import Celery, bootsteps
from celery.signals import worker_init, worker_shutdown, worker_shutting_down
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
log = logging.getLogger(__name__)
DAY = 86_400  # s

app = Celery("nyxcore")
app.conf.update(
    broker_url=settings.REDIS_URL,
    task_ignore_result=True,
    task_acks_late=False,  # the lease is the one redelivery mechanism
    worker_disable_prefetch=True,  # 5.7.0 exits on a broker restart while it holds an unacknowledged message
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # a worker outlives its broker however long it is away
    broker_pool_acquire_timeout=5,
    broker_transport_options={
        # Without these a silently dead connection is not noticed within two minutes.
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "visibility_timeout": 3600,
    },
    task_serializer="json",
    accept_content=["json"],
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_consumer="nyxcore.listener:Listener",
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_default_queue="nyxcore",
    enable_utc=True,
)

_process: Any = None  # nyxcore.pulse.Process of this worker


@app.task(name="nyxcore.work", ignore_result=True)
def work(*_args: Any, **_kwargs: Any) -> None:
    """The doorbell: claim and run until nothing is left. Arguments of older or forged messages are ignored."""
    if _process is not None:
        _process.work()


@worker_init.connect
def _begin(sender: Any = None, **_kwargs: Any) -> None:
    from nyxcore.pulse import Process, worker_name

    global _process
    _process = Process(worker=worker_name(), threads=settings.NYXCORE_WORKER_THREADS)


class Threads(bootsteps.StartStopStep):
    """Our threads: they work before Celery reaches its broker, and until nothing runs any more."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        _process.start()
        threading.Thread(target=_warm_up, name="nyxcore-warm-up", daemon=True).start()

    def stop(self, parent: Any) -> None:
        _process.drain(settings.NYXCORE_GRACE)


app.steps["worker"].add(Threads)


@worker_shutting_down.connect
def _shutting_down(**_kwargs: Any) -> None:
    """SIGTERM: claim nothing from this moment on; Celery itself needs a second or two until it stops its parts."""
    threading.Thread(
        target=_process.drain, args=[settings.NYXCORE_GRACE], name="nyxcore-drain", daemon=True
    ).start()


@worker_shutdown.connect
def _gone(**_kwargs: Any) -> None:
    _process.close()


def _warm_up() -> None:
    """Refresh the model registry now and daily; the first time also imports the vendor's SDK before a step needs it.

    So for the first hint, which would take a tenth of a second of CPU among the first answers.
    """
    from django.db import connection

    from nyxcore import events
    from nyxcore.llm import is_practice, models

    if is_practice():
        return
    events.warm_up()
    while not _process.closed.is_set():
        try:
            models.refresh()
        except Exception as error:  # noqa: BLE001 - there are seed values; a step will tell what is wrong
            log.warning("model registry: could not be refreshed: %s", error)
        finally:
            connection.close()
        _process.closed.wait(DAY)
