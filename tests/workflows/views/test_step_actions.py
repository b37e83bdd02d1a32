"""Retry, continue, accept, skip, approve, send back: effect, no effect twice, 409 and 422 with what was typed."""

import pytest

from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim
from tests.workflows.views.helpers import cut, failed, step_url, streaming, url, waiting
from workflows.models import Step

pytestmark = pytest.mark.django_db


def fresh(step):
    return Step.objects.get(pk=step.pk)


def test_retry_with_more_room(htmx):
    step = cut()
    response = htmx.post(step_url("step-retry", step), {"max_tokens": "200"})
    assert response.status_code == 200
    assert response.content.startswith(b'<article class="step-row"')
    assert fresh(step).status == "running"
    assert fresh(step).config["max_tokens"] == 200


def test_retry_of_a_cut_step_with_the_same_room_is_409(htmx):
    step = cut()
    response = htmx.post(step_url("step-retry", step))
    assert response.status_code == 409
    assert b"same limit would cut the answer again" in response.content
    assert step.attempts.count() == 1


def test_retry_twice_opens_one_attempt(htmx):
    step = failed()
    assert htmx.post(step_url("step-retry", step)).status_code == 200
    response = htmx.post(step_url("step-retry", step))
    assert response.status_code == 409
    assert b"cannot be retried: it is running" in response.content
    assert step.attempts.count() == 2


def test_retry_while_it_runs_is_409(htmx):
    step = streaming()
    assert htmx.post(step_url("step-retry", step)).status_code == 409
    assert step.attempts.count() == 1


CHANGES = {"max_tokens": "300", "model": "", "effort": "", "prompt": "Write it anew."}


def test_change_and_retry_keeps_the_changes_in_the_step(htmx):
    step = failed()
    assert htmx.post(step_url("step-retry", step), CHANGES).status_code == 200
    assert fresh(step).config == {"max_tokens": 300, "prompt": "Write it anew."}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"max_tokens": "0"}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": "9999999"}, "max_tokens", "at most 128,000"),
        ({"max_tokens": ""}, "max_tokens", "required"),
        ({"model": "nosuch"}, "model", "nosuch"),
        ({"prompt": ""}, "prompt", "required"),
        ({"prompt": "Use {{ steps.two.content }}"}, "prompt", "Line 1, column"),
        ({"prompt": "{{ input.txet }}"}, "prompt", "input"),
        ({"prompt": "{% if %}"}, "prompt", "Line 1"),
        ({"effort": "enormous"}, "effort", "enormous"),
    ],
)
def test_bad_change_is_422_beside_its_field_and_nothing_typed_is_lost(htmx, changes, field, words):
    step = failed()
    response = htmx.post(step_url("step-retry", step), CHANGES | {"prompt": "My typed prompt."} | changes)
    html = response.content.decode()
    assert response.status_code == 422
    assert f'id="id_retry_{step.pk}_{field}_error"' in html
    assert words in html
    assert changes.get("prompt", "My typed prompt.").replace("{", "{") in html
    assert (fresh(step).status, step.attempts.count()) == ("failed", 1)


def test_form_error_without_htmx_is_a_page(ada):
    response = ada.post(
        step_url("step-retry", failed()), CHANGES | {"max_tokens": "0", "prompt": "My typed prompt."}
    )
    assert response.status_code == 422
    assert b"<html" in response.content
    assert b"My typed prompt." in response.content


def test_refused_change_comes_back_with_what_was_typed(htmx):
    step = failed()
    htmx.post(step_url("step-retry", step))
    response = htmx.post(step_url("step-retry", step), CHANGES)
    assert response.status_code == 409
    assert b"Write it anew." in response.content


@pytest.mark.parametrize("word", ["x", "-1", "1.5", "9" * 40])
def test_nonsense_room_is_like_none(htmx, word):
    assert htmx.post(step_url("step-retry", cut()), {"max_tokens": word}).status_code == 409


def test_continue_opens_a_part(htmx):
    step = cut()
    assert htmx.post(step_url("step-continue", step)).status_code == 200
    assert step.attempts.order_by("number").last().cause == "continue"
    assert htmx.post(step_url("step-continue", step)).status_code == 409


def test_accept_lets_the_run_go_on_once(htmx):
    step = cut("Good enough")
    assert htmx.post(step_url("step-accept", step)).status_code == 200
    assert (fresh(step).status, fresh(step).output) == ("completed", "Good enough")
    assert htmx.post(step_url("step-accept", step)).status_code == 409


def test_skip_goes_on_with_the_text_in_its_place(htmx):
    step = failed()
    assert htmx.post(step_url("step-skip", step), {"replacement": "Instead"}).status_code == 200
    assert (fresh(step).status, fresh(step).output) == ("skipped", "Instead")
    assert htmx.post(step_url("step-skip", step), {"replacement": ""}).status_code == 409


def test_skip_asks_for_a_text_where_it_is_used(htmx):
    steps = [{"key": "one"}, {"key": "two", "config": {"prompt": "{{ steps.one.content }}"}}]
    step = failed_of(steps)
    response = htmx.post(step_url("step-skip", step), {"replacement": " "})
    assert response.status_code == 409
    assert b"give a text to use in its place" in response.content
    assert fresh(step).status == "failed"


def failed_of(steps):
    from tests.workflows.engine_helpers import fail

    workflow = make_workflow(steps, start=True)
    fail(claim())
    return step_of(workflow, "one")


def test_approve_passes_the_text_once(htmx):
    step = waiting()
    assert htmx.post(step_url("step-approve", step)).status_code == 200
    assert (fresh(step).status, fresh(step).output) == ("completed", "The draft.")
    assert htmx.post(step_url("step-approve", step)).status_code == 409


def test_edit_then_approve(htmx):
    step = waiting()
    htmx.post(step_url("step-approve", step), {"text": "The draft,\r\nedited."})
    assert fresh(step).output == "The draft,\nedited."


def test_empty_edit_is_422(htmx):
    step = waiting()
    response = htmx.post(step_url("step-approve", step), {"text": ""})
    assert response.status_code == 422
    assert fresh(step).status == "waiting"


def test_send_back_runs_the_reviewed_step_again(htmx):
    step = waiting()
    assert htmx.post(step_url("step-send-back", step), {"comment": "Shorter."}).status_code == 200
    draft = step_of(step.workflow, "draft")
    assert draft.status == "running"
    assert draft.attempts.order_by("number").last().comment == "Shorter."
    assert htmx.post(step_url("step-send-back", step), {"comment": "Again."}).status_code == 409


def test_send_back_without_a_word_is_422(htmx):
    step = waiting()
    assert htmx.post(step_url("step-send-back", step), {"comment": " "}).status_code == 422
    assert fresh(step).status == "waiting"


def test_without_htmx_an_act_leads_back_to_the_step(ada):
    step = failed()
    response = ada.post(step_url("step-retry", step))
    assert response["Location"] == f"{url('detail', step.workflow_id)}#step-{step.pk}"
