"""The embedded servers: start, stop, crash, refusals, and what they must not touch."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis

from nyxcore import datadir, embedded, postgres, servers, valkey
from nyxcore.datadir import DataDir
from nyxcore.processes import StartError, alive, mark
from tests.platform.helpers import kill, processes_of, python, until

HOLD = """
import sys, time
from nyxcore.embedded import services
with services(sys.argv[1], durable=True) as found:
    print(found.database_url, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def start(data: Path, **options: bool) -> None:
    with embedded.services(data, **options):
        pass


def modes(path: Path) -> list[int]:
    return [parent.stat().st_mode for parent in (path, *path.parents)]


def test_both_servers_answer_and_nothing_stays_behind(data):
    with embedded.services(data, durable=False) as found:
        with psycopg.connect(found.database_url) as connection:
            assert connection.execute("SELECT 'ä'").fetchone() == ("ä",)
        assert redis.Redis.from_url(found.redis_url).ping()
        assert len(processes_of(data)) >= 2
    assert processes_of(data) == []


def test_rows_are_there_at_the_next_start(data):
    with (
        embedded.services(data, valkey=False, durable=False) as found,
        psycopg.connect(found.database_url) as c,
    ):
        c.execute("CREATE TABLE kept (n int)")
    with (
        embedded.services(data, valkey=False, durable=False) as found,
        psycopg.connect(found.database_url) as c,
    ):
        assert c.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_the_application_is_no_superuser_and_writes_are_durable(data):
    with embedded.services(data, valkey=False) as found, psycopg.connect(found.database_url) as connection:
        superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(superuser).fetchone() == (False,)
        assert connection.execute("SHOW fsync").fetchone() == ("on",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_no_folder_above_the_data_changes_its_mode(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "sub").mkdir(mode=0o750)
    before = modes(home / "sub")
    with embedded.services(home / "sub" / "data", durable=False):
        assert modes(home / "sub") == before
    assert modes(home / "sub") == before


def test_all_that_is_written_is_for_its_owner_only(data):
    with embedded.services(data, durable=False) as found:
        for path in (data, data / "postgres", Path(found.run_dir), data / "log"):
            assert path.stat().st_mode & 0o077 == 0, path
        assert (Path(found.run_dir) / "valkey.conf").stat().st_mode & 0o077 == 0


def test_valkey_asks_for_the_password(data):
    with embedded.services(data, postgres=False) as found:
        stranger = redis.Redis.from_url(found.redis_url.replace(found.redis_url.split("@")[0], "redis://"))
        with pytest.raises(redis.exceptions.AuthenticationError):
            stranger.ping()
        assert redis.Redis.from_url(found.redis_url).config_get("maxmemory-policy") == {
            "maxmemory-policy": "noeviction"
        }


@pytest.mark.parametrize("name", ["with space", "x" * 120, "com,ma", 'quo"te', "per%cent"])
def test_any_folder_name_works(tmp_path, name):
    with embedded.services(tmp_path / name, valkey=False, durable=False) as found:
        with psycopg.connect(found.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        run_dir = Path(found.run_dir)
    assert run_dir.is_relative_to(tmp_path) or not run_dir.exists()


def test_killed_owner_takes_its_servers_along_and_data_stay_whole(data):
    process = python(HOLD, str(data))
    url = process.stdout.readline().strip()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    assert len(processes_of(data)) > 2
    kill(process)
    with embedded.services(data, durable=False) as found, psycopg.connect(found.database_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)
    until(lambda: processes_of(data) == [])


def test_lock_file_of_a_dead_server_is_cleared_though_its_number_lives_on(data):
    with embedded.services(data, valkey=False, durable=False):
        text = (data / "postgres/postmaster.pid").read_text()
    bystander = subprocess.Popen(["sleep", "60"])
    (data / "postgres/postmaster.pid").write_text(f"{bystander.pid}\n" + text.split("\n", 1)[1])
    with embedded.services(data, valkey=False, durable=False) as found:
        assert found.postgres.query("SELECT 1") == "1"
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_process_that_got_the_number_of_ours_is_left_alone(data):
    bystander = subprocess.Popen(["sleep", "60"])
    folder = DataDir(data)
    folder.create()
    forged = (bystander.pid, "an earlier boot:1")
    folder.write_state(datadir.State("up", (1, "long ago"), processes={"db": forged, "web": forged}))
    embedded.clean_up(folder)
    assert bystander.poll() is None
    assert folder.last_state() is None
    bystander.kill()
    bystander.wait()


def test_a_start_cut_short_in_initdb_begins_anew(data):
    data.mkdir()
    (data / "postgres.new").mkdir()
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    with embedded.services(data, valkey=False, durable=False) as found:
        assert found.postgres.query("SELECT 1") == "1"


def test_data_of_another_version_are_refused_in_one_sentence(data):
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "PG_VERSION").write_text("14\n")
    with (
        pytest.raises(
            StartError, match=r"was written by PostgreSQL 14, and this nyxcore brings PostgreSQL \d+"
        ),
        embedded.services(data, durable=False),
    ):
        pass
    assert list((data / "postgres").iterdir()) == [data / "postgres" / "PG_VERSION"]


def test_a_second_user_of_the_same_data_is_refused(data):
    with (
        embedded.services(data, postgres=False),
        pytest.raises(StartError, match="just starting or stopping"),
    ):
        start(data)


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="is a file"):
        start(tmp_path / "file/data")


def test_a_full_disk_is_one_sentence(data, monkeypatch):
    monkeypatch.setattr(datadir.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with (
        pytest.raises(StartError, match=r"The disk that holds .* is full: 0 MB are free"),
        embedded.services(data),
    ):
        pass


def test_a_disk_that_fills_up_during_start_is_the_same_sentence(data):
    lines = [
        "creating x ... ok",
        'FATAL:  could not write to file "pg_wal/xlogtemp": No space left on device',
    ]
    assert "is full" in servers.why("PostgreSQL", DataDir(data), lines)


@pytest.mark.parametrize(("module", "variable"), [(postgres, "DATABASE_URL"), (valkey, "REDIS_URL")])
def test_a_missing_wheel_names_the_way_out(data, monkeypatch, module, variable):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=rf"is not bundled for this machine .* set {variable}"):
        start(data)


def test_a_server_that_ends_at_once_gives_its_reason(data):
    with embedded.services(data, valkey=False, durable=False):
        pass
    (data / "postgres" / "global" / "pg_control").unlink()
    with pytest.raises(StartError, match=r"PostgreSQL did not start: .*pg_control|control file"):
        start(data, valkey=False, durable=False)
    assert processes_of(data) == []


def test_a_mark_tells_a_process_from_its_successor():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = mark(child.pid)
    assert alive(who)
    assert not alive((child.pid, who[1] + "0"))
    child.communicate(b"\n")
    assert not alive(who)


@pytest.fixture
def no_namespaces(monkeypatch):
    plain = postgres._possible
    monkeypatch.setattr(
        postgres, "_possible", lambda who, *argv: not who.startswith("map") and plain(who, *argv)
    )


def test_without_namespaces_root_hands_the_database_to_an_account(tmp_path, no_namespaces):
    home = tmp_path / "closed"
    home.mkdir(mode=0o700)
    before = modes(home)
    for _start in range(2):
        with embedded.services(home / "data", durable=False) as found:
            assert found.postgres.identity.split(":")[0] == ("same" if os.geteuid() else "drop")
            assert found.postgres.query("SELECT 1") == "1"
            assert (home / "data" / "postgres").stat().st_uid == (os.geteuid() or found.postgres.owner[0])
    assert modes(home) == before
    assert (home / "data").stat().st_mode & 0o077 == 0


def test_data_made_with_namespaces_serve_without_them_and_back(data, monkeypatch, request):
    start(data, valkey=False, durable=False)
    request.getfixturevalue("no_namespaces")
    with embedded.services(data, valkey=False, durable=False) as found:
        assert found.postgres.query("SELECT 1") == "1"
        owner = (data / "postgres").stat().st_uid
    monkeypatch.undo()
    with embedded.services(data, valkey=False, durable=False) as found:
        assert found.postgres.query("SELECT 1") == "1"
        assert (data / "postgres").stat().st_uid == owner


def test_nowhere_to_run_as_root_is_one_sentence(data, monkeypatch):
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "_possible", lambda *args: False)
    with (
        pytest.raises(StartError, match="Run as an ordinary user, or set DATABASE_URL"),
        embedded.services(data),
    ):
        pass


def test_valkey_takes_a_free_port(data):
    with embedded.services(data, postgres=False) as found:
        port = int(found.redis_url.rsplit(":", 1)[1].split("/")[0])
        with pytest.raises(OSError, match="in use"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
