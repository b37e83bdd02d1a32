"""Beginning an analysis by the web."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from analysis.models import AnalysisRun

pytestmark = pytest.mark.django_db
NEW = "/analysis/new/"
PUBLIC = "https://93.184.216.34/team/project.git"  # an address needs no resolver


def posted(**changes: Any) -> dict[str, Any]:
    return {"location": PUBLIC, "analyzers": ["correctness"], "name": "Mine", **changes}


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


def test_an_upload_that_is_no_archive_is_refused(ada: Client) -> None:
    answer = ada.post(NEW, posted(location="", archive=SimpleUploadedFile("notes.txt", b"text")))
    assert answer.status_code == 422
    assert "is no archive that can be read" in answer.content.decode()


def test_the_practice_model_is_labelled(ada: Client) -> None:
    assert "practice model" in ada.get(NEW).content.decode()


def test_a_get_begins_nothing(ada: Client) -> None:
    ada.get(NEW)
    assert not AnalysisRun.objects.exists()
