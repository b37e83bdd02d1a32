"""A copy of a run: order and input kept, what the engine made left out."""

import pytest

from tests.factories import make_workflow, step_of
from tests.workflows.builder.forms import sent
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import url
from workflows import templates_service
from workflows.models import Origin, Step, Workflow

pytestmark = pytest.mark.django_db


def keys(workflow):
    return list(workflow.steps.order_by("position").values_list("key", "needs"))


def engine_made(workflow, key):
    Step.objects.filter(workflow=workflow, key=key).update(origin=Origin.ENGINE)


def test_a_copy_has_the_same_steps_in_order_and_the_same_input(user):
    run = make_workflow(inputs=[{"name": "text"}], data={"text": "Mine"}, start=True, on_cut_off="raise")
    finish(claim(), "done")
    copy = templates_service.duplicate_workflow(run, by=user)
    assert keys(copy) == keys(run)
    assert (copy.status, copy.input, copy.copied_from, copy.on_cut_off) == (
        "pending",
        {"text": "Mine"},
        run,
        "raise",
    )
    assert not copy.steps.exclude(status="pending", output="").exists()
    run.refresh_from_db()
    assert (run.status, step_of(run, "one").output) == ("running", "done")


def test_steps_of_the_engine_are_left_out_and_their_needs_handed_through(user):
    run = make_workflow(
        [{"key": "a"}, {"key": "b", "needs": []}, {"key": "made", "needs": ["a", "b"]}, {"key": "made2"},
         {"key": "end", "needs": ["made2", "a"]}]
    )  # fmt: skip
    engine_made(run, "made")
    engine_made(run, "made2")
    copy = templates_service.duplicate_workflow(run, by=user)
    assert keys(copy) == [("a", []), ("b", []), ("end", ["a", "b"])]
    assert list(copy.steps.values_list("position", flat=True)) == [1, 2, 3]


def test_the_page_offers_the_input_to_be_changed_before_it_is_made(ada, user):
    run = make_workflow(owner=user, inputs=[{"name": "text"}], data={"text": "Old words"}, budget="2")
    asked = ada.get(url("duplicate", run.pk)).content.decode()
    assert "Old words" in asked
    assert Workflow.objects.count() == 1
    data = sent(asked, "", input__text="New words", budget="")
    ada.post(url("duplicate", run.pk), data | {"then": "start"})
    copy = Workflow.objects.exclude(pk=run.pk).get()
    assert (copy.input, copy.name, copy.copied_from, copy.budget) == (
        {"text": "New words"},
        "Copy of Test",
        run,
        None,
    )
    assert copy.status == "running"


def test_bad_input_is_422_and_makes_nothing(ada, user):
    run = make_workflow(owner=user, inputs=[{"name": "text"}], data={"text": "Old"})
    response = ada.post(url("duplicate", run.pk), {"input-text": " ", "on_cut_off": "stop"})
    assert response.status_code == 422
    assert Workflow.objects.count() == 1


def test_a_copy_made_by_staff_belongs_to_them(client, staff):
    run = make_workflow()
    client.force_login(staff)
    client.post(url("duplicate", run.pk), {"on_cut_off": "stop"})
    assert Workflow.objects.exclude(pk=run.pk).get().owner == staff


def test_the_run_page_offers_duplicate_change_and_export(ada, user):
    run = make_workflow(owner=user)
    said = ada.get(url("detail", run.pk)).content.decode()
    for path in (url("duplicate", run.pk), url("export", run.pk), f"{url('builder')}?from={run.pk}"):
        assert f'href="{path}"' in said
