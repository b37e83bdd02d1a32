"""Contact with PostgreSQL, and what to do when it breaks: the idle connections of this process are dead as well.

The pool would hand them out one after the other, and each would cost a request or a try. After a failure it would wait
twice as long for each further connection, so the pool gives up early (`reconnect_timeout` in the settings) and makes
one when somebody asks.
"""

from __future__ import annotations

import sys
from typing import Any

from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError, connection

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
