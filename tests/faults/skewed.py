"""A worker whose clock is wrong by NYXCORE_LAB_SKEW seconds."""

from __future__ import annotations

import datetime
import os
import time

SKEW = float(os.environ["NYXCORE_LAB_SKEW"])
_true_time = time.time
time.time = lambda: _true_time() + SKEW

from django.utils import timezone  # noqa: E402

_true_now = timezone.now
timezone.now = lambda: _true_now() + datetime.timedelta(seconds=SKEW)

from nyxcore import worker  # noqa: E402

if __name__ == "__main__":
    worker.main()
