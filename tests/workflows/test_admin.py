"""The Django admin: every page opens for staff in a fixed number of queries, nothing is saved, actions are audited."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from nyxcore.admin import ReadOnlyAdmin
from nyxcore.dbtime import ago, later
from nyxcore.models import AuditEntry, BulkAction, LanguageModel, SweepState, Worker
from nyxcore.states import Status
from tests.factories import attempts_of, make_user, make_workflow, step_of
from tests.workflows.engine_helpers import WORKER, claim, fail, finish, run_all, silence, statuses
from workflows import operating, services
from workflows.models import Step, StepAttempt, Workflow, WorkflowTemplate
from workflows.services import Refused

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

OURS = sorted((m for m in admin.site._registry if m._meta.app_label in ("nyxcore", "workflows")), key=str)
STATEFUL = [Workflow, Step, StepAttempt]
CONFIRMED = ["mark_failed", "release", "cancel"]


@pytest.fixture
def operator(db):
    client = Client()
    client.force_login(make_user("op", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def person_of_staff(db):
    """Staff who may look at workflows but not change them."""
    viewer = make_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_workflow"))
    client = Client()
    client.force_login(viewer)
    return client


def rows_of_each_model() -> None:
    owner = make_user()
    run = make_workflow(start=True, owner=owner)
    claim()
    cut = make_workflow(start=True, owner=owner)
    finish(claim(), "Half", stop_reason="max_tokens")
    services.pause_workflow(run, by=owner)
    make_workflow(owner=owner)
    Worker.objects.get_or_create(name=WORKER, defaults={"host": "here", "threads": 4})
    SweepState.objects.get_or_create(id=1)
    BulkAction.objects.create(
        owner=owner, target="workflow", verb="cancel", filter="q=a", said="a", rows=[1], total=1
    )
    LanguageModel.objects.get_or_create(id="m", defaults={"provider": "p", "label": "M"})
    spec = {"name": "T"}
    WorkflowTemplate.objects.get_or_create(
        owner=owner, slug=f"t-{cut.pk}", defaults={"name": "T", "spec": spec}
    )


def url(model, name: str = "changelist", *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def messages(response) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def do(client: Client, model, action: str, *rows, confirmed: bool = True):
    data = {"action": action, "_selected_action": [row.pk for row in rows]}
    if confirmed:
        data["confirmed"] = "yes"
    return client.post(url(model), data, follow=True)


# --- looking ---


def test_every_model_of_ours_is_there():
    assert set(OURS) >= {*STATEFUL, Worker, AuditEntry, SweepState, LanguageModel, WorkflowTemplate}


def test_lists_open_and_the_number_of_queries_does_not_grow(operator):
    def queries(model) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert operator.get(url(model)).status_code == 200
        return len(seen)

    rows_of_each_model()
    operator.get(url(Workflow))  # fills the caches of a process
    few = {model: queries(model) for model in OURS}
    for _ in range(4):
        rows_of_each_model()
    assert {model: queries(model) for model in OURS} == few


def test_a_row_opens_and_its_history(operator):
    rows_of_each_model()
    for model in OURS:
        for row in model.objects.all()[:3]:
            assert operator.get(url(model, "change", row.pk)).status_code == 200
            assert operator.get(url(model, "history", row.pk)).status_code == 200


@pytest.mark.parametrize("model", STATEFUL)
def test_a_workflow_of_many_steps_takes_no_more_queries(operator, model):
    def queries(count: int) -> int:
        workflow = make_workflow([{"key": f"s{n}", "needs": []} for n in range(count)], start=True)
        row = {Workflow: workflow, Step: workflow.steps.first()}.get(model) or attempts_of(workflow, "s0")[0]
        with CaptureQueriesContext(connection) as seen:
            operator.get(url(model, "change", row.pk))
        return len(seen)

    queries(2)
    assert queries(3) == queries(30)


def test_search_takes_words_and_numbers(operator):
    rows_of_each_model()
    for model in OURS:
        if admin.site._registry[model].search_fields:
            for word in ("x", "1", "%", "12345678901234567890123", "' OR 1=1", "\0"):
                assert operator.get(url(model), {"q": word}).status_code == 200


def test_a_workflow_is_found_by_its_number(operator):
    one, _two = make_workflow(), make_workflow()
    found = operator.get(url(Workflow), {"q": str(one.pk)}).context["cl"].result_list
    assert [row.pk for row in found] == [one.pk]


FILTERS = [
    *({"status": status.value} for status in Status),
    *({"reason": "stuck"}, {"worker": WORKER}, {"worker": "gone"}, {"age": "<1h"}, {"age": ">1d"}),
]


def test_filters_open(operator):
    rows_of_each_model()
    for model in STATEFUL:
        for query in FILTERS:
            assert operator.get(url(model), query).status_code == 200


def listed(client: Client, model=Workflow, **query: str) -> list[int]:
    return [row.pk for row in client.get(url(model), query).context["cl"].result_list]


def test_stuck_and_failed_come_first(operator):
    plain = make_workflow()
    waits = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    failed = make_workflow(start=True)
    fail(claim())
    stuck = make_workflow(start=True)
    fail(claim(), "stuck")
    newest = make_workflow()
    assert listed(operator) == [stuck.pk, failed.pk, waits.pk, newest.pk, plain.pk]


def test_the_worker_filter_finds_what_it_holds(operator):
    Worker.objects.create(name=WORKER, host="here", threads=4)
    held, free = make_workflow(start=True), make_workflow()
    attempt = claim()
    assert listed(operator, worker=WORKER) == [held.pk]
    assert listed(operator, Step, worker=WORKER) == [attempt.step_id]
    assert listed(operator, StepAttempt, worker=WORKER) == [attempt.pk]
    assert listed(operator, worker="gone") == []
    silence(attempt, 100)
    assert listed(operator, worker="gone") == [held.pk]
    assert free.pk not in listed(operator, worker="gone")


def test_the_age_filter_measures_from_the_last_change(operator):
    old, new = make_workflow(), make_workflow()
    Workflow.objects.filter(pk=old.pk).update(status_changed_at=ago(4000))
    assert listed(operator, age="<1h") == [new.pk]
    assert listed(operator, age=">1h") == [old.pk]


def test_a_workflow_tells_why_it_is_where_it_is_and_links_to_its_rows(operator):
    workflow = make_workflow(start=True)
    services.pause_workflow(workflow, by=workflow.owner)
    page = operator.get(url(Workflow, "change", workflow.pk)).content.decode()
    assert "What would move it: Resume when you want to go on." in page
    links = re.findall(r'href="(/admin/[^"?]+/\?[^"]+)"', page.replace("&amp;", "&"))
    counts = {link.split("?")[0]: len(operator.get(link).context["cl"].result_list) for link in links}
    assert counts[url(Step)] == 3
    assert counts[url(StepAttempt)] == 1
    assert counts[url(AuditEntry)] == AuditEntry.objects.filter(model="workflow", row=workflow.pk).count() > 0


def test_an_audit_entry_links_to_its_row(operator):
    workflow = make_workflow(start=True)
    page = operator.get(url(AuditEntry)).content.decode()
    assert f'<a href="{url(Workflow, "change", workflow.pk)}">workflow {workflow.pk}</a>' in page


# --- nothing is writable ---


def test_rows_can_be_neither_added_nor_changed_nor_deleted(operator):
    rows_of_each_model()
    for model in OURS:
        row = model.objects.first()
        before = list(model.objects.order_by("pk").values())
        assert operator.get(url(model, "add")).status_code == 403
        assert operator.post(url(model, "add"), {"status": "completed"}).status_code == 403
        assert operator.post(url(model, "change", row.pk), {"status": "completed"}).status_code == 403
        assert operator.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        operator.post(url(model), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
        assert list(model.objects.order_by("pk").values()) == before


def test_no_form_has_a_field(operator):
    rows_of_each_model()
    for model in OURS:
        assert isinstance(admin.site._registry[model], ReadOnlyAdmin)
        page = operator.get(url(model, "change", model.objects.first().pk)).content.decode()
        form = page[page.index(f'id="{model._meta.model_name}_form"') :]
        form = form[: form.index("</form>")]
        named = set(re.findall(r'<(?:input|select|textarea)[^>]*name="([^"]+)"', form))
        assert named <= {"csrfmiddlewaretoken"}


# --- who may ---


def test_strangers_are_sent_to_the_sign_in(client):
    for user in (None, make_user("ada")):
        if user:
            client.force_login(user)
        for model in OURS:
            response = client.get(url(model))
            assert (response.status_code, response.url) == (302, f"/admin/login/?next={url(model)}")
            assert client.post(url(model), {"action": "cancel"}).status_code == 302


def test_staff_without_permission_see_nothing(client):
    client.force_login(make_user("clerk", is_staff=True))
    assert client.get(url(Workflow)).status_code == 403


def test_staff_who_may_only_look_get_no_actions(person_of_staff):
    workflow = make_workflow(start=True)
    page = person_of_staff.get(url(Workflow))
    assert page.status_code == 200
    assert b'name="action"' not in page.content
    do(person_of_staff, Workflow, "cancel", workflow)
    assert statuses(workflow)[""] == "running"


# --- acting ---


def test_cancel_asks_first(operator):
    workflow = make_workflow(start=True)
    page = do(operator, Workflow, "cancel", workflow, confirmed=False)
    assert "Each of these runs ends now" in page.content.decode()
    assert f'name="_selected_action" value="{workflow.pk}"' in page.content.decode()
    assert statuses(workflow)[""] == "running"


@pytest.mark.parametrize("action", CONFIRMED)
def test_what_cannot_be_undone_is_confirmed(operator, action):
    workflow = make_workflow(start=True)
    claim()
    before = AuditEntry.objects.count()
    do(operator, Workflow, action, workflow, confirmed=False)
    assert AuditEntry.objects.count() == before
    do(operator, Workflow, action, workflow)
    assert AuditEntry.objects.count() > before


def test_cancel_counts_and_says_why_some_were_left(operator):
    running, ended = make_workflow(start=True), make_workflow(start=True)
    services.cancel_workflow(ended, by=ended.owner)
    told = messages(do(operator, Workflow, "cancel", running, ended))
    assert told == [
        "1 workflow cancelled.",
        f"1 left as they are. {ended.pk}: This workflow has ended already; it is cancelled.",
    ]
    assert statuses(running)[""] == "cancelled"


def test_every_act_is_audited_as_the_operators(operator):
    workflow = make_workflow(start=True)
    claim()
    acts = ["pause", "retry", "release", "mark_failed", "retry", "cancel"]
    start = AuditEntry.objects.count()
    for act in acts:
        response = do(operator, Workflow, act, workflow)
        assert messages(response)[0].startswith("1 workflow "), act
    entries = AuditEntry.objects.order_by("pk")[start:]
    assert {(entry.actor, entry.name) for entry in entries} == {("operator", "op")}
    assert [entry.action for entry in entries if entry.action] == [
        "pause", "resume", "release", "mark failed", "resume", "cancel",
    ]  # fmt: skip


def test_retry_resumes_what_failed(operator):
    workflow = make_workflow(start=True)
    fail(claim())
    assert messages(do(operator, Workflow, "retry", workflow)) == ["1 workflow resumed."]
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_a_step_is_retried_and_released(operator):
    workflow = make_workflow(start=True)
    fail(claim())
    step = step_of(workflow, "one")
    assert messages(do(operator, Step, "retry", step)) == ["1 step retried."]
    claim()
    assert messages(do(operator, Step, "release", step)) == ["1 step released."]
    assert [a.cause for a in attempts_of(workflow, "one")] == ["start", "retry", "lost"]


def test_many_refusals_are_told_in_part(operator):
    rows = [make_workflow() for _ in range(8)]
    (told,) = messages(do(operator, Workflow, "pause", *rows))
    assert told.startswith("8 left as they are.")
    assert told.endswith("and 3 more.")


# --- mark failed ---


def test_mark_failed_ends_calls_keeps_text_and_can_be_resumed(operator):
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(
        output="Half a sen", request={"prompt": "p", "model": "practice"}
    )
    operating.mark_failed(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "failed", "one": "failed", "two": "pending", "three": "pending"}
    attempt.refresh_from_db()
    assert (attempt.status, attempt.reason, attempt.output) == ("failed", "user", "Half a sen")
    assert attempt.cost_estimated
    services.resume_workflow(workflow, by=workflow.owner)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_mark_failed_of_a_paused_run_keeps_its_cut_step():
    workflow = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    operating.mark_failed(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "failed", "one": "cut_off", "two": "pending", "three": "pending"}
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, max_tokens=32_768)
    run_all()
    assert statuses(workflow)[""] == "completed"


def test_mark_failed_of_a_gate_that_waits():
    gate = {"key": "check", "kind": "gate", "config": {"instructions": "Read it."}}
    workflow = make_workflow([{"key": "draft"}, gate], start=True)
    run_all()
    operating.mark_failed(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "failed", "draft": "completed", "check": "failed"}


@pytest.mark.parametrize("end", [services.cancel_workflow, None])
def test_mark_failed_of_a_run_that_is_not_active_is_refused(end):
    workflow = make_workflow()
    if end:
        end(workflow, by=workflow.owner)
    before = AuditEntry.objects.count()
    with pytest.raises(Refused, match="Only an active workflow"):
        operating.mark_failed(workflow, by=workflow.owner)
    assert AuditEntry.objects.count() == before


# --- release ---


def test_release_ends_the_attempt_as_lost_and_opens_another():
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(output="Half a sen")
    assert operating.release_workflow(workflow, by=workflow.owner) == 1
    old, new = attempts_of(workflow, "one")
    assert (old.status, old.reason, old.output) == ("failed", "lost", "Half a sen")
    assert old.error == f"Released from worker {WORKER} by ada."
    assert (new.status, new.cause) == ("pending", "lost")
    run_all("another:1")
    assert statuses(workflow)[""] == "completed"


def test_a_released_worker_that_lives_cannot_write_its_answer():
    workflow = make_workflow(start=True)
    attempt = claim()
    operating.release_workflow(workflow, by=workflow.owner)
    finish(attempt, "Too late.")
    assert [a.status for a in attempts_of(workflow, "one")] == ["failed", "pending"]
    assert statuses(workflow)["one"] == "running"


def test_release_does_not_use_up_the_retries_of_lost_workers(settings):
    settings.NYXCORE_LOST_RETRIES = 0
    workflow = make_workflow(start=True)
    for _ in range(3):
        claim()
        operating.release_workflow(workflow, by=workflow.owner)
    assert statuses(workflow)["one"] == "running"


def test_release_keeps_what_was_asked_for_in_the_attempt():
    workflow = make_workflow(start=True)
    finish(claim(), "Half", stop_reason="max_tokens")
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, continue_text=True)
    claim()
    operating.release_step(step_of(workflow, "one"), by=workflow.owner)
    _first, second, third = attempts_of(workflow, "one")
    assert third.continues_id == second.continues_id is not None


def test_release_of_an_answer_that_is_there_already_keeps_it():
    workflow = make_workflow(start=True)
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(output="All of it.", stop_reason="end_turn")
    operating.release_workflow(workflow, by=workflow.owner)
    assert statuses(workflow)["one"] == "completed"
    assert step_of(workflow, "one").output == "All of it."


def test_release_while_paused_opens_nothing():
    workflow = make_workflow(start=True)
    claim()
    services.pause_workflow(workflow, by=workflow.owner)
    operating.release_workflow(workflow, by=workflow.owner)
    assert statuses(workflow) == {"": "paused", "one": "pending", "two": "pending", "three": "pending"}


def test_release_beyond_the_budget_pauses(settings):
    settings.NYXCORE_LLM = "anthropic"
    workflow = make_workflow(start=True, default_model="claude-opus-5-5", budget="0.50")
    attempt = claim()
    StepAttempt.objects.filter(pk=attempt.pk).update(cost="0.45")
    operating.release_workflow(workflow, by=workflow.owner)
    assert (statuses(workflow)[""], workflow.reason) == ("paused", "budget")


@pytest.mark.parametrize("ready", ["queued", "back-off", "ended"])
def test_release_of_what_no_worker_holds_is_refused(ready):
    workflow = make_workflow(start=True)
    if ready == "back-off":
        fail(claim(), "overloaded", retryable=True)
        StepAttempt.objects.filter(status="pending").update(queued_at=later(60), due_at=later(60))
    if ready == "ended":
        fail(claim())
    before = AuditEntry.objects.count()
    with pytest.raises(Refused, match="nothing to release"):
        operating.release_workflow(workflow, by=workflow.owner)
    with pytest.raises(Refused, match="No worker holds “One”"):
        operating.release_step(step_of(workflow, "one"), by=workflow.owner)
    assert AuditEntry.objects.count() == before


# --- the last way: by hand ---


def test_the_documented_repair_works_and_the_sweep_settles_the_run():
    """The SQL of docs/operations.md as it stands there."""
    workflow = make_workflow(start=True)
    attempt = claim()
    manual = (settings.BASE_DIR / "docs/operations.md").read_text().split("## Repair a row on purpose")[1]
    sql = manual.split("```sql\n")[1].split("```")[0].split("\n\n", 1)[1]  # what follows psql's \\set lines
    values = {":'who'": "'ada'", ":workflow": str(workflow.pk), ":attempt": str(attempt.pk)}
    for name, value in values.items():
        sql = sql.replace(name, value)
    with connection.cursor() as cursor:
        cursor.execute(sql)
    call_command("sweep", stdout=StringIO())
    assert statuses(workflow) == {"": "failed", "one": "failed", "two": "pending", "three": "pending"}
    entry = AuditEntry.objects.get(actor="repair")
    assert (entry.name, entry.row, entry.from_status, entry.to_status) == (
        "ada",
        attempt.pk,
        "running",
        "failed",
    )
    services.resume_workflow(workflow, by=workflow.owner)


def test_without_the_setting_the_same_update_is_refused():
    workflow = make_workflow()
    with pytest.raises(IntegrityError, match="may not go pending>completed"), connection.cursor() as cursor:
        cursor.execute("UPDATE workflows_step SET status = 'completed' WHERE workflow_id = %s", [workflow.pk])
