"""What `up` writes: log lines with the name of their process, and on a terminal one live line below them."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO

COLOURS = {"db": "34", "bus": "35", "web": "36", "setup": "33", "up": "32"}
WORKER_COLOUR = "33"
ERASE = "\r\x1b[K"


class Console:
    """Writes to a terminal, a file or a pipe. A reader that goes away does not stop nyxcore."""

    def __init__(self, stream: IO[str] | None = None, *, width: int = 6) -> None:
        self.stream = stream or sys.stdout
        self.terminal = self.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.colours = self.terminal and "NO_COLOR" not in os.environ
        self.width = width
        self._status = ""

    def line(self, name: str, text: str) -> None:
        """One line of output of the process `name`."""
        label = name.ljust(self.width)
        if self.colours:
            label = f"\x1b[{COLOURS.get(name, WORKER_COLOUR)}m{label}\x1b[0m"
        self._write(f"{label} │ {text}\n")

    def say(self, text: str = "") -> None:
        """A line of our own, without a name."""
        self._write(text + "\n")

    def status(self, text: str) -> None:
        """Replace the live line at the bottom; only a terminal shows it."""
        if self.terminal and text != self._status:
            self._status = text
            self._write("")

    def _write(self, text: str) -> None:
        if self.terminal:
            columns = shutil.get_terminal_size().columns
            text = f"{ERASE}{text}{self._status[: columns - 1]}"
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            # The pipe's reader or the terminal is gone. To stop us is what signals are for, so go on unseen.
            self.terminal = self.colours = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
