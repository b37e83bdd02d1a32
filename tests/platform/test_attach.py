"""Commands beside `up` and without it: whose servers they use, and what they leave behind."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nyxcore import attach, embedded
from nyxcore.datadir import DataDir
from nyxcore.processes import StartError
from nyxcore.up import child_environment
from nyxcore.worker import worker_for_a_while, worker_program
from tests.platform.helpers import Command, processes_of, until
from tests.platform.test_up import SMALL, Up

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]
COUNT = "from django.contrib.auth.models import User; print('users', User.objects.count())"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that a command made."""
    data = tmp_path_factory.mktemp("grown") / "data"
    command = Command(data.parent, "shell", "-c", COUNT, "--data-dir", str(data))
    assert command.ends() == 0, command.text()
    assert "users 1" in command.text()
    return data


@pytest.fixture
def data(grown: Path, tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "data"
    shutil.copytree(grown, copy)
    yield copy
    until(lambda: processes_of(copy) == [])


def shell(data: Path, code: str, **env: str) -> Command:
    return Command(data.parent, "shell", "-c", code, **({"NYXCORE_DATA_DIR": str(data)} | SMALL | env))


def test_a_command_brings_servers_for_its_own_time(data):
    command = shell(data, COUNT)
    assert command.ends() == 0, command.text()
    assert "users 1" in command.text()
    assert processes_of(data) == []
    assert not (data / "services.json").exists()


def test_a_command_uses_the_servers_of_up(data):
    up = Up(data)
    command = shell(
        data, "from django.conf import settings; print(settings.DATABASE_URL, settings.SECRET_KEY)"
    )
    assert command.ends() == 0, command.text()
    state = embedded.running_up(data)
    assert f"{state.database_url} {(data / 'secret_key').read_text().strip()}" in command.text()
    assert up.stop() == 0
    assert embedded.running_up(data) is None


def test_a_second_command_shares_and_the_first_waits_for_it(data):
    hold = "import pathlib, time\nprint('in', flush=True)\nwhile not pathlib.Path('{}').exists(): time.sleep(0.02)"
    first = shell(data, hold.format("one"))
    first.says("in")
    second = shell(data, hold.format("go"))
    second.says("in")
    (data.parent / "one").touch()
    first.says("waiting for its end")
    late = shell(data, COUNT)
    (data.parent / "go").touch()
    assert (second.ends(), first.ends(), late.ends()) == (0, 0, 0), late.text()
    assert "users 1" in late.text()


def test_a_command_ended_by_sigterm_stops_its_servers(data):
    command = shell(data, "print('in', flush=True); import time; time.sleep(60)")
    command.says("in")
    assert command.stop(signal.SIGTERM) == 143
    assert not (data / "services.json").exists()


def test_a_killed_command_leaves_nothing(data):
    command = shell(data, "print('in', flush=True); import time; time.sleep(60)")
    command.says("in")
    command.stop(signal.SIGKILL)
    until(lambda: processes_of(data) == [])
    assert shell(data, COUNT).ends() == 0


def test_outside_addresses_win(tmp_path):
    environment = {"DATABASE_URL": "postgresql://u@127.0.0.1:1/d", "REDIS_URL": "redis://127.0.0.1:1/0"}
    code = "from django.conf import settings; print(settings.DATABASE_URL, settings.REDIS_URL)"
    keys = {"SECRET_KEY": "x", "ALLOWED_HOSTS": "x"}
    command = shell(tmp_path / "data", code, **environment, **keys)
    assert command.ends() == 0
    assert "postgresql://u@127.0.0.1:1/d redis://127.0.0.1:1/0" in command.text()
    assert not (tmp_path / "data").exists()


def test_a_deployment_without_a_key_is_one_sentence(tmp_path):
    command = shell(tmp_path / "data", "pass", DATABASE_URL="postgresql://u@h/d", REDIS_URL="redis://h")
    assert command.ends() == 1
    assert command.text().startswith("nyxcore: SECRET_KEY is not set.")
    assert command.text().count("\n") == 1


@pytest.mark.parametrize("arguments", [["help"], ["help", "up"], ["--version"], ["migrate", "--help"]])
def test_help_needs_no_server(tmp_path, arguments):
    command = Command(tmp_path, *arguments)
    assert command.ends() == 0, command.text()
    assert not (tmp_path / "var").exists()


def test_a_worker_for_a_while(data):
    with embedded.services(data) as found:
        addresses = {
            "DATABASE_URL": found.database_url,
            "REDIS_URL": found.redis_url,
            "PATH": "/usr/bin:/bin",
        }
        with worker_for_a_while(data / "log", child_environment(DataDir(data), addresses | SMALL)) as hired:
            assert hired.lives
            assert hired.log.exists()
            assert len([pid for pid in processes_of(data) if b"nyxcore.worker" in cmdline(pid)]) == 1
        assert [pid for pid in processes_of(data) if b"nyxcore.worker" in cmdline(pid)] == []


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_data_dir_is_taken_from_any_place(monkeypatch, tmp_path):
    monkeypatch.setenv("NYXCORE_DATA_DIR", "else")
    assert attach.take_data_dir(["manage.py", "sweep", "--data-dir", str(tmp_path), "--json"]) == [
        "manage.py",
        "sweep",
        "--json",
    ]
    assert attach.os.environ["NYXCORE_DATA_DIR"] == str(tmp_path)
    assert attach.take_data_dir(["manage.py", "x", f"--data-dir={tmp_path}/b"]) == ["manage.py", "x"]
    assert attach.os.environ["NYXCORE_DATA_DIR"] == f"{tmp_path}/b"
    with pytest.raises(StartError, match="needs a folder"):
        attach.take_data_dir(["manage.py", "x", "--data-dir"])


def test_a_backup_is_restored_as_it_was(data):
    file = data.parent / "kept.dump"
    assert Command(data.parent, "backup", str(file), "--data-dir", str(data)).ends() == 0
    assert file.stat().st_mode & 0o077 == 0
    change = "from django.contrib.auth.models import User; User.objects.create_user('later')"
    assert shell(data, change).ends() == 0
    restore = Command(data.parent, "restore", str(file), "--yes", "--data-dir", str(data))
    assert restore.ends() == 0, restore.text()
    command = shell(data, COUNT)
    assert command.ends() == 0, command.text()
    assert "users 1" in command.text()


def test_a_broken_backup_changes_nothing(data):
    file = data.parent / "broken.dump"
    file.write_bytes(b"PGDMP, but not really")
    restore = Command(data.parent, "restore", str(file), "--yes", "--data-dir", str(data))
    assert restore.ends() == 1
    assert "CommandError: pg_restore failed" in restore.text()
    command = shell(data, COUNT)
    assert command.ends() == 0
    assert "users 1" in command.text()


def test_a_worker_runs_no_module_of_the_folder_that_a_command_stands_in(tmp_path):
    (tmp_path / "json.py").write_text("open('run', 'w').close()\n")
    given = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "nyxcore.settings"}
    program = worker_program("hostile", tmp_path / "ready", given)
    said = subprocess.run(
        program.argv(), env=program.env, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "ImproperlyConfigured" in said.stderr  # it came as far as our settings, which want more
    assert not (tmp_path / "run").exists()
