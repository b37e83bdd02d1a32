"""What an analysis does from its start to its end, with a model that answers by script."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.models import SourceFile
from tests.analysis.engine_helpers import Scripted, done, found, module, write

pytestmark = pytest.mark.django_db(transaction=True)
SHOP = {"app.py": module("app", bug=True), "shop/cart.py": module("cart"), "README.md": "# A shop\n"}


def test_a_run_goes_from_its_source_to_its_report(root: Path, model: Scripted) -> None:
    run = done(write(root / "shop", SHOP))
    assert (run.status, run.reason, run.gaps) == ("completed", "", [])
    assert found(run) == ["app.py:17"]
    assert model.kinds() == ["overview", "chunk", "verify"]
    assert run.coverage["files"] == 3
    assert run.tree
    assert not SourceFile.objects.filter(run=run).exclude(content=None).exists()
