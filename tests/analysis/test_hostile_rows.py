"""What hostile sources bring into the database: names and numbers that it does not take, addresses with a token."""

from __future__ import annotations

import io
import json
import secrets
import zipfile
from pathlib import Path
from typing import Any

import pytest

from analysis import runner, services
from analysis.models import AnalysisRun, Finding, SourceFile, UnitAttempt
from nyxcore.llm.base import Request
from tests.analysis.engine_helpers import WORKER, Scripted, begin, finding, model, root, write
from tests.analysis.repos import git, repo
from tests.factories import make_user

KEY = "AKIA" + "QWERTYUIOPASDFGH"
pytestmark = pytest.mark.django_db(transaction=True)
__all__ = ["model", "root"]


def scanned(archive: bytes) -> AnalysisRun:
    """An analysis of an upload whose source was read."""
    owner = make_user()
    upload = services.store_upload(owner=owner, name="a.zip", data=archive)
    run = services.create_analysis(owner=owner, source_kind="upload", upload=upload)
    services.start_analysis(run, by=owner)
    return worked(run)


def worked(run: AnalysisRun) -> AnalysisRun:
    while runner.work(WORKER):
        pass
    run.refresh_from_db()
    return run


def listed(run: AnalysisRun) -> dict[str, str]:
    return {row.path: row.reason for row in SourceFile.objects.filter(run=run)}


def packed(*files: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files:
            archive.writestr(zipfile.ZipInfo(name), data)
    return made.getvalue()


def test_a_zero_byte_in_a_name_of_an_archive_is_spelled_out() -> None:
    raw = packed(("a.py", b"x = 1\n"), ("evil_.py", b"x = 1\n")).replace(b"evil_.py", b"evil\0.py")
    assert listed(scanned(raw)) == {"a.py": "", "evil\\x00.py": "archive"}


def test_odd_bytes_in_a_rule_of_an_archive_are_spelled_out() -> None:
    run = scanned(packed(("a.py", b"x = 1\n"), (".gitignore", b"[\xffb].py\n"), ("b.py", b"x = 1\n")))
    row = SourceFile.objects.get(run=run, path="b.py")
    assert (row.reason, row.detail) == ("ignored", ".gitignore: [\\xffb].py")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_two_lines_of_the_manifest() -> None:
    run = scanned(packed(("a.py", b"x = 1\n"), ("a.py", b"x = 2\n"), ("a.py", b"x = 3\n")))
    assert sorted(listed(run).values()) == ["", "archive", "archive"]
    assert listed(run)["a.py"] == ""


def test_a_name_that_is_longer_than_the_database_takes_is_cut() -> None:
    names = [f"{n}{secrets.token_hex(4_000)}.py" for n in range(2)]  # random, or the index would press it
    run = scanned(packed(("a.py", b"x = 1\n"), *((name, b"x = 1\n") for name in names)))
    assert sorted(listed(run).values()) == ["", "archive", "archive"]


def test_an_encrypted_entry_of_any_claimed_size_is_listed() -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.py", "x = 1\n")
        info = zipfile.ZipInfo("b.py")
        archive.writestr(info, "x = 1\n")
        info.flag_bits |= 1
        info.file_size = 2**64 - 1
    assert SourceFile.objects.get(run=scanned(made.getvalue()), path="b.py").size == 0


def test_a_name_spelled_like_the_odd_bytes_of_another_does_not_clash(root: Path, model: Scripted) -> None:
    where = repo(root / "one", {"a\\xff.py": "x = 1\n"})
    blob = git(where, "rev-parse", "HEAD:a\\xff.py").strip()
    git(where, "update-index", "--add", "--cacheinfo", f"100644,{blob},a\udcff.py")
    git(where, "commit", "-qm", "two")
    run = worked(begin(where, confirm=True))
    assert sorted(listed(run).values()) == ["", "name"]
    assert listed(run)["a\\xff.py"] == ""


def test_a_very_long_name_in_a_repository_is_listed_and_not_read(root: Path, model: Scripted) -> None:
    where = repo(root / "one", {"a.py": "x = 1\n"})
    blob = git(where, "rev-parse", "HEAD:a.py").strip()
    long = "/".join(f"{n:x}" * 40 for n in range(100)) + ".py"
    git(where, "update-index", "--add", "--cacheinfo", f"100644,{blob},{long}")
    git(where, "commit", "-qm", "two")
    assert sorted(listed(worked(begin(where, confirm=True))).values()) == ["", "name"]


@pytest.mark.parametrize(
    "address",
    [
        "https://ann:glpat-s3cret@host.example/a/b.git",
        "https://glpat-s3cret@host.example/a/b.git",
        "https://host.example/a/b.git?private_token=glpat-s3cret",
        "https://[::1/a",
        "https://host.example:99999/a",
        "https://host.example/a\nb",
    ],
)
def test_an_address_with_a_secret_or_of_an_odd_form_is_never_stored(address: str) -> None:
    with pytest.raises(services.Refused) as refused:
        services.create_analysis(owner=make_user(), source_kind="git", location=address)
    assert "s3cret" not in str(refused.value)
    assert not AnalysisRun.objects.exists()


def test_a_secret_that_comes_into_an_allowed_file_later_is_not_sent(root: Path, model: Scripted) -> None:
    where = write(root / "one", {"a.py": f"token = '{KEY}'\n", "b.py": f"token = '{KEY}'  # b\n"})
    run = worked(begin(where, confirm=True))
    assert listed(run) == {"a.py": "secret", "b.py": "secret"}
    for path in ("a.py", "b.py"):
        services.allow_secret(run, by=run.owner, path=path)
        run = worked(run)
    assert listed(run) == {"a.py": "", "b.py": ""}
    services.cancel_analysis(run, by=run.owner)
    write(where, {"a.py": f"token = '{KEY.replace('Q', 'Z')}'\n"})
    again = worked(services.rescan_analysis(run, by=run.owner))
    assert listed(again) == {"a.py": "secret", "b.py": ""}


def test_evidence_that_stands_nowhere_is_not_kept(root: Path, model: Scripted) -> None:
    line = "total = value[len(value)]  # BUG"
    invented = {"path": "//evil.example/x", "excerpt": "rm -rf", "start_line": 7}
    real = {"path": "b.py", "excerpt": "def other(value):", "start_line": 40}
    claim = finding("correctness/off-by-one", "a.py", 1, line, evidence=[invented, real])
    model.replies["chunk"] = lambda request: json.dumps(
        {"findings": [claim | {"rule_id": _first_rule(request)}]}
    )
    where = write(root / "one", {"a.py": line + "\n", "b.py": "\n\ndef other(value):\n    return value\n"})
    run = worked(begin(where))
    assert Finding.objects.get(run=run, analyzer="correctness").evidence == [["b.py", "def other(value):", 3]]


def _first_rule(request: Request) -> str:
    assert request.schema is not None
    return str(request.schema["properties"]["findings"]["items"]["properties"]["rule_id"]["enum"][0])


@pytest.mark.parametrize(
    ("hosts", "said"), [([], "not a public address"), (["127.0.0.1:9"], "could not be fetched")]
)
def test_only_the_operators_list_opens_the_way_to_a_host_of_the_house(
    settings: Any, hosts: list[str], said: str
) -> None:
    settings.NYXCORE_GIT_HOSTS = hosts
    owner = make_user()
    run = services.create_analysis(owner=owner, source_kind="git", location="https://127.0.0.1:9/a/b.git")
    services.start_analysis(run, by=owner)
    worked(run)
    assert said in UnitAttempt.objects.filter(unit__run=run).order_by("pk")[0].error
