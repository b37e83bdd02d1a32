"""`manage.py analyze`, with a worker that works in this thread."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

from analysis import follow
from analysis.management.commands import analyze
from analysis.models import AnalysisRun
from nyxcore.llm.base import LLMError
from nyxcore.shell import Teller
from nyxcore.states import Reason
from tests.analysis.engine_helpers import Scripted, module, run_all, write
from tests.factories import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres", "admin")]


@pytest.fixture
def admin(db: Any) -> Any:
    return make_user("admin", is_staff=True, is_superuser=True)


@pytest.fixture
def shop(root: Path) -> str:
    return str(write(root / "shop", {"app.py": module("app", bug=True), "b.py": module("b")}))


class Inline:
    """Stands in for a worker: at each turn of the waiting it does what is due, in this thread."""

    def __enter__(self) -> Inline:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def look(self) -> None:
        run_all()

    def others(self) -> bool:
        return False


@dataclass
class Ran:
    code: int
    out: str
    err: str


def run(*args: str) -> Ran:
    """Run the command to its end."""
    out, err = StringIO(), StringIO()
    command = analyze.Command()
    command.standby = Inline
    code = 0
    try:
        call_command(command, *args, stdout=out, stderr=err)
    except SystemExit as ended:
        code = int(ended.code or 0)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Ran(code, out.getvalue(), err.getvalue())


def test_it_waits_for_a_confirmation_and_says_so(shop: str, model: Scripted) -> None:
    ran = run(shop)
    assert (ran.code, model.calls) == (3, [])
    assert "give --yes" in ran.out


def test_a_finding_as_severe_as_fail_on_is_exit_code_4(shop: str, model: Scripted) -> None:
    assert run(shop, "--yes", "--analyzers", "correctness", "--fail-on", "critical").code == 0
    ran = run(shop, "--yes", "--analyzers", "correctness", "--fail-on", "high")
    assert ran.code == 4
    assert "high     app.py:17 A fault" in ran.out


def test_an_archive_is_read_without_a_root(shop: str, model: Scripted, settings: Any, tmp_path: Path) -> None:
    settings.NYXCORE_ANALYSIS_ROOT = ""
    archive = shutil.make_archive(str(tmp_path / "shop"), "gztar", shop)
    assert run(archive, "--yes", "--analyzers", "correctness", "--fail-on", "high").code == 4


def test_following_tells_a_status_at_once_and_numbers_now_and_then() -> None:
    out = StringIO()
    lines = follow.Lines(Teller(OutputWrapper(out)), every=60)
    for status, found in (("scanning", 0), ("analyzing", 0), ("analyzing", 1), ("completed", 2)):
        lines.show(follow.Now(status, "", {}, found))
    assert out.getvalue().split("\n")[1:3] == [
        "analyzing: queued; 0 findings",
        "completed: queued; 2 findings",
    ]


def test_only_the_most_severe_of_many_findings_are_told_one_by_one(
    root: Path, model: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyze, "MOST_TOLD", 1)
    folder = write(root / "two", {"a.py": module("a", bug=True), "b.py": module("b", bug=True)})
    ran = run(str(folder), "--yes", "--analyzers", "correctness")
    assert "a.py:17" in ran.out
    assert "b.py:17" not in ran.out
    assert "and 1 more" in ran.out


def test_files_and_json_hold_the_same_findings(shop: str, model: Scripted, tmp_path: Path) -> None:
    sarif, markdown = tmp_path / "r.sarif", tmp_path / "r.md"
    ran = run(
        shop,
        "--yes",
        "--json",
        "--analyzers",
        "correctness",
        "--sarif",
        str(sarif),
        "--markdown",
        str(markdown),
    )
    told = json.loads(ran.out)
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    assert (told["status"], [one["path"] for one in told["findings"]]) == ("completed", ["app.py"])
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 17
    assert "app.py" in markdown.read_text()


def test_a_failed_run_is_exit_code_1_and_told_in_sentences(shop: str, model: Scripted) -> None:
    ran = run(shop, "--yes", "--sub-path", "nothing")
    assert (ran.code, AnalysisRun.objects.get().status) == (1, "failed")
    assert "has no folder nothing" in ran.out
    assert "What would move it" in ran.out


def test_a_stop_of_the_vendor_is_exit_code_3(shop: str, model: Scripted) -> None:
    model.replies["overview"] = lambda request: LLMError("No money left.", Reason.BILLING)
    assert run(shop, "--yes").code == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nowhere"], "There is no folder or archive nowhere"),
        (["http://host.example/x.git"], "must begin with https://"),
        ([".", "--analyzers", "taste"], "There is no analyzer taste"),
        ([".", "--tokens", "0"], "must be above 0"),
        ([".", "--owner", "nobody"], "There is no user nobody"),
        ([".", "--sarif", "/no/such/folder/x"], "does not exist"),
    ],
)
def test_bad_input_is_exit_code_2(root: Path, args: list[str], said: str) -> None:
    ran = run(*args)
    assert (ran.code, AnalysisRun.objects.exists()) == (2, False)
    assert said in ran.err


def test_without_a_root_no_folder_is_read(shop: str, settings: Any) -> None:
    settings.NYXCORE_ANALYSIS_ROOT = ""
    ran = run(shop)
    assert (ran.code, "NYXCORE_ANALYSIS_ROOT is not set" in ran.err) == (2, True)


def test_explain_tells_where_a_run_stands(shop: str, model: Scripted) -> None:
    run(shop)
    out = StringIO()
    call_command("explain", "analysis", str(AnalysisRun.objects.get().pk), stdout=out)
    assert "is waiting since" in out.getvalue()
    assert "What would move it: Look at what is read" in out.getvalue()
