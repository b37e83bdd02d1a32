import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import make_user, make_workflow
from tests.workflows.views.helpers import completed, url

pytestmark = pytest.mark.django_db


def names(response):
    return [run.name for run in response.context["page"].object_list]


def test_root_goes_to_the_list(ada):
    assert ada.get("/")["Location"] == "/workflows/"


def test_a_person_sees_only_their_own(ada, user, stranger):
    make_workflow(owner=user, name="Mine")
    make_workflow(owner=stranger, name="Theirs")
    assert names(ada.get(url("list"))) == ["Mine"]


def test_staff_see_all(client, staff, user, stranger):
    make_workflow(owner=user)
    make_workflow(owner=stranger)
    client.force_login(staff)
    assert len(names(client.get(url("list")))) == 2


def test_status_filters_and_its_count_stays(ada, user):
    make_workflow(owner=user, name="New")
    completed(owner=user, name="Old")
    response = ada.get(url("list"), {"status": "completed"})
    assert names(response) == ["Old"]
    assert {chip["label"]: chip["count"] for chip in response.context["chips"]} == {
        "All": 2,
        "Pending": 1,
        "Completed": 1,
    }


def test_text_filters_by_name_template_and_owner(ada, user):
    make_workflow(owner=user, name="Release plan", slug="improve")
    make_workflow(owner=user, name="Letter", slug="letters")
    assert names(ada.get(url("list"), {"q": "PLAN"})) == ["Release plan"]
    assert names(ada.get(url("list"), {"q": "letters"})) == ["Letter"]
    assert len(names(ada.get(url("list"), {"q": user.username}))) == 2


@pytest.mark.parametrize(
    "query", ["status=nonsense", "page=0", "page=99", "page=x", "q=%00", "q=" + "x" * 5000]
)
def test_odd_addresses_are_answered(ada, user, query):
    make_workflow(owner=user)
    assert ada.get(f"{url('list')}?{query}").status_code == 200


def test_pages_of_25_keep_the_filter(ada, user):
    for number in range(27):
        make_workflow([{"key": "one"}], owner=user, name=f"Run {number:02}")
    first = ada.get(url("list"), {"q": "Run"})
    assert len(names(first)) == 25
    assert b"?q=Run&amp;page=2" in first.content
    assert names(ada.get(url("list"), {"q": "Run", "page": 2})) == ["Run 01", "Run 00"]


def test_number_of_queries_does_not_grow(ada, user):
    def count():
        with CaptureQueriesContext(
            connection,
        ) as queries:
            ada.get(url("list"))
        return len(queries)

    completed(owner=user)
    one = count()
    for _ in range(8):
        completed(owner=make_user())
    assert count() == one <= 9


def test_nothing_yet_teaches_the_next_step(ada):
    page = ada.get(url("list")).content.decode()
    assert "Choose a template" in page
    assert '<table class="runs">' not in page


def test_no_match_offers_all(ada, user):
    make_workflow(owner=user)
    assert b"Show all" in ada.get(url("list"), {"q": "nothing like it"}).content


def test_htmx_gets_the_rows_alone(htmx, user):
    make_workflow(owner=user)
    assert htmx.get(url("list")).content.strip().startswith(b'<div id="rows"')


def test_history_restore_gets_the_whole_page(htmx, user):
    response = htmx.get(url("list"), headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert b"<html" in response.content


def test_list_asks_again_only_while_something_runs(ada, user):
    completed(owner=user)
    assert b"every 10s" not in ada.get(url("list")).content
    make_workflow(owner=user, start=True)
    assert b"every 10s" in ada.get(url("list")).content


def test_hostile_name_is_text(ada, user):
    make_workflow(owner=user, name='<script>alert(1)</script>" onmouseover=x')
    page = ada.get(url("list")).content
    assert b"<script>alert" not in page
    assert b"&lt;script&gt;alert(1)" in page
