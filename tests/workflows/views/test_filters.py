"""What the list can be narrowed to, its order and its pages: all in the address."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_user, make_workflow
from tests.workflows.views.helpers import completed, failed, url
from workflows.models import StepAttempt, Workflow

pytestmark = pytest.mark.django_db


def names(client, **query):
    return [run.name for run in client.get(url("list"), query).context["page"].object_list]


def links(response):
    return [unescape(link) for link in re.findall(r'href="(\?[^"]*)"', response.content.decode())]


def run(name, user, *, at=None, cost=None, seconds=60):
    workflow = completed(owner=user, name=name)
    if at:
        started = datetime.fromisoformat(at).replace(tzinfo=UTC)
        from datetime import timedelta

        Workflow.objects.filter(pk=workflow.pk).update(
            started_at=started, finished_at=started + timedelta(seconds=seconds)
        )
    if cost is not None:
        StepAttempt.objects.filter(step__workflow=workflow).update(cost=Decimal(cost))
    return workflow


def test_several_statuses(ada, user):
    make_workflow(owner=user, name="New")
    completed(owner=user, name="Old")
    failed(owner=user, name="Bad")
    assert names(ada, status=["failed", "pending"]) == ["Bad", "New"]


def test_a_chip_adds_its_status_and_takes_it_away(ada, user):
    make_workflow(owner=user)
    failed(owner=user)
    both = ada.get(url("list"), {"status": ["failed"]})
    assert "?status=failed&status=pending" in links(both)
    assert "?status=failed" in links(ada.get(url("list"), {"status": ["failed", "pending"]}))


def test_number_finds_the_run(ada, user):
    first = make_workflow(owner=user, name="Mine")
    make_workflow(owner=user, name="Other")
    assert names(ada, q=str(first.pk)) == ["Mine"]
    assert names(ada, q=f"#{first.pk}") == ["Mine"]
    assert names(ada, q="9" * 19) == []


def test_template_and_owner(ada, client, staff, user, stranger):
    make_workflow(owner=user, name="Mine", slug="improve")
    make_workflow(owner=stranger, name="Theirs", slug="letters")
    assert names(ada, template="improve") == ["Mine"]
    assert names(ada, owner="eve") == ["Mine"]  # no criterion for who is not staff, and no way to theirs
    client.force_login(staff)
    assert names(client, owner="eve") == ["Theirs"]


def test_days_are_whole_and_include_the_last(ada, user):
    run("One", user, at="2026-03-01T00:00")
    run("Two", user, at="2026-03-02T23:59")
    run("Three", user, at="2026-03-03T00:00")
    make_workflow(owner=user, name="Never")
    assert names(ada, since="2026-03-02") == ["Three", "Two"]
    assert names(ada, until="2026-03-02") == ["Two", "One"]
    assert names(ada, since="2026-03-02", until="2026-03-02") == ["Two"]


def test_cost_over(ada, user):
    run("Cheap", user, cost="0.10")
    run("Dear", user, cost="2")
    make_workflow(owner=user, name="Free")
    assert names(ada, over="0.10") == ["Dear"]
    assert names(ada, over="$0.05") == ["Dear", "Cheap"]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"since": "yesterday"}, "is no day"),
        ({"until": "99999-01-01"}, "is no day"),
        ({"over": "cheap"}, "is no amount"),
        ({"over": "NaN"}, "is no amount"),
        ({"over": "-1"}, "is no amount"),
        ({"status": "odd"}, "There is no status"),
    ],
)
def test_what_cannot_be_read_is_named_and_shows_nothing(ada, user, query, sentence):
    make_workflow(owner=user)
    response = ada.get(url("list"), query)
    assert sentence in response.content.decode()
    assert response.context["page"].object_list == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["b", "C", "a"]),
        ("oldest", ["a", "C", "b"]),
        ("name", ["a", "b", "C"]),
        ("-name", ["C", "b", "a"]),
        ("started", ["b", "a", "C"]),
        ("-started", ["C", "a", "b"]),
        ("took", ["C", "a", "b"]),
        ("-took", ["b", "a", "C"]),
        ("cost", ["b", "C", "a"]),
        ("-cost", ["a", "C", "b"]),
        ("nonsense", ["b", "C", "a"]),
    ],
)
def test_order(ada, user, sort, expected):
    run("a", user, at="2026-03-02", seconds=20, cost="3")
    run("C", user, at="2026-03-03", seconds=10, cost="2")
    run("b", user, at="2026-03-01", seconds=30, cost="1")
    assert names(ada, sort=sort) == expected


def test_everything_survives_paging_and_reload(ada, user):
    for number in range(60):
        make_workflow([{"key": "one"}], owner=user, name=f"Run {number:02}")
    query = {"q": "run", "status": "pending", "sort": "name", "size": "50", "since": ""}
    first = ada.get(url("list"), query)
    assert "?status=pending&q=run&sort=name&size=50&page=2" in links(first)
    second = ada.get(url("list"), query | {"page": "2"})
    assert second.context["page"].object_list[0].name == "Run 50"
    assert "?status=pending&q=run&sort=name&size=50" in links(second)


def test_criteria_can_be_taken_away_one_by_one(ada, user):
    run("Plan", user, at="2026-03-02", cost="2")
    response = ada.get(url("list"), {"q": "plan", "since": "2026-03-01", "over": "1", "sort": "name"})
    page = response.content.decode()
    assert "started from 1 Mar 2026 on" in page
    assert "cost over $1.00" in page
    assert "?q=plan&since=2026-03-01&sort=name" in links(response)
    assert f'href="{url("list")}">Clear all' in page


def test_acts_are_offered_only_for_a_narrowed_list(ada, user):
    make_workflow(owner=user, name="Run")
    assert ada.get(url("list")).context["acts"] == []
    acts = ada.get(url("list"), {"q": "run", "page": "1", "sort": "name"}).context["acts"]
    assert [act["url"] for act in acts] == [
        f"{url('bulk', verb)}?q=run" for verb in ("cancel", "retry", "delete")
    ]


def test_search_leaves_a_clean_address(htmx, user):
    make_workflow(owner=user, name="Run")
    query = {"q": "run", "template": "", "over": "", "sort": "", "size": "25"}
    response = htmx.get(url("list"), query, headers={"HX-Request": "true", "HX-Trigger": "filter"})
    assert response["HX-Push-Url"] == "?q=run"
    again = htmx.get(url("list"), query, headers={"HX-Request": "true", "HX-Trigger": "rows"})
    assert "HX-Push-Url" not in again


@pytest.mark.parametrize(
    "query", ["", "status=pending&q=run", "sort=-cost", "over=0.5&since=2026-01-01", "size=100"]
)
def test_number_of_queries_does_not_grow(client, staff, query):
    client.force_login(staff)

    def count():
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{url('list')}?{query}").status_code == 200
        return len(queries)

    run("Run 0", make_user(), cost="1")
    make_workflow(name="Run 0")
    one = count()
    for number in range(8):
        run(f"Run {number}", make_user(f"user{number}"), cost="1")
        make_workflow([{"key": "one"}], owner=make_user(f"user{number}"), name="Run")
    assert count() == one <= 10
