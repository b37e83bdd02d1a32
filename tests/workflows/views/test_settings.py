import pytest

from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import url
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def data(workflow, **changes):
    steps = {
        f"{option}-{step.key}": value
        for step in workflow.steps.all()
        for option, value in (("model", ""), ("max_tokens", "16384"))
    }
    return {"name": workflow.name, "default_model": "", "on_cut_off": "stop", "budget": ""} | steps | changes


def test_panel_comes_as_a_fragment_and_as_a_page(ada, htmx, user):
    workflow = make_workflow(owner=user)
    assert htmx.get(url("settings", workflow.pk)).content.strip().startswith(b'<form id="settings-form"')
    assert b"<html" in ada.get(url("settings", workflow.pk)).content


def test_saving_changes_what_was_changed(htmx, user):
    workflow = make_workflow(owner=user)
    changes = {"name": "New name", "on_cut_off": "continue", "budget": "3", "max_tokens-two": "500"}
    response = htmx.post(url("settings", workflow.pk), data(workflow, **changes))
    assert response.status_code == 200
    assert b"Saved." in response.content
    workflow.refresh_from_db()
    assert (workflow.name, workflow.on_cut_off, workflow.budget) == ("New name", "continue", 3)
    assert step_of(workflow, "two").config["max_tokens"] == 500
    assert "max_tokens" not in step_of(workflow, "one").config


def test_budget_can_be_taken_away(htmx, user):
    workflow = make_workflow(owner=user, budget=2)
    htmx.post(url("settings", workflow.pk), data(workflow))
    assert Workflow.objects.get().budget is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("budget", "-2"), ("on_cut_off", "x"), ("default_model", "nosuch"), ("max_tokens-one", "0"),
     ("max_tokens-one", "500000"), ("model-two", "nosuch")],
)  # fmt: skip
def test_bad_value_is_422_beside_its_field(htmx, user, field, value):
    workflow = make_workflow(owner=user, name="Kept")
    response = htmx.post(url("settings", workflow.pk), data(workflow, **{field: value}))
    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert Workflow.objects.get().name == "Kept"


def test_running_step_is_left_as_it_is(htmx, user):
    workflow = make_workflow(owner=user, start=True)
    claim()
    htmx.post(
        url("settings", workflow.pk), data(workflow, **{"max_tokens-one": "500", "max_tokens-two": "600"})
    )
    assert "max_tokens" not in step_of(workflow, "one").config
    assert step_of(workflow, "two").config["max_tokens"] == 600


def test_without_htmx_it_leads_back(ada, user):
    workflow = make_workflow(owner=user)
    assert ada.post(url("settings", workflow.pk), data(workflow))["Location"] == url("detail", workflow.pk)


def test_step_may_say_what_follows_a_cut(htmx, user):
    workflow = make_workflow(owner=user)
    htmx.post(url("settings", workflow.pk), data(workflow, **{"on_cut_off-two": "raise"}))
    assert step_of(workflow, "two").config["on_cut_off"] == "raise"
    htmx.post(url("settings", workflow.pk), data(workflow, **{"on_cut_off-two": ""}))
    assert step_of(workflow, "two").config["on_cut_off"] == ""


def test_hint_tells_what_past_runs_of_the_template_used(htmx, user):
    for _n in range(2):
        past = make_workflow([{"key": "one"}], owner=user, start=True)
        attempt = claim()
        attempt.request = {"model": "practice", "prompt": "x", "max_tokens": 16384}
        attempt.save(update_fields=["request"])
        finish(attempt)
        assert past.template_slug == "test"
    html = htmx.get(url("settings", make_workflow(owner=user).pk)).content.decode()
    assert "95 of 100 answers used up to 5, 2 counted" in html
    assert html.count("none yet") == 2


def test_panel_takes_the_same_queries_for_any_length(htmx, user, django_assert_max_num_queries):
    for count in (2, 40):
        workflow = make_workflow([{"key": f"s{n}"} for n in range(count)], owner=user)
        with django_assert_max_num_queries(8):
            htmx.get(url("settings", workflow.pk))


def test_saving_renews_the_line_above_the_panel(htmx, user):
    workflow = make_workflow(owner=user)
    response = htmx.post(url("settings", workflow.pk), data(workflow, on_cut_off="continue"))
    assert b'hx-swap-oob="innerHTML:#settings &gt; summary"' in response.content.replace(
        b"settings > s", b"settings &gt; s"
    )
    assert b"<b>ask the model to go on</b>" in response.content
