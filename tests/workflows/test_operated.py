"""Acts of an operator on all matches, with progress; and their undo, while nobody has done anything since."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from nyxcore import admin_acts, bulk, undo
from nyxcore.models import AuditEntry, BulkAction
from tests.factories import make_user, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, run_all, silence, statuses
from workflows import operated, operating, services
from workflows.models import Step, StepAttempt, Workflow

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/workflows/workflow/"
AUDIT = "/admin/nyxcore/auditentry/"


@pytest.fixture
def op():
    return make_user("op", is_staff=True, is_superuser=True)


@pytest.fixture
def operator(op):
    client = Client()
    client.force_login(op)
    return client


@pytest.fixture
def few(monkeypatch):
    """More than three rows are many."""
    monkeypatch.setattr(admin_acts, "AT_ONCE", 3)


def runs(count: int = 5) -> list[Workflow]:
    return [make_workflow([{"key": "one"}], start=True) for _ in range(count)]


def across(client: Client, action: str, row: Workflow, url: str = LIST, **more: str):
    """What the list sends for "Select all"."""
    return client.post(
        url, {"action": action, "_selected_action": [row.pk], "select_across": "1", "index": "0", **more}
    )


def confirm(client: Client, page, url: str = LIST):
    """What the page that asks sends, exactly."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.content.decode())
    data = {name: value for name, value in fields if name != "csrfmiddlewaretoken"}
    return client.post(url, data)


def status_of(rows: list[Workflow]) -> set[str]:
    return set(Workflow.objects.filter(pk__in=[row.pk for row in rows]).values_list("status", flat=True))


def last_act(row: Workflow) -> AuditEntry:
    return AuditEntry.objects.filter(model="workflow", row=row.pk).exclude(action="").latest("pk")


# --- all matches ---


def test_all_matches_are_asked_for_with_their_number_and_done_by_a_worker(operator, few, op):
    rows = runs()
    page = across(operator, "mark_failed", rows[0])
    assert b"5 workflows" in page.content
    assert b"A worker does this" in page.content
    assert status_of(rows) == {"running"}
    answer = confirm(operator, page)
    action = BulkAction.objects.get()
    assert answer.url == reverse("bulk", args=[action.pk])
    assert (action.total, action.owner, action.verb) == (5, op, "mark_failed")
    bulk.work("w")
    assert status_of(rows) == {"failed"}
    acts = AuditEntry.objects.filter(action="mark failed")
    assert {(act.actor, act.name, act.bulk_id) for act in acts} == {("operator", "op", action.pk)}
    assert b"All 5 workflows gone through" in operator.get(answer.url).content


def test_only_what_the_filter_lets_through_is_taken(operator, few):
    rows, ended = runs(), make_workflow(start=True)
    services.cancel_workflow(ended, by=ended.owner)
    url = f"{LIST}?status=running"
    confirm(operator, across(operator, "mark_failed", rows[0], url), url)
    assert sorted(BulkAction.objects.get().rows) == [row.pk for row in rows]


def test_many_are_asked_first_even_where_few_are_not(operator, few):
    rows = runs()
    assert b"Pause: 5 workflows" in across(operator, "pause", rows[0]).content
    across(operator, "pause", rows[0], f"{LIST}?id={rows[0].pk}")
    assert not BulkAction.objects.exists()
    assert statuses(rows[0])[""] == "paused"


def test_a_number_that_has_changed_is_asked_for_again(operator, few):
    rows = runs()
    page = across(operator, "cancel", rows[0])
    runs(1)
    again = confirm(operator, page)
    assert b"The number of rows has changed" in again.content
    assert not BulkAction.objects.exists()
    confirm(operator, again)
    assert BulkAction.objects.get().total == 6


def test_rows_that_the_services_refuse_are_left_and_told(operator, few):
    rows = runs()
    services.cancel_workflow(rows[2], by=rows[2].owner)
    confirm(operator, across(operator, "pause", rows[0]))
    bulk.work("w")
    action = BulkAction.objects.get()
    assert (action.done, action.skipped) == (4, 1)
    assert action.remarks[0][0] == rows[2].pk


def test_who_may_no_longer_does_no_longer(operator, few, op):
    rows = runs()
    confirm(operator, across(operator, "cancel", rows[0]))
    type(op).objects.filter(pk=op.pk).update(is_superuser=False)
    bulk.work("w")
    assert status_of(rows) == {"running"}
    assert BulkAction.objects.get().skipped == 5


def test_steps_and_attempts_are_released_from_their_lists(operator):
    workflow = make_workflow(start=True)
    for model in (Step, StepAttempt):
        attempt = claim()
        row = attempt.step if model is Step else attempt
        url = reverse(f"admin:workflows_{model._meta.model_name}_changelist")
        operator.post(url, {"action": "release", "_selected_action": [row.pk], "confirmed": "1"})
    assert [a.reason for a in StepAttempt.objects.order_by("pk")] == ["lost", "lost", ""]
    assert statuses(workflow)["one"] == "running"


def test_an_attempt_that_has_ended_is_not_released_in_the_place_of_its_next(operator):
    make_workflow(start=True)
    attempt = claim()
    silence(attempt, 1)
    operating.release_step(attempt.step, by=attempt.step.workflow.owner)
    claim()
    with pytest.raises(bulk.Skipped, match="No worker holds this attempt"):
        operated.ATTEMPTS.verbs["release"].act(attempt.pk, make_user("op"), "")


# --- undo ---


def undo_page(entry: AuditEntry) -> str:
    return reverse("admin:nyxcore_auditentry_undo", args=[entry.pk])


@pytest.mark.parametrize(
    ("verb", "state", "after"),
    [("pause", "paused", "resume"), ("mark_failed", "failed", "resume"), ("cancel", "cancelled", "resume")],
)
def test_an_act_is_undone_by_its_opposite_through_the_services(operator, verb, state, after):
    (run,) = runs(1)
    answer = operator.post(
        LIST, {"action": verb, "_selected_action": [run.pk], "confirmed": "1"}, follow=True
    )
    assert statuses(run)[""] == state
    url = undo_page(last_act(run))
    assert f'<a href="{url}">Undo</a>' in answer.content.decode()
    assert b'value="Resume"' in operator.get(url).content
    assert statuses(run)[""] == state
    operator.post(url)
    assert statuses(run)[""] == "running"
    undone = last_act(run)
    assert (undone.action, undone.actor, undone.name) == (after, "operator", "op")
    run_all()
    assert statuses(run)[""] == "completed"


def test_a_resume_is_undone_by_a_pause(operator, op):
    (run,) = runs(1)
    fail(claim())
    services.resume_workflow(run, by=op)
    operator.post(undo_page(last_act(run)))
    assert statuses(run)[""] == "paused"


@pytest.mark.parametrize("act", ["start", "release", "retry"])
def test_what_cannot_be_undone_says_why(operator, op, act):
    (run,) = runs(1)
    if act == "retry":
        fail(claim())
        services.retry_step(step_of(run, "one"), by=op)
    if act == "release":
        claim()
        operating.release_workflow(run, by=op)
    entry = last_act(run)
    page = operator.get(undo_page(entry))
    assert entry.action == act
    assert b"cannot be undone" in page.content
    assert b'type="submit" value="Resume"' not in page.content
    count = AuditEntry.objects.count()
    assert operator.post(undo_page(entry)).status_code == 409
    assert AuditEntry.objects.count() == count


def test_every_act_of_the_services_has_a_way_back_or_a_sentence():
    for action in [
        "start",
        "pause",
        "resume",
        "cancel",
        "delete",
        "settings",
        "retry",
        "rerun",
        "release",
        "mark failed",
    ]:
        way = operated.WAYS[action]
        assert (way if isinstance(way, str) else way.told).endswith(".")


def test_an_act_is_not_undone_over_what_somebody_did_since(operator, op):
    (run,) = runs(1)
    services.pause_workflow(run, by=op)
    entry = last_act(run)
    services.resume_workflow(run, by=run.owner)
    services.pause_workflow(run, by=run.owner)
    page = operator.get(undo_page(entry)).content.decode()
    assert "Something was done to the row since (pause, by ada)" in page
    assert operator.post(undo_page(entry)).status_code == 409
    assert statuses(run)[""] == "paused"


def test_a_change_that_followed_is_no_act(operator, op):
    (run,) = runs(1)
    services.pause_workflow(run, by=op)
    change = AuditEntry.objects.filter(model="workflow", row=run.pk, action="").latest("pk")
    assert undo.NO_ACT in operator.get(undo_page(change)).content.decode()


def test_a_cancelled_run_that_never_started_is_not_started_by_an_undo(operator, op):
    run = make_workflow()
    services.cancel_workflow(run, by=op)
    answer = operator.post(undo_page(last_act(run)))
    assert b"a resume would start it" in answer.content
    assert statuses(run)[""] == "cancelled"


def test_a_pause_is_not_undone_by_a_retry_of_what_failed_since(operator, op):
    (run,) = runs(1)
    attempt = claim()
    services.pause_workflow(run, by=op)
    fail(attempt)
    answer = operator.post(undo_page(last_act(run)))
    assert b"The run has gone on since; it is failed now." in answer.content
    assert statuses(run)[""] == "failed"


def test_who_may_not_change_the_log_does_not_undo(op):
    (run,) = runs(1)
    services.pause_workflow(run, by=op)
    viewer = make_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_auditentry"))
    client = Client()
    client.force_login(viewer)
    assert client.post(undo_page(last_act(run))).status_code == 403
    client.force_login(make_user("eve"))
    assert client.post(undo_page(last_act(run))).status_code == 302
    assert statuses(run)[""] == "paused"


def test_all_of_a_bulk_is_undone_but_for_what_was_done_since(operator, few, op):
    rows = runs()
    services.cancel_workflow(rows[4], by=op)  # before: not this bulk's doing
    confirm(operator, across(operator, "mark_failed", rows[0]))
    bulk.work("w")
    first = BulkAction.objects.get()
    services.resume_workflow(rows[1], by=rows[1].owner)
    services.cancel_workflow(rows[1], by=rows[1].owner)
    assert b'id="undo"' in operator.get(reverse("bulk", args=[first.pk])).content
    answer = operator.post(reverse("bulk-undo", args=[first.pk]))
    bulk.work("w")
    second = BulkAction.objects.latest("pk")
    assert answer.url == reverse("bulk", args=[second.pk])
    assert (second.done, second.skipped, second.failed) == (3, 1, 0)
    assert [statuses(row)[""] for row in rows] == ["running", "cancelled", "running", "running", "cancelled"]
    assert b'id="undo"' not in operator.get(answer.url).content
    assert operator.get(f"{AUDIT}?bulk__id__exact={first.pk}").status_code == 200


def test_a_person_undoes_what_they_did_to_their_own_runs(client, user):
    from workflows.bulk import SOURCE

    rows = [make_workflow([{"key": "one"}], owner=user, start=True) for _ in range(2)]
    action = bulk.begin(
        by=user, source=SOURCE, verb=SOURCE.verbs["cancel"], query="", said="all", rows=[r.pk for r in rows]
    )
    bulk.work("w")
    client.force_login(user)
    client.post(reverse("bulk-undo", args=[action.pk]))
    bulk.work("w")
    assert status_of(rows) == {"running"}
    page = client.get(reverse("bulk", args=[BulkAction.objects.latest("pk").pk]))
    assert page.status_code == 200
    assert b"/admin/" not in page.content.split(b'id="progress"')[1]


def test_a_bulk_delete_says_that_it_cannot_be_undone(client, user):
    from workflows.bulk import SOURCE

    run = make_workflow([{"key": "one"}], owner=user, start=True)
    finish(claim())
    action = bulk.begin(
        by=user, source=SOURCE, verb=SOURCE.verbs["delete"], query="", said="all", rows=[run.pk]
    )
    bulk.work("w")
    client.force_login(user)
    assert b"gone from the database" in client.get(reverse("bulk", args=[action.pk])).content
    assert client.post(reverse("bulk-undo", args=[action.pk])).status_code == 409


def test_several_acts_of_one_message_lead_to_their_entries(operator):
    rows = runs(2)
    answer = operator.post(
        LIST, {"action": "pause", "_selected_action": [row.pk for row in rows]}, follow=True
    )
    link = re.search(r'href="([^"]*id__in=[^"]*)"', answer.content.decode())[1]
    assert len(operator.get(link).context["cl"].result_list) == 2
