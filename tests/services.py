"""Starts PostgreSQL and Valkey for the tests before Django reads its settings (loaded by `-p`, see pyproject.toml).

DATABASE_URL and REDIS_URL, where both are set, name outside servers instead. With `-n` (pytest-xdist) each process
that runs tests has servers of its own: what one test does to a bus or a cluster reaches no other.
"""

import contextlib
import os
import tempfile

import pytest

OWN = (
    "NYXCORE_TESTS_OWN_SERVERS"  # set by the process that hands out tests: those that run them start servers
)

_stack = contextlib.ExitStack()


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Before pytest-django reads the settings: start the servers, but not where tests are only handed out."""
    given = os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
    if given and not os.environ.get(OWN):
        return
    os.environ[OWN] = "1"
    if "PYTEST_XDIST_WORKER" in os.environ or not early_config.known_args_namespace.numprocesses:
        _start()


def _start() -> None:
    from nyxcore import embedded

    folder = _stack.enter_context(tempfile.TemporaryDirectory(prefix="nyxcore-tests-"))
    services = _stack.enter_context(embedded.services(folder, durable=False))
    os.environ.update(DATABASE_URL=services.database_url, REDIS_URL=services.redis_url)


def pytest_unconfigure() -> None:
    """After the last test: end what was started."""
    _stack.close()
