from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nyxcore import llm
from tests.workflows.kinds.scripted import ScriptedProvider


@pytest.fixture
def script(settings: Any) -> Iterator[type[ScriptedProvider]]:
    """The provider `scripted` as the active one; tell it what to answer, ask it what it was sent."""
    settings.LLM_PROVIDERS = {"scripted": {"BACKEND": "tests.workflows.kinds.scripted.ScriptedProvider"}}
    settings.NYXCORE_LLM = "scripted"
    ScriptedProvider.answers = []
    ScriptedProvider.requests = []
    llm.reset_providers()
    yield ScriptedProvider
    llm.reset_providers()
