"""Run again from here: the plan, the edits, 409 while live, nothing paid twice."""

from decimal import Decimal

import pytest

from nyxcore.models import AuditEntry
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from tests.workflows.views.helpers import step_url, streaming, url
from workflows import requests, services
from workflows.models import Step, StepAttempt

pytestmark = pytest.mark.django_db

STEPS = [
    {"key": "one"},
    {"key": "two", "config": {"prompt": "Use {{ steps.one.content }}"}},
    {"key": "three", "config": {"prompt": "End {{ steps.two.content }}"}},
]


@pytest.fixture
def run(user):
    """Completed: one, two, three."""
    workflow = make_workflow(STEPS, owner=user, start=True)
    for text in ("First.", "Second.", "Third."):
        finish(claim(), text)
    workflow.refresh_from_db()
    assert workflow.status == "completed"
    return workflow


def send(client, step, **changes):
    """Post the form as the page has it, with changes."""
    page = client.get(step_url("step-rerun", step))
    form = page.context["form"]
    data = {name: form[name].value() for name in form.fields}
    return client.post(
        step_url("step-rerun", step), {k: v for k, v in data.items() if v is not None} | changes
    )


def test_page_lists_what_is_reused_and_what_runs_again(ada, run):
    context = ada.get(step_url("step-rerun", step_of(run, "two"))).context
    assert [step.key for step in context["plan"].again] == ["two", "three"]
    assert [step.key for step in context["plan"].reused] == ["one"]


def test_price_is_from_the_last_time_to_the_most(ada, run, settings, monkeypatch):
    from nyxcore.llm import models as registry

    StepAttempt.objects.update(cost=Decimal("0.10"))
    monkeypatch.setattr(registry, "worst_case", lambda model, sent, room: Decimal(room) / 10_000)
    html = ada.get(step_url("step-rerun", step_of(run, "two"))).content.decode()
    assert "for $0.20 to $3.28" in html
    looked = send(ada, step_of(run, "two"), **{"max_tokens-two": "1000", "do": "look"})
    assert "for $0.20 to $1.74" in looked.content.decode()
    assert statuses(run)[""] == "completed"


def test_unknown_price_is_said(ada, run, monkeypatch):
    from nyxcore.llm import models as registry

    monkeypatch.setattr(registry, "worst_case", lambda *args: None)
    assert b"a price that is not known" in ada.get(step_url("step-rerun", step_of(run, "two"))).content


def test_nothing_that_is_reused_runs_twice(ada, run):
    step = step_of(run, "two")
    response = send(ada, step)
    assert response["Location"] == f"{url('detail', run.pk)}#{step.dom_id}"
    for text in ("Second again.", "Third again."):
        finish(claim(), text)
    assert statuses(run)[""] == "completed"
    assert [len(attempts_of(run, key)) for key in ("one", "two", "three")] == [1, 2, 2]


def test_edits_of_prompt_model_room_and_effort(ada, run):
    changes = {
        "prompt-two": "Anew:\r\n{{ steps.one.content }}",
        "max_tokens-two": "900",
        "effort-three": "low",
    }
    assert send(ada, step_of(run, "two"), **changes).status_code == 302
    assert step_of(run, "two").config == {"prompt": "Anew:\n{{ steps.one.content }}", "max_tokens": 900}
    assert step_of(run, "three").config["effort"] == "low"
    assert requests.build(run, step_of(run, "two"))["prompt"] == "Anew:\nFirst."


def test_edit_of_a_stored_output_is_an_attempt_and_is_used(ada, run, user):
    assert send(ada, step_of(run, "two"), **{"output-one": "First,\r\nmended."}).status_code == 302
    edit = attempts_of(run, "one")[-1]
    assert (edit.cause, edit.output, edit.caused_by) == ("edit", "First,\nmended.", user)
    assert AuditEntry.objects.filter(action="edit", detail="one", user=user).exists()
    assert requests.build(run, step_of(run, "two"))["prompt"] == "Use First,\nmended."


@pytest.fixture
def with_input(user):
    """Completed: one and two read the input."""
    steps = [
        {"key": "one", "config": {"prompt": "Read {{ input.text }}"}},
        {"key": "two", "config": {"prompt": "For {{ input.who }}: {{ steps.one.content }}"}},
    ]
    inputs = [{"name": "text", "kind": "longtext"}, {"name": "who", "max_length": 9}]
    workflow = make_workflow(
        steps, owner=user, start=True, inputs=inputs, data={"text": "Old.", "who": "Ada"}
    )
    finish(claim())
    finish(claim())
    workflow.refresh_from_db()
    return workflow


def test_edit_of_the_input_is_given_to_what_runs_again(ada, with_input, user):
    page = ada.get(step_url("step-rerun", step_of(with_input, "two"))).content.decode()
    assert "made from the input as it was: 1 One." in page
    assert send(ada, step_of(with_input, "two"), **{"input-who": "Grace"}).status_code == 302
    with_input.refresh_from_db()
    assert with_input.input == {"text": "Old.", "who": "Grace"}
    assert requests.build(with_input, step_of(with_input, "two"))["prompt"] == "For Grace: An answer."
    assert AuditEntry.objects.filter(action="edit", detail="input.who", user=user).exists()
    assert len(attempts_of(with_input, "one")) == 1


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("input-who", "", "is required"), ("input-who", "x" * 10, "9"), ("input-text", " ", "is required")],
)
def test_bad_input_is_422_beside_its_field(ada, with_input, field, value, words):
    response = send(ada, step_of(with_input, "two"), **{field: value})
    assert response.status_code == 422
    assert words in " ".join(response.context["form"].errors[field])
    with_input.refresh_from_db()
    assert with_input.input == {"text": "Old.", "who": "Ada"}


def test_what_was_cut_off_is_said_before_it_runs_with_the_same_room(ada, user):
    steps = [{"key": "one", "needs": []}, {"key": "two", "needs": [], "config": {"max_tokens": 90}}]
    workflow = make_workflow(steps, owner=user, start=True)
    first, second = claim(), claim()
    finish(second, "Cut", stop_reason="max_tokens")
    fail(first)
    page = ada.get(step_url("step-rerun", step_of(workflow, "one"))).content.decode()
    assert "With the same room of 90 tokens it may be cut off again." in page


def test_nothing_changed_edits_nothing(ada, run):
    send(ada, step_of(run, "two"))
    assert [len(attempts_of(run, key)) for key in ("one", "two")] == [1, 2]
    assert step_of(run, "two").config == {"prompt": "Use {{ steps.one.content }}"}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("prompt-two", "", "required"),
        ("prompt-two", "{{ steps.three.content }}", "Line 1, column"),
        ("max_tokens-three", "0", "greater than or equal to 1"),
        ("max_tokens-three", "9999999", "at most 128,000"),
        ("model-two", "nosuch", "nosuch"),
        ("output-one", " ", "empty text"),
    ],
)
def test_bad_edit_is_422_beside_its_field_and_nothing_happens(ada, run, field, value, words):
    response = send(ada, step_of(run, "two"), **{field: value})
    assert response.status_code == 422
    assert words in " ".join(response.context["form"].errors[field])
    assert statuses(run)[""] == "completed"


@pytest.mark.parametrize("method", ["get", "post"])
def test_live_run_is_409_with_the_reason(ada, method):
    step = streaming()
    response = getattr(ada, method)(step_url("step-rerun", step))
    assert response.status_code == 409
    assert b"still live" in response.content


def test_what_changed_since_the_page_was_opened_is_409(ada, run, user):
    step = step_of(run, "three")
    seen = ada.get(step_url("step-rerun", step)).context["form"]["seen"].value()
    services.update_settings(run, by=user, name="Other")
    response = send(ada, step, seen=str(seen))
    assert response.status_code == 409
    assert b"has changed since" in response.content
    assert len(attempts_of(run, "three")) == 1


def test_step_whose_needs_are_not_done_is_409(ada, user):
    workflow = make_workflow(STEPS, owner=user, start=True)
    fail(claim())
    assert ada.get(step_url("step-rerun", step_of(workflow, "two"))).status_code == 409


def test_plan_takes_the_same_queries_for_any_length(ada, user, django_assert_max_num_queries):
    for count in (3, 30):
        workflow = make_workflow([{"key": f"s{n}"} for n in range(count)], owner=user, start=True)
        for _n in range(count):
            finish(claim())
        with django_assert_max_num_queries(16):
            ada.get(step_url("step-rerun", Step.objects.get(workflow=workflow, key="s1")))


def test_stranger_is_404(eve, run):
    assert eve.get(step_url("step-rerun", step_of(run, "two"))).status_code == 404


def test_body_links_to_it_only_when_the_run_has_ended(htmx, run):
    ended = step_of(run, "two")
    assert "Run again from here" in htmx.get(step_url("step", ended), {"open": "1"}).content.decode()
    live = streaming()
    assert "Run again from here" not in htmx.get(step_url("step", live), {"open": "1"}).content.decode()
