"""`manage.py up` as a person runs it: real processes, real signals, a data folder of its own."""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nyxcore import embedded
from nyxcore.datadir import DataDir, State
from nyxcore.processes import mark
from tests.platform.helpers import ROOT, Command, free_port, get, processes_of, until

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
SMALL = {"NYXCORE_WORKER_THREADS": "2", "NYXCORE_GRACE": "2"}


class Up(Command):
    def __init__(self, data: Path, *args: str, ready: bool = True, **env: str) -> None:
        self.port, self.data = free_port(), data
        options = ["--port", str(self.port), "--data-dir", str(data), *args]
        super().__init__(data.parent, "up", *options, **(SMALL | env))
        if ready:
            self.says(f"nyxcore is ready at http://127.0.0.1:{self.port}\n")

    def pid(self, name: str) -> int:
        return int(json.loads((self.data / "services.json").read_text())["processes"][name][0])


@dataclass(frozen=True)
class First:
    """What was seen of a first start and its end."""

    data: Path
    text: str
    health: int
    code: int
    left: list[int]
    modes: tuple[list[int], list[int]]


def modes(folder: Path) -> list[int]:
    return [path.stat().st_mode for path in (folder, *folder.parents)]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> First:
    home = tmp_path_factory.mktemp("first") / "a home"
    home.mkdir(mode=0o700)
    before = modes(home)
    up = Up(home / "data")
    health = get(up.port, "/healthz")
    code = up.stop()
    return First(home / "data", up.text(), health, code, processes_of(home), (before, modes(home)))


@pytest.fixture(scope="module")
def grown(first: First) -> Path:
    """A data folder after its first start and end."""
    return first.data


@pytest.fixture(scope="module")
def shared(grown: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A second start with that data, for the tests that leave it as it was."""
    data = tmp_path_factory.mktemp("shared") / "data"
    shutil.copytree(grown, data)
    up = Up(data)
    up.keep()
    yield up
    assert up.stop(signal.SIGINT) == 0, up.text()
    assert processes_of(data) == []


@pytest.fixture
def data(grown: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it, watched: no test may leave a process behind."""
    copy = tmp_path / "data"
    shutil.copytree(grown, copy)
    yield copy
    until(lambda: processes_of(copy) == [])


def test_first_start_and_end(first):
    assert first.health == 200
    assert first.code == 0
    assert "stopped after" in first.text
    assert first.left == []
    assert not (first.data / "services.json").exists()


def test_the_first_password_is_shown_once_and_kept(first, shared):
    kept = (first.data / "admin_password").read_text().strip()
    assert f"admin, password {kept} (shown this once" in first.text
    assert kept not in shared.text()


def test_the_worker_stands_back_behind_the_web_server(shared):
    worker, web = (os.getpriority(os.PRIO_PROCESS, shared.pid(name)) for name in ("worker", "web"))
    assert worker == min(web + 5, 19)


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no processor shares for sessions here")
def test_where_sessions_share_the_processor_that_of_the_worker_stands_back_too(shared):
    worker, web = (Path(f"/proc/{shared.pid(name)}/autogroup").read_text() for name in ("worker", "web"))
    assert worker.split()[-1] == "5"
    assert web.split()[-1] == "0"


def test_no_folder_above_the_data_changes_its_mode(first):
    assert first.modes[0] == first.modes[1]


def test_secrets_are_for_the_owner_only(grown):
    for name in ("secret_key", "admin_password", "migrated.json"):
        assert stat.S_IMODE((grown / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(grown.stat().st_mode) == 0o700


def test_a_second_start_goes_on_with_the_data(shared):
    assert "applying" not in shared.text()
    assert "setup" not in shared.text()
    assert get(shared.port, "/healthz") == 200


def test_a_given_password_is_not_written_down(tmp_path):
    data = tmp_path / "data"
    given = {"NYXCORE_ADMIN_PASSWORD": "correct horse"}
    command = Command(tmp_path, "bootstrap", "--data-dir", str(data), **given)
    assert command.ends() == 0, command.text()
    assert "made the user admin" in command.text()
    assert "correct horse" not in command.text()
    assert not (data / "admin_password").exists()


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_works(data):
    up = Up(data)
    up.stop(signal.SIGKILL)
    until(lambda: processes_of(data) == [])
    again = Up(data)
    assert get(again.port, "/healthz") == 200
    assert again.stop() == 0


def test_children_that_outlive_a_killed_supervisor_are_ended_at_the_next_start(data):
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    folder = DataDir(data)
    folder.write_state(State("up", (1, "long ago"), processes={"web": mark(orphan.pid)}))
    up = Up(data)
    assert orphan.wait(10) == -signal.SIGKILL
    assert up.stop() == 0


@pytest.mark.parametrize("name", ["web", "worker", "db", "bus"])
def test_what_dies_starts_again(shared, name):
    before = shared.pid(name)
    os.kill(before, signal.SIGKILL)
    until(lambda: shared.text().count(f"{name} is up after") == 2, 60)
    assert shared.pid(name) != before
    assert get(shared.port, "/healthz") == 200


def test_a_taken_port_is_one_sentence(data):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        up = Command(data.parent, "up", "--port", str(port), "--data-dir", str(data))
        assert up.ends() == 1
    assert up.text() == f"nyxcore: Port {port} is taken by another program. Choose another one with --port.\n"


def test_a_second_up_on_the_same_data_is_refused(shared):
    second = Up(shared.data, ready=False)
    assert second.ends() == 1
    start = (
        f"nyxcore: nyxcore already runs with the data in {shared.data}, at http://127.0.0.1:{shared.port} "
    )
    assert second.text().startswith(start)
    assert second.text().count("\n") == 1
    assert get(shared.port, "/healthz") == 200


def test_data_of_another_postgresql_are_one_sentence(data):
    (data / "postgres" / "PG_VERSION").write_text("13\n")
    up = Up(data, ready=False)
    assert up.ends() == 1
    assert "was written by PostgreSQL 13" in up.text()
    assert up.text().count("\n") == 1


def test_a_data_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    inside = str(tmp_path / "file" / "data")
    up = Command(tmp_path, "up", "--port", str(free_port()), "--data-dir", inside)
    assert up.ends() == 1
    assert up.text().startswith("nyxcore: The data folder")
    assert up.text().count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--port", "0"], ["--port", "http"], ["--workers", "0"], ["--wrokers", "2"]]
)
def test_wrong_arguments_are_explained(tmp_path, arguments):
    up = Command(tmp_path, "up", *arguments)
    assert up.ends() == 2
    assert "usage: manage.py up" in up.text()
    assert "Traceback" not in up.text()


def test_a_setting_that_the_application_refuses_ends_the_start_with_its_words(data):
    up = Up(data, ready=False, NYXCORE_LEASE="soon")
    assert up.ends() == 1
    assert "NYXCORE_LEASE must be a number" in up.text().splitlines()[-1]


def test_outside_servers_are_used_and_left_running(tmp_path):
    with embedded.services(tmp_path / "outside", durable=False) as found:
        up = Up(tmp_path / "data", DATABASE_URL=found.database_url, REDIS_URL=found.redis_url)
        assert "db is up" not in up.text()
        assert "bus is up" not in up.text()
        assert not (tmp_path / "data" / "postgres").exists()
        assert up.stop() == 0
        assert found.postgres.query("SELECT count(*) FROM auth_user") == "1"


def test_two_workers(data):
    up = Up(data, "--workers", "2")
    assert up.pid("worker-1") != up.pid("worker-2")
    assert up.stop() == 0


def test_a_restored_older_database_is_migrated_again(data):
    with embedded.services(data, valkey=False) as found:
        found.postgres.query("DELETE FROM django_migrations WHERE app = 'auth' AND name LIKE '0012%'")
    up = Up(data)
    assert "setup  │ applying 1 migrations" in up.text()
    assert up.stop() == 0


def test_the_supervisor_loads_neither_django_nor_celery():
    code = "import sys, nyxcore.up; print({'django', 'celery', 'asyncio', 'psycopg'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_supervisor_stays_small(shared):
    rollup = Path(f"/proc/{shared.process.pid}/smaps_rollup").read_text()
    pss = int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
    assert pss < 24 * 1024
