"""A worker whose pulse has died: its calls go on, and nobody renews their leases or hears that they have to stop."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
django.setup()

from nyxcore import pulse, worker  # noqa: E402

if __name__ == "__main__":
    pulse.Process._pulse = lambda self: None  # type: ignore[method-assign]
    worker.main()
