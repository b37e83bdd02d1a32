"""A web process that never sweeps by itself."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
django.setup()

from nyxcore import pulse  # noqa: E402
from nyxcore.asgi import application  # noqa: E402

pulse.Process._sweeper = lambda self: None  # type: ignore[method-assign]
__all__ = ["application"]
