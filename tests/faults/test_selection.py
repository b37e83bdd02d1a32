"""The most telling cells of the laboratory, on a system that is booted once. All of them: `make faults`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Any

import pytest

from tests.faults.system import ROOT

pytestmark = pytest.mark.processes

NAMED = ("C1", "C14", "C18", "C29", "C32", "C41")
PAIRED = (
    "process killed", "process told to end, out of time", "machine off and on", "PostgreSQL killed",
    "Valkey killed", "doorbells doubled, reordered, forged", "during a migration x process frozen past its lease",
    "analysis: process killed",
)  # fmt: skip


class Served:
    """A laboratory in a process of its own, since it needs a database that may be killed."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.faults", "--serve", "--together"]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == {"ready": True}

    def _read(self) -> Any:
        output: IO[str] = self.process.stdout  # type: ignore[assignment]
        line = output.readline()
        assert line, f"the laboratory ended with {self.process.wait(30)}"
        return json.loads(line)

    def ask(self, cell: str) -> list[dict[str, Any]]:
        stdin: IO[str] = self.process.stdin  # type: ignore[assignment]
        stdin.write(f"{cell}\n")
        stdin.flush()
        answer: list[dict[str, Any]] = self._read()
        return answer

    def close(self) -> None:
        self.process.stdin.close()  # type: ignore[union-attr]
        self.process.wait(60)
        self.process.stdout.close()  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Served]:
    served = Served()
    yield served
    served.close()


@pytest.mark.parametrize("cell", [*NAMED, *PAIRED])
def test_the_cell_ends_as_it_has_to_and_every_invariant_holds(laboratory, cell):
    outcomes = laboratory.ask(cell)
    assert outcomes, f"there is no cell {cell}"
    assert [(found["cell"], found["problems"]) for found in outcomes if found["problems"]] == []
    assert [found["cell"] for found in outcomes if found["verdict"] == "held"]
