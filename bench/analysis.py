"""200 chunks through a model server that answers after 50 ms, against the ideal for the parallelism."""

from __future__ import annotations

import contextlib
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.db.models import Max, Min

CHUNKS = 200
EACH = 0.050  # s of an answer
LINE = "    total += {n}  # one of the lines that make up this function\n"


@contextlib.contextmanager
def model_server() -> Iterator[str]:
    """Its address, for the time of the block."""
    command = [sys.executable, "-m", "bench.modelserver", str(EACH * 1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


@contextlib.contextmanager
def source() -> Iterator[Path]:
    """A folder with as many files as there shall be chunks, each about as large as a chunk may be."""
    with tempfile.TemporaryDirectory(prefix="nyxcore-bench-source-") as folder:
        for number in range(CHUNKS):
            body = "".join(LINE.format(n=n) for n in range(60))
            path = Path(folder) / f"part{number:03}" / "code.py"
            path.parent.mkdir()
            path.write_text(f"def part{number}(total):\n{body}    return total\n")
        yield Path(folder)


def measure(owner: Any, folder: Path, parallel: int) -> tuple[float, float, int]:
    """(seconds from the first question about a chunk to the last answer, the ideal, chunks)."""
    from analysis import services
    from analysis.models import AnalysisRun, UnitAttempt
    from analysis.plain import Options

    options = Options(analyzers=("correctness",), confirm=False, verify=False, effort=f"{time.time()}")
    run = services.create_analysis(
        owner=owner, source_kind="path", location=str(folder), options=options, kind="operator"
    )
    services.start_analysis(run, by=owner)
    until = time.monotonic() + 120
    status = AnalysisRun.objects.filter(pk=run.pk).values_list(
        "status", flat=True
    )  # no large row: it takes CPU, too
    while status.get() not in ("completed", "failed", "paused"):
        assert time.monotonic() < until, "the analysis does not end"
        time.sleep(0.05)
    run.refresh_from_db()
    assert (run.status, run.gaps) == ("completed", []), (run.status, run.reason)
    attempts = UnitAttempt.objects.filter(unit__run=run, kind="chunk")
    found = attempts.aggregate(first=Min("started_at"), last=Max("finished_at"))
    count = attempts.count()
    ideal = EACH * (1 + math.ceil((count - 1) / parallel))  # the first one goes alone
    return (found["last"] - found["first"]).total_seconds(), ideal, count


def line(parallel: int, workers: int, seconds: float, ideal: float, count: int) -> str:
    per = f"{parallel} at once ({workers} worker{'s' if workers > 1 else ''})"
    return f"analysis: {count} chunks, {per}: {seconds:.2f} s, ideal {ideal:.2f} s = {seconds / ideal:.2f}x"
