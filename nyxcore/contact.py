"""Contact with PostgreSQL, and what to do when it breaks: the idle connections of this process are dead as well.

The pool would hand them out one after the other, and each would cost a request or a try. After a failure it would wait
twice as long for each further connection, so the pool gives up early (`reconnect_timeout` in the settings) and makes
one when somebody asks.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError, connection

log = logging.getLogger(__name__)
T = TypeVar("T")
BROKEN = (OperationalError, InterfaceError)


def lost(conn: Any = connection) -> None:
    """Give up the connection of this thread; if it is dead, have the idle ones of the process replaced."""
    mine = conn.connection
    conn.close()
    if mine is not None and not mine.closed:
        return  # it lives: a lock that was not to be had, a full disk
    pool = getattr(conn, "pool", None)
    if pool is not None and not pool.closed:
        pool.drain()


def _request_failed(sender: Any, **_kwargs: Any) -> None:
    if isinstance(sys.exc_info()[1], BROKEN):
        lost()


def connect_signals() -> None:
    """A request that finds its connection broken is the last one that does."""
    got_request_exception.connect(_request_failed, dispatch_uid="nyxcore.contact")


def with_contact(action: Callable[[], T], again: Callable[[], T] | None = None) -> T:
    """Do `action`, again and again while PostgreSQL is away; a paid answer waits in memory for the first contact.

    The connection may break after the change and before the reply. Give `again` where repeating would do it twice.
    """
    pause = 0.2
    while True:
        try:
            return action()
        except BROKEN as error:
            lost()
            action = again or action
            log.warning("no contact to PostgreSQL (%s); trying again in %.1f s", str(error).strip(), pause)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
