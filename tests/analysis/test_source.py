"""Reading a source: over the wire, from an upload, from a folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import hosts, scratch
from analysis.source import Limits, Reach, Source, SourceError, SourceSpec, open_source, remove_leftovers
from nyxcore.llm.base import Stopped, StopSignal
from tests.analysis.repos import LOOSE, Server, commit, git, repo, serving, tarred, write, zipped

FILES = {"README.md": "# hello\n", "src/app.py": "print(1)\n", "src/deep/er.py": "x = 2\n"}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "served") as running:
        yield running


def paths(source: Source) -> list[str]:
    return [entry.path for entry in source.entries()]


def contents(source: Source) -> dict[str, bytes]:
    blobs = dict(source.read(entry.blob for entry in source.entries()))
    return {entry.path: blobs[entry.blob] for entry in source.entries() if entry.blob in blobs}


def fetch(url: str, **spec: str) -> SourceSpec:
    return SourceSpec("git", url=url, **spec)  # type: ignore[arg-type]


def code_of(spec: SourceSpec, **settings: object) -> str:
    with pytest.raises(SourceError) as caught, open_source(spec, **settings):  # type: ignore[arg-type]
        pass
    assert caught.value.message.endswith(".")
    return caught.value.code


# --- git over the wire ---------------------------------------------------------------------------


def test_a_fetched_repository_is_listed_and_read(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    with open_source(fetch(f"{server.url}/one"), reach=LOOSE) as source:
        assert contents(source) == {name: text.encode() for name, text in FILES.items()}
        assert source.commit == git(made, "rev-parse", "HEAD").strip()
        assert source.tree == git(made, "rev-parse", "HEAD^{tree}").strip()


def test_only_one_commit_is_fetched(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    commit(made, {"README.md": "# changed\n"})
    with open_source(fetch(f"{server.url}/one"), reach=LOOSE) as source:
        assert source.git.run("rev-list", "--count", source.commit) == b"1\n"
        assert source.history(10) == {}


def test_branch_tag_and_commit_can_be_named(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    first = git(made, "rev-parse", "HEAD").strip()
    git(made, "tag", "-a", "v1", "-m", "one")
    commit(made, {"new.py": "y = 1\n"})
    git(made, "branch", "side/line")
    for ref, number in (("v1", 3), ("side/line", 4), (first, 3), ("main", 4)):
        with open_source(fetch(f"{server.url}/one", ref=ref), reach=LOOSE) as source:
            assert len(paths(source)) == number, ref


def test_a_sub_path_has_its_own_tree_and_whole_names(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    with open_source(fetch(f"{server.url}/one", subpath="/src/deep/"), reach=LOOSE) as source:
        assert paths(source) == ["src/deep/er.py"]
        assert source.tree == git(made, "rev-parse", "HEAD:src/deep").strip()


@pytest.mark.parametrize("subpath", ["nowhere", "README.md", "../up", "src/../..", ":/src"])
def test_a_sub_path_that_is_no_folder_is_refused(tmp_path: Path, subpath: str) -> None:
    made = repo(tmp_path / "one", FILES)
    assert code_of(SourceSpec("path", path=str(made), root=str(tmp_path), subpath=subpath)) == "subpath"


def test_a_token_reaches_the_server_and_nothing_else(tmp_path: Path) -> None:
    repo(tmp_path / "served/one", FILES)
    with serving(tmp_path / "served", token="opensesame") as server:
        spec = fetch(f"{server.url}/one", token="opensesame")
        with open_source(spec, reach=LOOSE, base=tmp_path) as source:
            assert len(paths(source)) == 3
            files = [path for path in source.git.folder.rglob("*") if path.is_file()]
            assert not [path for path in files if b"opensesame" in path.read_bytes()]
            assert "opensesame" not in " ".join(source.git._argv(["fetch"]))
        assert any(login.startswith("Basic ") for login in server.seen)
        assert "opensesame" not in repr(spec)


def test_a_wrong_token_and_none_are_told(tmp_path: Path) -> None:
    repo(tmp_path / "served/one", FILES)
    with serving(tmp_path / "served", token="opensesame") as server:
        assert code_of(fetch(f"{server.url}/one", token="wrong"), reach=LOOSE) == "auth"
        assert code_of(fetch(f"{server.url}/one"), reach=LOOSE) == "auth"


def test_a_redirect_is_not_followed(server: Server, tmp_path: Path) -> None:
    repo(tmp_path / "served/one", FILES)
    assert code_of(fetch(f"{server.url}/moved/one"), reach=LOOSE) == "redirect"


def test_an_unknown_repository_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    assert code_of(fetch(f"{server.url}/none"), reach=LOOSE) == "not_found"


def test_an_empty_repository_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "served/one").mkdir(parents=True)
    git(tmp_path / "served/one", "init", "-q")
    assert code_of(fetch(f"{server.url}/one"), reach=LOOSE) == "empty"


def test_without_a_default_branch_a_branch_can_be_named(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    git(made, "symbolic-ref", "HEAD", "refs/heads/gone")
    assert code_of(fetch(f"{server.url}/one"), reach=LOOSE) == "empty"
    with open_source(fetch(f"{server.url}/one", ref="main"), reach=LOOSE) as source:
        assert len(paths(source)) == 3


def test_a_commit_that_was_pushed_over_is_told(server: Server, tmp_path: Path) -> None:
    made = repo(tmp_path / "served/one", FILES)
    gone = git(made, "rev-parse", "HEAD").strip()
    git(made, "commit", "-q", "--amend", "-m", "other")
    git(made, "reflog", "expire", "--expire=now", "--all")
    git(made, "gc", "-q", "--prune=now")
    assert code_of(fetch(f"{server.url}/one", ref=gone), reach=LOOSE) == "ref"


@pytest.mark.skipif(not shutil.which("openssl"), reason="a certificate is made by openssl")
def test_https_counts_only_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    repo(tmp_path / "served/one", FILES)
    certificate = tmp_path / "server.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command += ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with serving(tmp_path / "served", certificate=certificate) as server:
        assert code_of(fetch(f"{server.url}/one"), reach=Reach(private=True)) == "certificate"
        trusted = Reach(private=True, ca_file=str(certificate))
        with open_source(fetch(f"{server.url}/one"), reach=trusted) as source:
            assert len(paths(source)) == 3
        listed = Reach(listed=hosts.listed([server.url.removeprefix("https://")]), ca_file=str(certificate))
        with open_source(fetch(f"{server.url}/one"), reach=listed) as source:
            assert len(paths(source)) == 3
        assert code_of(fetch(f"{server.url}/moved/one"), reach=listed) == "redirect"


def test_the_stop_signal_ends_a_fetch_that_hangs(server: Server, tmp_path: Path) -> None:
    stop = StopSignal()
    timer = threading.Timer(0.3, stop.set, ["user"])
    timer.start()
    with (
        pytest.raises(Stopped) as caught,
        open_source(fetch(f"{server.url}/slow/one"), stop=stop, reach=LOOSE, base=tmp_path),
    ):
        pass
    assert caught.value.reason == "user"
    assert not list(tmp_path.glob("nyxcore-source-*"))


def test_a_fetch_that_hangs_runs_out_of_time(server: Server) -> None:
    assert code_of(fetch(f"{server.url}/slow/one"), reach=LOOSE, limits=Limits(seconds=0.3)) == "timeout"


def test_a_repository_over_the_limit_of_the_disk_is_ended(server: Server, tmp_path: Path) -> None:
    repo(tmp_path / "served/one", {"big.bin": os.urandom(3 << 20)})
    assert code_of(fetch(f"{server.url}/one"), reach=LOOSE, limits=Limits(disk=1 << 20)) == "too_large"


# --- what stays behind ---------------------------------------------------------------------------

KILLED = """
import sys
from pathlib import Path
from analysis.source import Reach, SourceSpec, open_source
reach = Reach(schemes=("http",), private=True)
with open_source(SourceSpec("git", url=sys.argv[1]), reach=reach, base=Path(sys.argv[2])):
    pass
"""


def processes_in(folder: Path) -> list[str]:
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if os.readlink(link).startswith(str(folder)):
                found.append(link.parent.name)
        except OSError:
            continue
    return found


def until(claim: object, seconds: float = 30) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if claim():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_a_kill_in_the_middle_of_a_fetch_leaves_nothing_after_the_sweep(
    server: Server, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    base.mkdir()
    worker = subprocess.Popen([sys.executable, "-c", KILLED, f"{server.url}/slow/one", str(base)], cwd=ROOT)
    assert until(lambda: server.seen)  # git is talking to the server
    assert remove_leftovers(base) == 0  # its owner lives
    worker.send_signal(signal.SIGKILL)
    worker.wait(30)
    assert list(base.glob("nyxcore-source-*"))
    assert remove_leftovers(base) == 1
    assert not list(base.iterdir())
    assert until(lambda: not processes_in(base))


def test_a_folder_that_is_just_being_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"{scratch.PREFIX}1-new").mkdir()
    assert remove_leftovers(tmp_path) == 0
    old = time.time() - 3600
    os.utime(tmp_path / f"{scratch.PREFIX}1-new", (old, old))
    assert remove_leftovers(tmp_path) == 1


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    made = repo(tmp_path / "one", FILES)
    with (
        pytest.raises(ZeroDivisionError),
        open_source(SourceSpec("path", path=str(made), root=str(tmp_path)), base=tmp_path),
    ):
        1 / 0  # noqa: B018
    assert not list(tmp_path.glob("nyxcore-source-*"))


# --- uploads -------------------------------------------------------------------------------------

IGNORING = FILES | {
    ".gitignore": "*.log\n/build/\n",
    "a/.gitignore": "secret.txt\n!keep.log\n",
    "a/secret.txt": "1\n",
    "a/keep.log": "2\n",
    "a/other.log": "3\n",
    "build/out.js": "4\n",
}
IGNORED = {"a/secret.txt", "a/other.log", "build/out.js"}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_upload_has_the_tree_of_the_same_files_in_git(tmp_path: Path, pack: object) -> None:
    made = repo(tmp_path / "one", FILES)
    with open_source(SourceSpec("upload", archive=pack(FILES))) as source:  # type: ignore[operator]
        assert source.tree == git(made, "rev-parse", "HEAD^{tree}").strip()
        assert source.commit == ""
        assert contents(source)["src/app.py"] == b"print(1)\n"


def test_ignored_files_of_an_upload_are_told_with_their_rule() -> None:
    with open_source(SourceSpec("upload", archive=zipped(IGNORING))) as source:
        assert set(paths(source)) == set(IGNORING) - IGNORED
        told = {facts.path: facts for facts in source.skipped}
        assert set(told) == IGNORED
        assert told["a/secret.txt"].detail == "a/.gitignore: secret.txt"
        assert {facts.reason for facts in told.values()} == {"ignored"}


def test_the_one_folder_around_an_upload_is_taken_off() -> None:
    inside = {f"project-main/{name}": text for name, text in IGNORING.items()}
    with open_source(SourceSpec("upload", archive=zipped(inside))) as source:
        assert set(paths(source)) == set(IGNORING) - IGNORED
        assert {facts.path for facts in source.skipped} == IGNORED


def test_an_upload_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "up.zip").write_bytes(zipped(FILES))
    with open_source(SourceSpec("upload", archive=tmp_path / "up.zip")) as source:
        assert paths(source) == sorted(FILES)


def test_executable_files_and_odd_names_survive_an_upload() -> None:
    odd = {'a"b\\c\n.py': "1\n", "é.py": "2\n", " space": "3\n"}
    with open_source(SourceSpec("upload", archive=tarred(odd))) as source:
        assert contents(source) == {name: text.encode() for name, text in odd.items()}


# --- folders -------------------------------------------------------------------------------------


def test_a_repository_is_read_at_its_commit_not_in_its_work_tree(tmp_path: Path) -> None:
    made = repo(tmp_path / "one", FILES)
    write(made, {"src/app.py": "changed\n", "new.py": "new\n"})
    with open_source(SourceSpec("path", path="one", root=str(tmp_path))) as source:
        assert contents(source)["src/app.py"] == b"print(1)\n"
        assert set(paths(source)) == set(FILES)


def test_packed_references_and_linked_work_trees_are_read(tmp_path: Path) -> None:
    made = repo(tmp_path / "one", FILES)
    git(made, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    commit(tmp_path / "linked", {"more.py": "1\n"})
    git(made, "pack-refs", "--all")
    git(made, "gc", "-q")
    with open_source(SourceSpec("path", path="linked", root=str(tmp_path))) as source:
        assert len(paths(source)) == 4
    with open_source(SourceSpec("path", path="one", root=str(tmp_path), ref="side")) as source:
        assert len(paths(source)) == 4


def test_history_counts_changes(tmp_path: Path) -> None:
    made = repo(tmp_path / "one", FILES)
    commit(made, {"src/app.py": "print(2)\n"})
    with open_source(SourceSpec("path", path="one", root=str(tmp_path))) as source:
        assert source.history(10) == {"README.md": 1, "src/app.py": 2, "src/deep/er.py": 1}
        assert source.history(1) == {"src/app.py": 1}


def test_a_plain_folder_is_read_by_the_rules_of_git(tmp_path: Path) -> None:
    write(tmp_path / "one", IGNORING)
    with open_source(SourceSpec("path", path="one", root=str(tmp_path))) as source:
        assert set(paths(source)) == set(IGNORING) - IGNORED
        assert contents(source)["a/keep.log"] == b"2\n"
    assert not (tmp_path / "one/.git").exists()


@pytest.mark.parametrize("path", ["..", "/etc", "one/../../..", "link"])
def test_a_folder_outside_of_the_root_is_refused(tmp_path: Path, path: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to("/etc")
    assert code_of(SourceSpec("path", path=path, root=str(tmp_path / "root"))) == "path"


def test_without_a_root_no_folder_is_read(tmp_path: Path) -> None:
    assert code_of(SourceSpec("path", path=str(tmp_path))) == "path"
    assert code_of(SourceSpec("path", path="none", root=str(tmp_path))) == "path"


def test_a_repository_without_a_commit_is_told(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "one")
    assert code_of(SourceSpec("path", path="one", root=str(tmp_path))) == "empty"


@pytest.mark.parametrize(
    "ref", ["none", "-x", "--upload-pack=sh", "a..b", "x:y", "@{-1}", "a b", "HEAD^{/x}"]
)
def test_a_reference_of_an_odd_form_is_refused(tmp_path: Path, ref: str) -> None:
    repo(tmp_path / "one", FILES)
    assert code_of(SourceSpec("path", path="one", root=str(tmp_path), ref=ref)) == "ref"
