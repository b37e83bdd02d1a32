"""What is read, what it may cost, and deciding on that before money is spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from analysis import attributes, coverage, exports
from analysis.defaults import default_exclude
from analysis.forms import literal
from analysis.models import AnalysisRun, SourceFile
from analysis.patterns import Patterns
from analysis.rows import options_of
from tests.analysis.engine_helpers import Scripted, done, run_all, write
from tests.analysis.rows_made import make_run

pytestmark = pytest.mark.django_db(transaction=True)


def confirm(client: Client, run: AnalysisRun, **said: Any) -> Any:
    return client.post(reverse("analysis:confirm", args=[run.pk]), {"do": "confirm", "model": "", **said})


def test_a_waiting_run_shows_its_coverage_with_every_reason(waiting: AnalysisRun, ada: Client) -> None:
    page = ada.get(waiting.get_absolute_url()).content.decode()
    assert "Confirm and start" in page
    assert "Before anything is spent" in page
    for reason in waiting.coverage["skipped"]:
        assert f"reason={reason}" in page


def test_what_was_not_heeded_is_told_on_the_page_and_in_the_report(
    repo: Path, model: Scripted, user: Any, ada: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attributes, "LINES_KEPT", 0)
    run = done(write(repo, {".gitattributes": "*.x binary\n"}), owner=user)
    said = "Not all .gitattributes files are heeded: 1 line left out"
    assert said in ada.get(f"{run.get_absolute_url()}?tab=coverage").content.decode()
    assert said in exports.as_markdown(run)
    assert said in exports.as_json(run)["coverage"]["notes"][0]


def test_confirming_goes_on(waiting: AnalysisRun, ada: Client) -> None:
    assert confirm(ada, waiting).status_code == 302
    waiting.refresh_from_db()
    assert (waiting.confirmed, waiting.status) == (True, "analyzing")


def test_confirming_twice_does_it_once(waiting: AnalysisRun, ada: Client) -> None:
    confirm(ada, waiting)
    answer = confirm(ada, waiting)
    assert answer.status_code == 409
    assert "nothing to confirm" in answer.content.decode()


def test_what_is_ticked_is_left_out_and_the_rest_is_confirmed(waiting: AnalysisRun, ada: Client) -> None:
    confirm(ada, waiting, exclude=["web/"])
    run_all()
    waiting.refresh_from_db()
    read = set(SourceFile.objects.filter(run=waiting, read=True).values_list("path", flat=True))
    assert waiting.status == "completed"
    assert "app.py" in read
    assert not any(path.startswith("web/") for path in read)


def test_what_may_cost_more_than_was_shown_is_not_confirmed_unseen(waiting: AnalysisRun, ada: Client) -> None:
    answer = confirm(ada, waiting, include=["vendor/lib.py"])
    waiting.refresh_from_db()
    assert answer["Location"].endswith("?tab=coverage")
    assert (waiting.confirmed, waiting.status) == (False, "scanning")
    run_all()
    waiting.refresh_from_db()
    assert waiting.status == "waiting"
    assert SourceFile.objects.get(run=waiting, path="vendor/lib.py").read
    assert SourceFile.objects.get(run=waiting, path="app.py").read


@pytest.mark.parametrize("why", ["beyond", "reused"])
def test_to_leave_out_may_cost_more_where_others_come_in_or_answers_fit_no_more(
    waiting: AnalysisRun, ada: Client, why: str
) -> None:
    waiting.coverage["skipped"] |= {"budget": 1} if why == "beyond" else {}
    waiting.estimate |= {"reused": 3} if why == "reused" else {}
    waiting.save(update_fields=["coverage", "estimate"])
    confirm(ada, waiting, exclude=["web/"])
    waiting.refresh_from_db()
    assert (waiting.confirmed, options_of(waiting).exclude) == (False, ("/web/",))


def test_a_file_with_a_secret_is_sent_only_when_somebody_allows_it(waiting: AnalysisRun, ada: Client) -> None:
    file = SourceFile.objects.get(run=waiting, path="keys.py")
    assert (file.read, file.reason) == (False, "secret")
    assert 'name="allow" value="keys.py"' in ada.get(waiting.get_absolute_url()).content.decode()
    confirm(ada, waiting, allow=["keys.py"])
    run_all()
    waiting.refresh_from_db()
    assert waiting.status == "waiting"
    assert SourceFile.objects.get(run=waiting, path="keys.py").read


def test_only_updating_confirms_nothing(waiting: AnalysisRun, ada: Client) -> None:
    confirm(ada, waiting, do="update", patterns="docs/")
    waiting.refresh_from_db()
    assert (waiting.confirmed, options_of(waiting).exclude) == (False, ("docs/",))


def test_a_budget_that_is_none_comes_back_with_its_error(waiting: AnalysisRun, ada: Client) -> None:
    answer = confirm(ada, waiting, budget="much")
    assert answer.status_code == 422
    assert "Enter a number" in answer.content.decode()
    waiting.refresh_from_db()
    assert not waiting.confirmed


def test_a_pattern_of_a_path_names_it_and_no_other() -> None:
    odd = "src/a[1]*.py"
    assert Patterns([literal(odd)]).match(odd)
    assert not Patterns([literal(odd)]).match("src/a1b.py")
    assert not Patterns([literal("lib/")]).match("src/lib/x.py")


def test_a_folder_tells_what_lies_directly_in_it(user: Any) -> None:
    run = make_run(user, files=60)
    top, _more = coverage.children(run, "")
    inside, _more = coverage.children(run, "src/part0/pack0/")
    assert [(one.path, one.read, one.files) for one in top] == [("src/", 54, 60)]
    assert len(inside) == 25
    assert {one.reason for one in inside if not one.read} == {"vendored"}


def test_queries_do_not_grow_with_the_files(user: Any, ada: Client, django_assert_num_queries: Any) -> None:
    counts = []
    for size in (30, 600):
        run = make_run(user, files=size)
        address = f"{run.get_absolute_url()}?tab=coverage"
        ada.get(address)
        with CaptureQueriesContext(connection) as seen:
            ada.get(address)
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_files_beyond_the_token_budget_are_told_and_read_with_a_larger_one(
    waiting: AnalysisRun, ada: Client
) -> None:
    confirm(ada, waiting, do="update", tokens="100")
    run_all()
    waiting.refresh_from_db()
    left_out = waiting.coverage["skipped"]["budget"]
    assert f"{left_out} more files" in ada.get(waiting.get_absolute_url()).content.decode()
    confirm(ada, waiting, tokens="5000")
    run_all()
    waiting.refresh_from_db()
    assert (waiting.status, waiting.confirmed) == ("waiting", False)  # it may cost more than was shown
    assert "budget" not in waiting.coverage["skipped"]


def test_the_languages_with_most_tokens_are_told_first(user: Any, ada: Client) -> None:
    run = make_run(user, files=1)
    run.coverage["languages"] = {f"c{n}": n for n in range(1, 10)} | {"python": 5_000}
    run.save(update_fields=["coverage"])
    run.refresh_from_db()  # the database orders keys by their length
    page = ada.get(f"{run.get_absolute_url()}?tab=coverage").content.decode()
    assert "<span>python 5.0k</span><span>c9 9</span>" in page
    assert "<span>c1 1</span>" not in page


def test_a_migration_is_offered_to_be_read_all_the_same() -> None:
    entry = coverage.Entry("shop/migrations/0001_initial.py", "0001_initial.py", 9, 0, 1, "migration")
    assert entry.can_include
    assert Patterns(["*", literal(entry.path)]).takes(entry.path, default_exclude(entry.path).part)
