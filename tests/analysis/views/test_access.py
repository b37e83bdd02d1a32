"""Nobody sees, changes or learns anything of an analysis that is not theirs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from analysis.models import AnalysisRun, Document, Finding, TrackedFinding, Unit, UnitAttempt
from analysis.pages import TABS
from analysis.urls import urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)
OF_A_RUN = sorted(pattern.name for pattern in urlpatterns if "<int:pk>" in str(pattern.pattern))
POSTS = {"start", "pause", "resume", "cancel", "retry", "confirm", "budget"}
POSTS |= {"finding-accept", "finding-dismiss", "finding-undo"}
BOTH = {"again", "delete"}
PARTS = [f"?part={part}" for part in ("run", "progress", "tab", "news")]


def address(run: AnalysisRun, name: str) -> str:
    args: list[Any] = [run.pk]
    if name.startswith("finding"):
        args.append(Finding.objects.filter(run=run).values_list("pk", flat=True)[0])
    elif name == "unit-text":
        attempt = UnitAttempt.objects.filter(unit__run=run, unit__kind="document")[0]
        return reverse("analysis:unit-text", args=[run.pk, attempt.unit_id]) + f"?attempt={attempt.pk}"
    elif name == "unit":
        args.append(Unit.objects.filter(run=run).values_list("pk", flat=True)[0])
    elif name.startswith("document"):
        args.append(Document.objects.get(run=run).slug)
    elif name == "export":
        args.append("sarif")
    query = "?path=app.py" if name == "source" else ""
    return reverse(f"analysis:{name}", args=args) + query


def test_a_stranger_gets_404_on_every_address(run: AnalysisRun, stranger: Any, client: Client) -> None:
    client.force_login(stranger)
    before = list(TrackedFinding.objects.values_list("triage", flat=True))
    for name in OF_A_RUN:
        there = address(run, name)
        answers = [client.get(there)] if name not in POSTS else []
        answers += [client.post(there, {"why": "later"})] if name in POSTS | BOTH else []
        assert {answer.status_code for answer in answers} == {404}, name
    for part in PARTS:
        assert client.get(run.get_absolute_url() + part).status_code == 404
    assert AnalysisRun.objects.filter(pk=run.pk, status="completed").exists()
    assert list(TrackedFinding.objects.values_list("triage", flat=True)) == before


def test_its_owner_and_staff_see_every_address(
    run: AnalysisRun, user: Any, staff: Any, client: Client
) -> None:
    for person in (user, staff):
        client.force_login(person)
        for name in set(OF_A_RUN) - POSTS:
            assert client.get(address(run, name)).status_code == 200, name


def test_the_wrong_method_is_refused(run: AnalysisRun, ada: Client) -> None:
    for name in OF_A_RUN:
        there = address(run, name)
        answer = ada.get(there) if name in POSTS else ada.delete(there)
        assert answer.status_code == 405, name


def test_who_is_not_signed_in_is_asked_to(run: AnalysisRun, client: Client) -> None:
    for name in set(OF_A_RUN) - POSTS:
        assert client.get(address(run, name)).status_code == 302, name


def test_findings_and_units_of_another_run_are_not_found_under_this_one(
    run: AnalysisRun, waiting: AnalysisRun, ada: Client
) -> None:
    finding, unit = Finding.objects.filter(run=run)[0], Unit.objects.filter(run=run)[0]
    assert ada.get(reverse("analysis:finding", args=[waiting.pk, finding.pk])).status_code == 404
    assert ada.get(reverse("analysis:unit", args=[waiting.pk, unit.pk])).status_code == 404


def test_the_tab_stands_in_the_address(run: AnalysisRun, ada: Client) -> None:
    for tab in TABS:
        page = ada.get(f"{run.get_absolute_url()}?tab={tab}")
        assert f'?tab={tab}" aria-current="page"' in page.content.decode()
