"""Beginning an analysis by the web."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from analysis.models import AnalysisRun
from analysis.rows import options_of

pytestmark = pytest.mark.django_db(transaction=True)
NEW = "/analysis/new/"
PUBLIC = "https://93.184.216.34/team/project.git"  # an address needs no resolver


def posted(**changes: Any) -> dict[str, Any]:
    return {"location": PUBLIC, "analyzers": ["correctness"], "name": "Mine", **changes}


def again_url(run: AnalysisRun) -> str:
    return reverse("analysis:again", args=[run.pk])


def archive(name: str = "shop.zip") -> SimpleUploadedFile:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr("app.py", "print(1)\n")
    return SimpleUploadedFile(name, data.getvalue())


def test_a_git_address_begins_an_analysis_that_is_scanned_first(ada: Client) -> None:
    answer = ada.post(NEW, posted(documents=["onboarding"], exclude="docs/\n*.md", budget="2.5"))
    run = AnalysisRun.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, run.get_absolute_url())
    assert (run.status, run.location, run.budget) == ("scanning", PUBLIC, 2.5)
    assert run.options["documents"] == ["onboarding"]
    assert run.options["exclude"] == ["docs/", "*.md"]


def test_an_archive_begins_an_analysis(ada: Client) -> None:
    ada.post(NEW, posted(location="", archive=archive()))
    run = AnalysisRun.objects.get()
    assert (run.source_kind, run.location, run.upload.size > 0) == ("upload", "shop.zip", True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"location": ""}, "Give the address of a repository"),
        ({"location": "http://example.org/a.git"}, "must begin with https://"),
        ({"location": "https://127.0.0.1/a.git"}, "127.0.0.1"),
        ({"location": "https://10.0.0.1/a.git"}, "10.0.0.1"),
        ({"location": "https://user:word@93.184.216.34/a.git"}, "password"),
        ({"analyzers": []}, "Choose at least one analyzer."),
        ({"budget": "-1"}, "greater than or equal to 0.01"),
    ],
)
def test_what_is_wrong_stands_in_place_and_what_was_typed_is_kept(
    ada: Client, changes: dict[str, Any], told: str
) -> None:
    answer = ada.post(NEW, posted(**changes))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert told in page
    assert 'value="Mine"' in page
    assert not AnalysisRun.objects.exists()


CHOSEN = {
    "analyzers": ["security"], "documents": ["onboarding"], "verify": "on", "verify_model": "", "budget": "2.5",
    "include": "src/", "exclude": "docs/\n*.md", "migrations": "on",
    "tokens": "50000",
}  # fmt: skip


def test_everything_that_can_be_chosen_is_kept_with_the_run(ada: Client) -> None:
    ada.post(NEW, posted(**CHOSEN))
    options = options_of(AnalysisRun.objects.get())
    assert (options.analyzers, options.documents) == (("security",), ("onboarding",))
    assert (options.include, options.exclude) == (("src/",), ("docs/", "*.md"))
    assert (options.verify, options.migrations, options.confirm) == (True, True, True)
    assert options.max_tokens_read == 50_000


def test_analysing_again_offers_what_was_chosen_before(user: Any, ada: Client) -> None:
    ada.post(NEW, posted(**CHOSEN))
    page = ada.get(again_url(AnalysisRun.objects.get())).content.decode()
    assert page.count(" checked") == 4  # analyzer, document, second look, migrations
    assert "docs/\n*.md</textarea>" in page
    assert 'value="2.5"' in page


def test_analysing_again_makes_one_that_follows_with_another_choice(run: AnalysisRun, ada: Client) -> None:
    answer = ada.post(again_url(run), {**CHOSEN, "documents": ["security", "modules"]})
    again = AnalysisRun.objects.latest("pk")
    assert answer["Location"] == again.get_absolute_url()
    assert (again.previous, again.status) == (run, "scanning")
    assert again.options["documents"] == ["security", "modules"]
    assert again.budget == 2.5


def test_analysing_again_from_the_web_shows_the_estimate_first(run: AnalysisRun, ada: Client) -> None:
    assert not options_of(run).confirm
    ada.post(again_url(run), CHOSEN)
    assert options_of(AnalysisRun.objects.latest("pk")).confirm


def test_analysing_again_says_in_place_what_is_wrong(run: AnalysisRun, ada: Client) -> None:
    answer = ada.post(again_url(run), {**CHOSEN, "budget": "much"})
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Enter a number." in page
    assert 'value="much"' in page
    assert AnalysisRun.objects.count() == 1


def test_analysing_an_upload_again_asks_for_its_new_state(ada: Client) -> None:
    ada.post(NEW, posted(location="", archive=archive()))
    first = AnalysisRun.objects.get()
    without = ada.post(again_url(first), CHOSEN)
    assert "Choose the archive with the new state of the source." in without.content.decode()
    ada.post(again_url(first), {**CHOSEN, "archive": archive("other.zip")})
    again = AnalysisRun.objects.latest("pk")
    assert (again.location, again.source_key) == ("shop.zip", first.source_key)


def test_an_upload_that_is_no_archive_is_refused(ada: Client) -> None:
    answer = ada.post(NEW, posted(location="", archive=SimpleUploadedFile("notes.txt", b"text")))
    assert answer.status_code == 422
    assert "is no archive that can be read" in answer.content.decode()


def test_the_practice_model_is_labelled(ada: Client) -> None:
    assert "practice model" in ada.get(NEW).content.decode()


def test_a_get_begins_nothing(ada: Client) -> None:
    ada.get(NEW)
    assert not AnalysisRun.objects.exists()
