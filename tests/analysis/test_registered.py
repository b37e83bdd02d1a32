"""What the kernel is told of analyses: the page of what is running, bulk actions, the admin, live text."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from analysis import active, bulk, operating, services
from analysis.models import AnalysisRun, UnitAttempt
from nyxcore import bulk as kernel
from nyxcore import events
from nyxcore.bulk import Skipped
from tests.analysis.engine_helpers import Scripted, begin, done, module, run_all, take, write

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(root: Path) -> Path:
    return write(root / "shop", {"app.py": module("app", bug=True)})


def test_a_run_at_work_is_shown_with_what_it_is_at(shop: Path, model: Scripted, stranger: Any) -> None:
    run = begin(shop)
    attempt = take("host:1:abc/0")
    (shown,) = active.rows(run.owner, 10)
    (line,) = shown.doing
    assert (shown.status, shown.needs_somebody, shown.url) == ("scanning", False, f"/analysis/{run.pk}/")
    assert (line.title, line.word, line.worker) == (str(attempt.unit), "Running", "host:1")
    assert (active._active(run.owner).count(), active._active(stranger).count()) == (1, 0)


def test_a_run_that_waits_says_for_what(shop: Path, model: Scripted) -> None:
    run = done(shop, confirm=True)
    (shown,) = active.rows(run.owner, 10)
    assert (shown.needs_somebody, shown.said.startswith("Coverage and estimate")) == (True, True)


def test_bulk_cancel_takes_what_matches_still(shop: Path, model: Scripted, stranger: Any) -> None:
    run = begin(shop)
    verb = kernel.SOURCES["analysis"].verbs["cancel"]
    for person, query in ((stranger, ""), (run.owner, "status=completed")):
        with pytest.raises(Skipped, match="does not match"), transaction.atomic():
            verb.act(run.pk, person, query)
    with transaction.atomic():
        verb.act(run.pk, run.owner, "status=scanning")
    assert AnalysisRun.objects.get().status == "cancelled"
    assert bulk.SOURCE.list_url("q=x") == "/analysis/?q=x"


def test_admin_lists_and_shows_every_kind_of_row(shop: Path, model: Scripted, staff: Any) -> None:
    run = done(shop, documents=("architecture",))
    services.store_upload(owner=run.owner, name="x.zip", data=b"x")
    client = Client()
    client.force_login(staff)
    names = "analysisrun unit unitattempt finding trackedfinding sourcefile document upload"
    for name in names.split():
        listed = client.get(reverse(f"admin:analysis_{name}_changelist"))
        pk = listed.context["cl"].result_list[0].pk
        assert client.get(reverse(f"admin:analysis_{name}_change", args=[pk])).status_code == 200, name


def test_an_operator_fails_a_run_and_its_owner_resumes_it(shop: Path, model: Scripted, staff: Any) -> None:
    run = begin(shop)
    take()
    operating.mark_failed(run, by=staff)
    run.refresh_from_db()
    assert (run.status, UnitAttempt.objects.get().status) == ("failed", "failed")
    services.resume_analysis(run, by=run.owner)
    run_all()
    assert AnalysisRun.objects.get().status == "completed"


def test_an_operator_takes_a_unit_from_its_worker(shop: Path, model: Scripted, staff: Any) -> None:
    run = begin(shop)
    held = take("slow:1")
    assert operating.release_analysis(run, by=staff) == 1
    run_all()
    assert [a.status for a in held.unit.attempts.order_by("number")] == ["cancelled", "completed"]
    assert AnalysisRun.objects.get().status == "completed"


def test_text_of_documents_is_shown_while_it_is_written_and_no_other(shop: Path, model: Scripted) -> None:
    events.queue.clear()
    run = done(shop, documents=("architecture",))
    texts = []
    while not events.queue.empty():
        item = events.queue.get(timeout=0)
        if isinstance(item, events.Item) and item.event == "text":
            texts.append((item.channel, item.data["text"]))
    assert texts[-1] == (run.channel, "It begins in `app.py:1-2`.")
    assert len(texts) == 2  # the plan of the document, and its page


def test_a_budget_without_a_known_price_is_refused(
    shop: Path, user: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nyxcore.llm.models.worst_case", lambda *args: None)
    with pytest.raises(services.Refused, match="so a budget cannot be kept"):
        begin(shop, owner=user, budget=Decimal(1))
