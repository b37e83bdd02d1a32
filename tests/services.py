"""Starts PostgreSQL and Valkey for the tests before Django reads its settings (loaded by `-p`, see pyproject.toml).

DATABASE_URL and REDIS_URL, where both are set, name outside servers instead.
"""

import contextlib
import os
import tempfile

_stack = contextlib.ExitStack()

if not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")):
    from nyxcore import embedded

    folder = _stack.enter_context(tempfile.TemporaryDirectory(prefix="nyxcore-tests-"))
    _services = _stack.enter_context(embedded.services(folder, durable=False))
    os.environ.update(DATABASE_URL=_services.database_url, REDIS_URL=_services.redis_url)


def pytest_unconfigure() -> None:
    """After the last test: end what was started."""
    _stack.close()
