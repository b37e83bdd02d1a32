"""A run that has ended, with findings of every kind, and one that waits for its confirmation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from analysis import runner
from analysis.models import AnalysisRun
from tests.analysis.engine_helpers import WORKER, Scripted, begin, done, module, write
from tests.analysis.test_secrets import made

FILES = {
    "app.py": module("app", bug=True),
    "web/views.py": module("views", bug=True),
    "web/forms.py": module("forms"),
    "docs/guide.md": "# Guide\n\nRead this.\n",
    "vendor/lib.py": module("lib"),
    "keys.py": f'TOKEN = "ghp_{made(36)}"\n',
}


@pytest.fixture
def repo(root: Path) -> Path:
    return write(root / "shop", FILES)


@pytest.fixture
def run(repo: Path, model: Scripted, user: Any) -> AnalysisRun:
    """A completed analysis of the shop with a document."""
    return done(repo, owner=user, documents=("architecture",))


@pytest.fixture
def waiting(repo: Path, model: Scripted, user: Any) -> AnalysisRun:
    """An analysis whose coverage waits for somebody."""
    run = begin(repo, owner=user, confirm=True)
    while runner.work(WORKER):
        pass
    run.refresh_from_db()
    assert run.status == "waiting"
    return run


@pytest.fixture
def ada(client: Client, user: Any) -> Client:
    client.force_login(user)
    return client
