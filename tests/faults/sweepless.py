"""A web process that never sweeps by itself."""

from __future__ import annotations

from nyxcore import pulse
from nyxcore.asgi import application

pulse.Process._sweeper = lambda self: None  # type: ignore[method-assign]
__all__ = ["application"]
