"""The list, the verbs of a run, exports, documents and units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from analysis.models import AnalysisRun, DocumentPage, Unit, UnitAttempt
from nyxcore.models import BulkAction
from nyxcore.states import Status, transition
from tests.analysis.rows_made import make_run

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_empty_list_teaches_the_next_step(ada: Client) -> None:
    assert "Choose a repository" in ada.get("/analysis/").content.decode()


def test_the_list_is_narrowed_by_status_and_words(user: Any, ada: Client) -> None:
    make_run(user, name="shop")
    make_run(user, name="bank")
    page = ada.get("/analysis/?status=analyzing&q=ban").content.decode()
    assert ">bank<" in page
    assert ">shop<" not in page
    assert "No analysis matches" in ada.get("/analysis/?status=failed").content.decode()


def test_a_status_that_is_none_shows_nothing(user: Any, ada: Client) -> None:
    make_run(user, name="shop")
    page = ada.get("/analysis/?status=odd").content.decode()
    assert "There is no status" in page
    assert ">shop<" not in page


def test_a_bulk_action_names_the_count_first(user: Any, ada: Client) -> None:
    make_run(user, name="shop")
    address = reverse("analysis:bulk", args=["cancel"])
    assert ada.post(address, {"status": "analyzing", "count": "5"}).status_code == 409
    assert not BulkAction.objects.exists()
    assert ada.post(address, {"status": "analyzing", "count": "1"}).status_code == 302
    assert BulkAction.objects.get().target == "analysis"


def test_a_bulk_action_says_what_becomes_of_each(user: Any, ada: Client) -> None:
    for status, gaps in (("completed", []), ("completed", ["a.py"]), ("failed", [])):
        run = make_run(user, name="shop")
        transition(run, Status.ANALYZING, Status(status))
        AnalysisRun.objects.filter(pk=run.pk).update(gaps=gaps)
    page = ada.get(f"{reverse('analysis:bulk', args=['retry'])}?q=shop").content.decode()
    assert "Retry failed: 1 analysis?" in page
    assert "is completed with gaps; retry those on its page" in page


def test_the_list_is_sorted_by_what_the_address_says(user: Any, ada: Client) -> None:
    for name, cost in (("bank", 3), ("Attic", 1), ("cellar", None)):
        unit = Unit.objects.create(run=make_run(user, name=name), kind="chunk", key="one", title="a.py")
        UnitAttempt.objects.create(unit=unit, number=1, kind="chunk", cost=cost, due_at=timezone.now())

    def shown(query: str) -> list[str]:
        return [run.name for run in ada.get(f"/analysis/?{query}").context["page"].object_list]

    assert shown("") == ["cellar", "Attic", "bank"]
    assert shown("sort=name") == ["Attic", "bank", "cellar"]
    assert shown("sort=-cost") == ["bank", "Attic", "cellar"]


def test_a_heading_says_how_it_sorts_and_keeps_the_filter(user: Any, ada: Client) -> None:
    make_run(user, name="bank")
    page = ada.get("/analysis/?status=analyzing&sort=name").content.decode()
    assert '<th scope="col" aria-sort="ascending"><a href="?status=analyzing&amp;sort=-name">' in page


def test_a_bulk_action_on_everything_is_refused(user: Any, ada: Client) -> None:
    make_run(user)
    assert ada.post(reverse("analysis:bulk", args=["delete"]), {"count": "1"}).status_code == 422


def test_pausing_and_cancelling(user: Any, ada: Client) -> None:
    run = make_run(user)
    ada.post(reverse("analysis:pause", args=[run.pk]))
    run.refresh_from_db()
    assert run.held_by == user
    ada.post(reverse("analysis:cancel", args=[run.pk]))
    run.refresh_from_db()
    assert run.status == "cancelled"


def test_what_the_state_does_not_allow_is_said(run: AnalysisRun, ada: Client) -> None:
    answer = ada.post(reverse("analysis:pause", args=[run.pk]), headers={"HX-Request": "true"})
    assert answer.status_code == 409
    assert "cannot be paused" in answer.content.decode()
    assert 'id="run"' in answer.content.decode()


def test_deleting_asks_first(run: AnalysisRun, ada: Client) -> None:
    address = reverse("analysis:delete", args=[run.pk])
    assert "Delete for good" in ada.get(address).content.decode()
    assert AnalysisRun.objects.filter(pk=run.pk).exists()
    ada.post(address)
    assert not AnalysisRun.objects.filter(pk=run.pk).exists()


def test_the_budget_can_be_changed(user: Any, ada: Client) -> None:
    run = make_run(user)
    address = reverse("analysis:budget", args=[run.pk])
    assert ada.post(address, {"budget": "none"}).status_code == 422
    ada.post(address, {"budget": "3.50"})
    run.refresh_from_db()
    assert str(run.budget) == "3.5000"


def test_the_state_grows_with_each_change_of_a_unit(user: Any, ada: Client) -> None:
    run = make_run(user)
    address = reverse("analysis:state", args=[run.pk])
    seen = [ada.get(address).json()["rows"][f"units-{run.pk}"][0]]
    unit = Unit.objects.create(run=run, kind="chunk", key="one", title="src/a.py")
    seen.append(ada.get(address).json()["rows"][f"units-{run.pk}"][0])
    transition(unit, Status.PENDING, Status.RUNNING)
    seen.append(ada.get(address).json()["rows"][f"units-{run.pk}"][0])
    assert seen == sorted(set(seen))


def test_the_exports_are_files(run: AnalysisRun, ada: Client) -> None:
    sarif = ada.get(reverse("analysis:export", args=[run.pk, "sarif"]))
    assert json.loads(b"".join(sarif.streaming_content))["version"] == "2.1.0"
    assert "attachment" in sarif["Content-Disposition"]
    whole = json.loads(b"".join(ada.get(reverse("analysis:export", args=[run.pk, "json"])).streaming_content))
    assert whole["coverage"]["files"] == run.coverage["files"]
    assert ada.get(reverse("analysis:export", args=[run.pk, "markdown"])).content.startswith(b"# Analysis of")
    assert ada.get(reverse("analysis:export", args=[run.pk, "pdf"])).status_code == 404


def test_a_document_links_its_citations(run: AnalysisRun, ada: Client) -> None:
    page = ada.get(reverse("analysis:document", args=[run.pk, "architecture"])).content.decode()
    assert f"/analysis/{run.pk}/source/?path=app.py&amp;start=1&amp;end=2#cited" in page


def test_a_document_is_stale_when_a_file_of_it_changed(run: AnalysisRun, ada: Client) -> None:
    address = reverse("analysis:document", args=[run.pk, "architecture"])
    assert "Out of date" not in ada.get(address).content.decode()
    DocumentPage.objects.update(blobs={"app.py": "another"})
    assert "Out of date: 1 of its files changed" in ada.get(address).content.decode()


def test_a_document_is_taken_along_as_markdown(run: AnalysisRun, ada: Client) -> None:
    answer = ada.get(reverse("analysis:document-download", args=[run.pk, "architecture"]))
    assert answer.content.decode().startswith("# Architecture overview\n\n## Parts")


def test_a_failed_unit_says_why_and_what_helps(user: Any, ada: Client) -> None:
    run = make_run(user)
    Unit.objects.create(run=run, kind="chunk", key="bad", title="src/a.py", status="failed", reason="overloaded",
                        started_at=run.started_at, finished_at=run.started_at)  # fmt: skip
    page = ada.get(f"{run.get_absolute_url()}?tab=units&show=failed").content.decode()
    assert "The provider is overloaded." in page
    assert "Wait some minutes, then retry." in page


def test_lines_that_are_not_kept_any_more_are_said_to_be_gone(run: AnalysisRun, ada: Client) -> None:
    page = ada.get(f"{reverse('analysis:source', args=[run.pk])}?path=app.py&start=1&end=2").content.decode()
    assert "The text of files is kept only while an analysis needs it." in page


def test_lines_that_are_kept_are_shown(waiting: AnalysisRun, ada: Client) -> None:
    page = ada.get(
        f"{reverse('analysis:source', args=[waiting.pk])}?path=app.py&start=1&end=2"
    ).content.decode()
    assert page.count('class="line hit"') == 2
