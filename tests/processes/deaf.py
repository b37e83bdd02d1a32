"""A worker whose calls ignore their stop signal, as one does that hangs in a library."""

from __future__ import annotations

import os
import threading
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
django.setup()

from nyxcore import pulse, worker  # noqa: E402
from workflows.kinds import KINDS  # noqa: E402

TEXT = "Some text."


def hang(step: Any) -> None:
    step.on_text(TEXT)
    threading.Event().wait()


if __name__ == "__main__":
    pulse.STUBBORN = 1.0
    KINDS["llm"].run = hang  # type: ignore[method-assign]
    worker.main()
