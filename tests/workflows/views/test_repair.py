"""The banner for all cut steps, what a cut step says, and who did what."""

from decimal import Decimal

import pytest

from tests.factories import step_of
from tests.workflows.engine_helpers import claim, finish, statuses
from tests.workflows.test_cutsteps import cut_run
from tests.workflows.views.helpers import cut, failed, step_url, url
from workflows import services
from workflows.models import Step, StepAttempt

pytestmark = pytest.mark.django_db


def body(client, step):
    """An open step without the buttons beside its closed line."""
    return client.get(step_url("step", step), {"part": "body"}).content.decode()


# --- all at once ---


def test_banner_offers_both_for_all_with_the_price(ada, user):
    html = ada.get(url("detail", cut_run(owner=user).pk)).content.decode()
    assert "Retry all 2 with double room" in html
    assert "Accept all 2 as they are" in html
    assert "Retrying runs at no cost." in html


def test_banner_names_what_more_room_does_not_help(ada, user):
    html = ada.get(url("detail", cut_run(("Half", ""), owner=user).pk)).content.decode()
    assert "with double room" not in html
    assert "More room does not help 2 Step 1." in html
    assert "There is no text to accept in 2 Step 1." in html


def test_no_banner_buttons_without_cut_steps(ada):
    assert "cut-panel" not in ada.get(url("detail", failed().workflow_id)).content.decode()


@pytest.mark.parametrize(("verb", "status"), [("cut-retry", "running"), ("cut-accept", "completed")])
def test_one_click_mends_all_and_the_second_is_409(htmx, user, verb, status):
    workflow = cut_run(owner=user)
    response = htmx.post(url(verb, workflow.pk))
    assert response.status_code == 200
    assert b'id="run"' in response.content
    assert [statuses(workflow)[key] for key in ("s0", "s1")] == [status, status]
    assert htmx.post(url(verb, workflow.pk)).status_code == 409


def test_refusal_names_the_step_and_changes_nothing(htmx, user):
    workflow = cut_run(("Half", ""), owner=user)
    response = htmx.post(url("cut-retry", workflow.pk))
    assert response.status_code == 409
    assert "“Step 1” wrote nothing but thinking".encode() in response.content
    assert StepAttempt.objects.count() == 2


def test_without_htmx_it_leads_back_to_the_run(ada, user):
    workflow = cut_run(owner=user)
    assert ada.post(url("cut-retry", workflow.pk))["Location"] == url("detail", workflow.pk)


@pytest.mark.parametrize("verb", ["cut-retry", "cut-accept"])
def test_strangers_and_gets_are_refused(ada, eve, user, verb):
    workflow = cut_run(owner=user)
    assert eve.post(url(verb, workflow.pk)).status_code == 404
    assert ada.get(url(verb, workflow.pk)).status_code == 405


# --- one cut step ---


def test_cut_at_the_limit_tells_thinking_and_text_apart_and_what_more_room_costs(htmx):
    step = cut()
    StepAttempt.objects.filter(step=step).update(output_tokens=100, thinking_tokens=30)
    html = body(htmx, step)
    assert "Thinking took 30 of them, the text 70." in html
    assert "More room helps: retry with 200 tokens" in html
    assert "Retry with 200 tokens <small>free</small>" in html
    assert 'aria-label="100 of 100 tokens used: 70 for text and 30 for thinking"' in html


@pytest.mark.parametrize(
    ("high", "said"), [(Decimal("0.4"), "<small>about $0.40</small>"), (None, "<small>price unknown</small>")]
)
def test_closed_line_says_what_more_room_costs(ada, monkeypatch, high, said):
    from nyxcore.llm import models as registry

    step = cut()
    monkeypatch.setattr(registry, "worst_case", lambda model, sent, room: high)
    monkeypatch.setattr(registry, "cost", lambda model, usage: Decimal("0.4"))
    page = ada.get(f"{url('detail', step.workflow_id)}?open=none").content.decode()
    assert f"Retry with 200 {said}" in page


def test_mostly_thinking_says_that_room_helps_in_part(htmx):
    step = cut()
    StepAttempt.objects.filter(step=step).update(output_tokens=100, thinking_tokens=80)
    assert "More room helps only in part" in body(htmx, step)


def test_only_thinking_offers_the_changes_at_once(htmx):
    html = body(htmx, cut(""))
    assert "More room alone may go into thinking too" in html
    assert 'id="retry-' in html
    assert " open>\n  <summary>Change and retry" in html


def test_full_context_offers_no_more_room(htmx):
    step = cut()
    Step.objects.filter(pk=step.pk).update(reason="cut_off:context")
    html = body(htmx, step)
    assert "More room does not help." in html
    assert "Retry with" not in html.split('class="remedy-folds"')[0]


def test_after_three_parts_continue_is_no_longer_offered(htmx):
    step = cut("One, ")
    for text in ("two, ", "three"):
        assert "/continue/" in body(htmx, step)
        services.retry_step(Step.objects.get(pk=step.pk), by=step.workflow.owner, continue_text=True)
        finish(claim(), text, stop_reason="max_tokens")
    html = body(htmx, step)
    assert "/continue/" not in html
    assert "joined from 3 parts" in html
    raw = htmx.get(step_url("step", step), {"part": "body", "raw": "1"}).content.decode()
    assert raw.count("continued here") == 2


# --- who ---


def test_accepted_step_says_by_whom(htmx, user):
    step = cut("Good enough")
    htmx.post(step_url("step-accept", step))
    html = body(htmx, step)
    assert "Accepted as it is, though cut off, by ada" in html
    assert "<b>ada</b> accepted the cut answer as it is" in html


def test_skipped_and_cancelled_steps_say_by_whom(htmx, user):
    step = failed()
    htmx.post(step_url("step-skip", step), {"replacement": "Instead"})
    assert "Skipped by ada" in body(htmx, step)
    other = step_of(step.workflow, "two")
    htmx.post(url("cancel", step.workflow_id))
    assert "By ada, <time" in body(htmx, other)


def test_history_tells_each_retry(htmx):
    step = failed()
    htmx.post(step_url("step-retry", step))
    html = body(htmx, step)
    assert "<b>ada</b> retried it" in html
    assert "Failed → Running" in html
