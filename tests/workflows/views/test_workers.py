"""The page of the workers: who lives, what each holds, the queue, the sweep."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from nyxcore.dbtime import ago, later
from nyxcore.models import SweepState, Worker
from tests.factories import make_user, make_workflow
from tests.workflows.engine_helpers import claim, silence

pytestmark = pytest.mark.django_db
PAGE = "/workers/"
NAME = "host:7:abc"


@pytest.fixture
def operator(staff):
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def worker():
    return Worker.objects.create(name=NAME, host="host", threads=4)


def seen(client, **query):
    return client.get(PAGE, query).context["overview"]


def test_strangers_get_404_and_nobody_the_login(ada):
    assert ada.get(PAGE).status_code == 404
    assert Client().get(PAGE).status_code == 302


def test_only_get(operator):
    assert operator.post(PAGE).status_code == 405


def test_staff_find_it_in_the_menu_and_others_do_not(operator, ada):
    assert b'href="/workers/"' in operator.get("/workflows/").content
    assert b'href="/workers/"' not in ada.get("/workflows/").content


def test_a_worker_and_what_it_holds(operator, worker, user):
    workflow = make_workflow(owner=user, start=True)
    attempt = claim(f"{NAME}/3")
    make_workflow(owner=user, start=True)
    overview = seen(operator)
    (one,) = overview.processes
    (held,) = one.holds
    assert (one.name, one.state, one.busy, one.threads) == (NAME, "lives", 1, 4)
    assert (held.run_pk, held.item, held.number, held.since) == (workflow.pk, "One", 1, attempt.started_at)
    assert (overview.busy, overview.threads) == (1, 4)
    page = operator.get(PAGE).content.decode()
    assert f'href="/workflows/{workflow.pk}/#step-{attempt.step_id}"' in page


def test_a_gone_worker_shows_what_it_still_holds(operator, worker):
    make_workflow(start=True)
    silence(claim(f"{NAME}/0"), 100)
    Worker.objects.update(seen_at=ago(100))
    (one,) = seen(operator).processes
    assert (one.state, [held.overdue for held in one.holds]) == ("gone", [True])
    assert "No worker since" in operator.get(PAGE).content.decode()


def test_rows_of_a_worker_that_nobody_knows_are_shown(operator):
    make_workflow(start=True)
    claim("elsewhere:1/0")
    (one,) = seen(operator).processes
    assert (one.name, one.state, one.busy) == ("elsewhere:1", "gone", 1)


def test_a_stopping_worker_says_so(operator, worker):
    Worker.objects.update(stopping=True)
    assert "Is stopping" in operator.get(PAGE).content.decode()


def test_the_queue_is_as_deep_as_what_is_pending_and_as_old_as_what_may_run(operator):
    waits, backs_off = make_workflow(start=True), make_workflow(start=True)
    attempt = waits.steps.get(key="one").attempts.get()
    backs_off.steps.get(key="one").attempts.update(queued_at=later(60))
    queue = next(one for one in seen(operator).queues if one.name == "workflow")
    assert (queue.depth, queue.oldest) == (2, attempt.queued_at)


def test_the_sweep_says_when_it_passed_and_whether_its_guard_holds(operator):
    assert seen(operator).late
    SweepState.objects.update_or_create(id=1, defaults={"last_pass": ago(1), "guard_until": later(30)})
    overview = seen(operator)
    assert not overview.late
    assert overview.guard_until is not None
    SweepState.objects.update(last_pass=ago(3600), guard_until=ago(1))
    overview = seen(operator)
    assert overview.late
    assert overview.guard_until is None


def test_the_fragment_comes_only_when_something_changed(operator, worker):
    version = seen(operator).version
    assert operator.get(PAGE, {"part": "workers", "v": version}).status_code == 204
    make_workflow(start=True)
    fresh = operator.get(PAGE, {"part": "workers", "v": version})
    assert fresh.status_code == 200
    assert b"<html" not in fresh.content
    assert b"1</b> queued" in fresh.content


def test_names_are_untrusted(operator, worker, user):
    make_workflow([{"key": "one", "title": "<b>x"}], owner=user, name="<i>y", start=True)
    claim(f"{NAME}/0")
    page = operator.get(PAGE).content
    assert b"<b>x" not in page
    assert b"<i>y" not in page


def test_the_number_of_queries_does_not_grow(operator, worker):
    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            operator.get(PAGE)
        return len(found)

    operator.get(PAGE)
    few = queries()
    for number in range(5):
        make_workflow(owner=make_user(f"p{number}"), start=True)
        claim(f"other:{number}/0")
    assert queries() == few
