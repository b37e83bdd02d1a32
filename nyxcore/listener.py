"""Celery's consumer, hardened: no message can end a worker, whatever it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from celery.worker.consumer import Consumer

log = logging.getLogger(__name__)


class Listener(Consumer):
    """A damaged message is acknowledged and forgotten. Acknowledged, because a worker that ends with it in hand puts
    it back for the next one to end with."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What cannot even be read as a message raises inside the event loop: connect again, as after a broken
        # connection. The bell is not worth a worker.
        self.connection_errors = (Exception,)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_forget(message: Any) -> Any:
            try:
                return handle(message)
            except Exception as error:  # noqa: BLE001 - see the class
                log.warning("A damaged doorbell was dropped (%s: %s)", type(error).__name__, error)
                return None if message.acknowledged else message.ack_log_error(log, (Exception,))

        return handle_or_forget
