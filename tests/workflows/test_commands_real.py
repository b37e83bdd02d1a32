"""The commands as a person starts them: `manage.py` in a process of its own, with real servers and workers."""

from __future__ import annotations

import codecs
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platform.helpers import ROOT, Command, plain_environment, processes_of, until
from tests.platform.test_up import SMALL, Up

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
FAST = {"NYXCORE_PRACTICE_SPEED": "20000"}
SLOW = {"NYXCORE_PRACTICE_SPEED": "20"}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a command made."""
    data = tmp_path_factory.mktemp("grown") / "data"
    command = Command(data.parent, "sweep", "--data-dir", str(data))
    assert command.ends() == 0, command.text()
    return data


@pytest.fixture
def data(grown: Path, tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "data"
    shutil.copytree(grown, copy)
    yield copy
    until(lambda: processes_of(copy) == [])


@pytest.fixture(autouse=True)
def no_command_outlives_its_test() -> Iterator[None]:
    yield
    for command in Command.running():
        command.process.kill()
        command.process.wait()


def run(data: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A command to its end, standard output and error apart."""
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *args],
        env=plain_environment() | SMALL | {"NYXCORE_DATA_DIR": str(data)} | env,
        cwd=data.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def started(data: Path, *args: str, **env: str) -> Command:
    return Command(data.parent, *args, **(SMALL | {"NYXCORE_DATA_DIR": str(data)} | env))


def test_a_run_brings_servers_and_a_worker_for_its_own_time(data):
    text = data.parent / "text.md"
    text.write_text("# Title\n\nSome text.\n")
    ran = run(data, "run_workflow", "Improve", "--input", f"text=@{text}", "--follow", "--json", **FAST)
    assert ran.returncode == 0, ran.stderr
    result = json.loads(ran.stdout)
    assert result["status"] == "completed"
    assert [step["status"] for step in result["steps"]] == ["completed", "completed"]
    assert all(step["output"] and step["tokens"] for step in result["steps"])
    assert "step 2/2 Improve: completed" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert [path.name for path in (data / "log").iterdir() if path.name.startswith("command-")] == []


def test_bad_input_is_2_and_starts_no_worker(data):
    ran = run(data, "run_workflow", "Improve", "--input", "text=@/bin/ls")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Input text: /bin/ls is not text in UTF-8" in ran.stderr
    assert run(data, "run_workflow", "Improve", "--budget", "-1").returncode == 2


def test_ctrl_c_cancels_the_run_and_ends_everything(data):
    command = started(data, "run_workflow", "Improve", "--input", "text=x", "--follow", **SLOW)
    command.says("step 1/2 Review: running")
    assert command.stop(signal.SIGINT) == 130
    assert (
        "Interrupted. Workflow 1 is cancelled, since no other worker lives; its text is kept."
        in command.text()
    )
    assert "Traceback" not in command.text()
    assert processes_of(data) == []
    assert "is cancelled since" in run(data, "explain", "workflow", "1").stdout


def test_sigterm_cancels_it_too(data):
    command = started(data, "run_workflow", "Improve", "--input", "text=x", "--follow", **SLOW)
    command.says("step 1/2 Review: running")
    assert command.stop(signal.SIGTERM) == 143
    assert "Told to end. Workflow 1 is cancelled" in command.text()
    assert processes_of(data) == []


def test_with_a_running_up_its_worker_is_used_and_goes_on_after_ctrl_c(data):
    up = Up(data, **SLOW)
    command = started(data, "run_workflow", "Improve", "--input", "text=x", "--follow")
    command.says("step 1/2 Review: running")
    assert f"http://127.0.0.1:{up.port}/workflows/1/" in command.text()
    assert command.stop(signal.SIGINT) == 130
    assert "Workflow 1 goes on: a worker lives." in command.text()
    assert "is running: attempt 1" in run(data, "explain", "workflow", "1").stdout
    assert up.stop() == 0


def everything(terminal: int) -> Iterator[str]:
    """What comes out of a terminal until its last writer has gone."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # so Linux says that nobody writes any more
            return
        if not part:
            return
        yield decoder.decode(part)


def test_on_a_terminal_it_is_a_picture_with_the_text_that_is_written(data):
    ours, theirs = pty.openpty()
    env = plain_environment() | SMALL | {"NYXCORE_DATA_DIR": str(data), "NYXCORE_PRACTICE_SPEED": "1000"}
    process = subprocess.Popen(
        [
            sys.executable,
            str(ROOT / "manage.py"),
            "run_workflow",
            "Improve",
            "--input",
            "text=hello",
            "--follow",
        ],
        env=env | {"TERM": "xterm", "COLUMNS": "90", "LINES": "30"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = "".join(everything(ours))
    os.close(ours)
    assert process.wait(60) == 0, text
    assert "2 of 2  Improve: completed" in text
    assert "│ " in text
    assert " characters" in text
    assert "Traceback" not in text


def test_export_and_import_in_a_pipe(data):
    made = run(data, "import_workflow", str(ROOT / "workflows/catalog/improve.yaml"), "--input", "text=x")
    assert made.returncode == 0, made.stderr
    exported = run(data, "export_workflow", "1")
    assert exported.stdout == (ROOT / "workflows/catalog/improve.yaml").read_text()
