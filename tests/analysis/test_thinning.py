"""`manage.py thin_attempts` on analyses: answers whose reading is stored go, all that pages and resumes read stays."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from analysis import services
from analysis.models import AnalysisRun, Finding, Unit, UnitAttempt
from nyxcore.dbtime import ago
from tests.analysis.engine_helpers import Scripted, done, run_all, write
from tests.analysis.test_stories import SHOP

pytestmark = pytest.mark.django_db(transaction=True)
DAY = 86_400


def thin(*args: str) -> str:
    out = StringIO()
    call_command("thin_attempts", "--older-than", "30", *args, stdout=out)
    return out.getvalue()


def aged(run: AnalysisRun, days: float = 31) -> AnalysisRun:
    AnalysisRun.objects.filter(pk=run.pk).update(started_at=ago(days * DAY + 60), finished_at=ago(days * DAY))
    return run


@pytest.fixture
def old(root: Path, model: Scripted) -> AnalysisRun:
    return aged(done(write(root / "shop", SHOP)))


def paid() -> list[UnitAttempt]:
    return list(UnitAttempt.objects.exclude(stop_reason="").order_by("pk"))


def test_answers_go_and_their_lengths_and_every_fact_stay(old: AnalysisRun) -> None:
    before = {row["id"]: row for row in UnitAttempt.objects.values()}
    lengths = [len(attempt.output) for attempt in paid()]
    assert min(lengths) > 0
    assert thin().startswith(f"{len(lengths)} attempts thinned, ")
    assert [(a.output, a.request["thinned"]["output"]) for a in paid()] == [
        ("", length) for length in lengths
    ]
    for row in UnitAttempt.objects.values():
        assert {**row, "request": 0, "output": 0} == {**before[row["id"]], "request": 0, "output": 0}


def test_what_was_found_and_what_a_second_run_takes_over_stay(
    old: AnalysisRun, model: Scripted, root: Path
) -> None:
    results = dict(Unit.objects.values_list("pk", "result"))
    findings = Finding.objects.count()
    thin()
    assert dict(Unit.objects.values_list("pk", "result")) == results
    model.calls.clear()
    second = done(root / "shop")
    assert (second.status, model.kinds()) == ("completed", [])
    assert Finding.objects.count() == 2 * findings


def test_an_answer_that_nobody_could_read_stays(root: Path, model: Scripted) -> None:
    model.replies["chunk"] = lambda request: "I found nothing."
    run = aged(done(write(root / "shop", SHOP)))
    thin()
    assert set(UnitAttempt.objects.filter(kind="chunk").values_list("output", flat=True)) == {
        "I found nothing."
    }
    model.replies.clear()
    services.retry_gaps(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.gaps) == ("completed", [])


@pytest.mark.parametrize("days", [29, None])
def test_younger_and_open_runs_stay_whole(root: Path, model: Scripted, days: int | None) -> None:
    run = done(write(root / "shop", SHOP), confirm=days is None)
    if days:
        aged(run, days)
    before: list[Any] = list(UnitAttempt.objects.order_by("pk").values())
    assert thin().startswith("0 attempts thinned")
    assert list(UnitAttempt.objects.order_by("pk").values()) == before


def test_a_dry_run_tells_and_changes_nothing_and_a_second_run_finds_nothing(old: AnalysisRun) -> None:
    count = len(paid())
    assert thin("--dry-run").startswith(f"{count} attempts would be thinned")
    assert thin().startswith(f"{count} attempts thinned")
    assert thin().startswith("0 attempts thinned")
