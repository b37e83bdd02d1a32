"""`explain` tells in sentences why an analysis, a unit or an attempt is where it is; each is backed by a row."""

from __future__ import annotations

from html import unescape
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from analysis.explain import explain
from analysis.models import AnalysisRun, Unit, UnitAttempt
from nyxcore.dbtime import ago
from nyxcore.llm.base import LLMError
from nyxcore.models import SweepState
from nyxcore.sweep import Scope, run_pass
from tests.analysis.engine_helpers import WORKER, begin, module, run_all, silence, take, units, write
from tests.factories import make_user

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]


@pytest.fixture
def shop(root: Path) -> Path:
    return write(root / "shop", {"app.py": module("app", bug=True)})


def by_command(kind: str, pk: int) -> str:
    out = StringIO()
    call_command("explain", kind, str(pk), stdout=out)
    return out.getvalue()


def test_a_unit_and_an_attempt_tell_who_has_them_and_what_happened_before(shop, model):
    run = begin(shop)
    silence(take(), 1200)
    SweepState.objects.update(last_pass=ago(5), guard_until=None)
    run_pass(scope=Scope(run=run.pk))
    unit, attempt = units(run, "source")[0], UnitAttempt.objects.order_by("pk")[0]
    said = by_command("unit", unit.pk)
    assert f"Unit {unit.pk} “{unit}” (source) is failed: attempt 1 (first try) on {WORKER} ended at" in said
    assert "What would move it: Check that a worker runs, then resume. “Resume” of its analysis" in said
    assert "by sweep at" in said
    assert f"Analysis {run.pk} “{run.name}” of ada is failed since" in said
    below = by_command("unit-attempt", attempt.pk)
    assert "an ended attempt never changes" in below
    assert "Last act: running > failed, stuck by sweep at" in below


def test_a_run_tells_of_what_failed_and_what_is_at_work(shop, model):
    run = begin(shop)
    attempt = take()
    said = by_command("analysis", run.pk)
    assert f"“{attempt.unit}” (source) is running: attempt 1 (first try) runs on {WORKER} since" in said
    assert "It goes on by itself." in said


def test_gaps_are_told_with_what_helps(shop, model):
    model.replies["chunk"] = lambda request: LLMError("No.", reason="refused")
    run = begin(shop)
    run_all()
    said = by_command("analysis", run.pk)
    assert "The analysis is complete but for the gaps that it lists." in said
    assert "What would move it: Retry the gaps" in said
    assert "(chunk) is failed: attempt 1" in said


def test_queued_units_wait_for_a_worker(shop, model):
    assert "What would move it: a worker. No worker has ever been seen." in by_command(
        "analysis", begin(shop).pk
    )


def test_a_pending_unit_names_what_it_waits_for(shop, model):
    run = begin(shop)
    unit = Unit.objects.create(run=run, kind="report", key="made", title="Report")
    assert "it waits for what comes before it: source (1 open)." in by_command("unit", unit.pk)


@pytest.mark.parametrize("kind", ["analysis", "unit", "unit-attempt"])
def test_the_command_says_that_there_is_no_such_row(kind):
    with pytest.raises(CommandError, match=f"There is no {kind} 12345"):
        call_command("explain", kind, "12345")


def test_the_page_says_the_same_to_those_who_may_see_the_run(shop, model, client):
    run = begin(shop)
    client.force_login(run.owner)
    page = unescape(client.get(f"/analysis/{run.pk}/why/").content.decode())
    pieces = [line.split(" (")[0] for line in explain(AnalysisRun.objects.get(pk=run.pk))]
    assert all(piece in page for piece in pieces)
    assert f'href="/analysis/{run.pk}/why/"' in client.get(f"/analysis/{run.pk}/").content.decode()
    assert client.post(f"/analysis/{run.pk}/why/").status_code == 405
    client.force_login(make_user("eve"))
    assert client.get(f"/analysis/{run.pk}/why/").status_code == 404


@pytest.mark.parametrize("model_name", ["analysisrun", "unit", "unitattempt"])
def test_the_admin_page_of_a_row_begins_with_it(shop, model, client, model_name):
    run = begin(shop)
    take()
    pk = {"analysisrun": run.pk, "unit": units(run, "source")[0].pk}.get(
        model_name, UnitAttempt.objects.get().pk
    )
    client.force_login(make_user("root", is_staff=True, is_superuser=True))
    page = unescape(client.get(f"/admin/analysis/{model_name}/{pk}/change/").content.decode())
    assert page.index("field-explanation") < page.index("field-status_changed_at")
    assert f"Analysis {run.pk} “{run.name}” of ada is scanning since" in page
