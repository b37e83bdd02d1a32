"""The findings of a run: what is shown, what is hidden, and judging them."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from analysis.models import AnalysisRun, Finding, TrackedFinding, Verdict
from nyxcore.models import AuditEntry
from tests.analysis.rows_made import make_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def made(user: Any) -> AnalysisRun:
    return make_run(user, files=20, findings=40)


def shown(client: Client, run: AnalysisRun, query: str = "") -> str:
    return client.get(f"{run.get_absolute_url()}?tab=findings{query}").content.decode()


def rows(page: str) -> int:
    return page.count('<article class="finding"')


def act(client: Client, run: AnalysisRun, finding: Finding, verb: str, **said: Any) -> Any:
    htmx = {"HX-Request": "true"} if said.pop("htmx", False) else {}
    return client.post(reverse(f"analysis:finding-{verb}", args=[run.pk, finding.pk]), said, headers=htmx)


def test_refuted_ones_are_hidden_and_counted(made: AnalysisRun, ada: Client) -> None:
    page = shown(ada, made)
    assert rows(page) == 30
    assert "10 refuted" in page
    assert rows(shown(ada, made, "&all=1")) == 40


def test_dismissed_ones_are_hidden_and_counted(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made, verdict__verdict="confirmed")[0]
    act(ada, made, finding, "dismiss", why="wont_fix", note="Legacy.")
    page = shown(ada, made)
    assert rows(page) == 29
    assert "1 dismissed" in page
    assert "dismissed: will not be fixed" in shown(ada, made, "&triage=dismissed")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("&severity=critical&all=1", 8),
        ("&severity=critical&severity=low&all=1", 16),
        ("&verdict=refuted", 10),
        ("&state=moved", 10),
        ("&path=src/module_1.py&all=1", 3),
        ("&q=twice (7)&all=1", 1),
        ("&analyzer=security&rule=none", 0),
    ],
)
def test_the_filter_stands_in_the_address(made: AnalysisRun, ada: Client, query: str, count: int) -> None:
    assert rows(shown(ada, made, query)) == count


def test_by_rule_each_rule_has_its_group(made: AnalysisRun, ada: Client) -> None:
    rules = set(Finding.objects.filter(run=made).values_list("rule_id", flat=True))
    page = shown(ada, made, "&group=rule&all=1")
    assert page.count('<section class="finding-group"') == len(rules)


def test_what_is_dismissed_keeps_who_and_why(made: AnalysisRun, ada: Client, user: Any) -> None:
    finding = Finding.objects.filter(run=made)[0]
    act(ada, made, finding, "dismiss", why="false_positive", note="Guarded above.")
    tracked = TrackedFinding.objects.get(findings=finding)
    assert (tracked.triage, tracked.dismissal, tracked.note, tracked.decided_by) == (
        "dismissed", "false_positive", "Guarded above.", user,
    )  # fmt: skip
    page = ada.get(reverse("analysis:finding", args=[made.pk, finding.pk])).content.decode()
    assert "Dismissed as false positive by ada" in page
    assert "Guarded above." in page


def test_dismissing_needs_a_reason(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    answer = act(ada, made, finding, "dismiss", note="So.")
    assert answer.status_code == 422
    assert "Say why." in answer.content.decode()
    assert 'value="So."' in answer.content.decode()
    assert not TrackedFinding.objects.exclude(triage="").exists()


def test_accepting_twice_says_it_once(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    act(ada, made, finding, "accept")
    first = TrackedFinding.objects.get(findings=finding).decided_at
    act(ada, made, finding, "accept")
    assert TrackedFinding.objects.get(findings=finding).decided_at == first


def test_taking_back_leaves_it_open(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    act(ada, made, finding, "accept")
    act(ada, made, finding, "undo")
    assert TrackedFinding.objects.get(findings=finding).triage == ""
    assert AuditEntry.objects.filter(action="reopen").exists()


def test_a_script_gets_the_line_as_it_is_now(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    answer = act(ada, made, finding, "accept", htmx=True).content.decode()
    assert answer.startswith(f'<article class="finding" id="finding-{finding.pk}"')
    assert 'data-triage="accepted"' in answer


def test_what_is_not_compared_yet_cannot_be_judged(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    Finding.objects.filter(pk=finding.pk).update(tracked=None)
    assert act(ada, made, finding, "accept").status_code == 409


def test_the_way_back_never_leaves_the_site(made: AnalysisRun, ada: Client) -> None:
    finding = Finding.objects.filter(run=made)[0]
    answer = act(ada, made, finding, "accept", next="https://example.org/")
    assert answer["Location"] == reverse("analysis:finding", args=[made.pk, finding.pk])


def test_foreign_text_is_shown_and_not_obeyed(made: AnalysisRun, ada: Client) -> None:
    hostile = Finding.objects.filter(run=made)[0]
    hostile.pk = None
    hostile.title, hostile.path, hostile.context = (
        "<script>x()</script>",
        "a<b>.py",
        "</code><script>y()</script>",
    )
    hostile.save()
    body = ada.get(reverse("analysis:finding", args=[made.pk, hostile.pk])).content.decode()
    for page in (shown(ada, made), body):
        assert "<script>x()" not in page
        assert "<script>y()" not in page
        assert "&lt;script&gt;x()" in page


def test_nothing_found_is_said_with_the_coverage(user: Any, ada: Client) -> None:
    page = shown(ada, make_run(user, files=20))
    assert "18 of 20 files are read" in page
    assert "Show the coverage" in page


def test_queries_do_not_grow_with_the_findings(user: Any, ada: Client) -> None:
    counts = []
    for number in (10, 150):
        run = make_run(user, findings=number, name=f"shop{number}")
        shown(ada, run)
        with CaptureQueriesContext(connection) as seen:
            shown(ada, run)
        counts.append(len(seen))
    assert counts[0] == counts[1]


def news(client: Client, run: AnalysisRun, query: str = "") -> Callable[[], str]:
    """What a page that is loaded now will be told later."""
    address = re.search(r'id="news"[^>]* data-src="([^"]*)"', shown(client, run, query))
    assert address
    return lambda: client.get(unescape(address[1])).content.decode()


def came(finding: Finding, **fields: Any) -> None:
    """One more finding beside this one, as another unit finds it."""
    finding.pk, finding.tracked = None, None
    for name, value in fields.items():
        setattr(finding, name, value)
    finding.save()


def test_a_page_is_told_how_many_findings_have_come_under_its_filter(made: AnalysisRun, ada: Client) -> None:
    every, critical = news(ada, made), news(ada, made, "&severity=critical")
    assert "Show" not in every()
    came(Finding.objects.filter(run=made)[0], severity="low")
    assert "1 new finding<" in every()
    assert "Show" not in critical()


def test_a_page_is_told_when_something_else_is_said_of_its_findings(made: AnalysisRun, ada: Client) -> None:
    later = news(ada, made)
    Verdict.objects.filter(finding__run=made, verdict="unsure").update(verdict="refuted")
    assert "What is said of these findings has changed" in later()


def test_what_the_reader_says_is_no_news(made: AnalysisRun, ada: Client) -> None:
    later = news(ada, made)
    act(ada, made, Finding.objects.filter(run=made, verdict__verdict="confirmed")[0], "accept")
    assert "Show" not in later()
