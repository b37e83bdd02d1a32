"""What the tests of the platform share. No Django here: most of these tests look at plain processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return when `condition` holds; fail the test when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain"
        time.sleep(0.02)


def processes_of(folder: Path) -> list[int]:
    """Pids whose command line, working folder or environment names `folder`, ourselves left out."""
    found = []
    needle = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            text += os.readlink(entry / "cwd").encode()
        except OSError:
            continue  # gone meanwhile, or a kernel thread
        if needle in text:
            found.append(int(entry.name))
    return found


def python(code: str, *args: str, **env: str) -> subprocess.Popen[str]:
    """A Python process that can import nyxcore, with pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=ROOT,
        env=os.environ | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill(process: subprocess.Popen[str], number: signal.Signals = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate(timeout=30)
