from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish
from tests.workflows.views.helpers import completed, cut, failed, step_url, streaming, url, waiting
from workflows.models import Step, StepAttempt

pytestmark = pytest.mark.django_db


def fragment(client, step, **query):
    response = client.get(step_url("step", step), query)
    assert response.status_code == 200
    return response.content.decode()


def test_without_htmx_it_is_a_whole_page_with_the_body(ada):
    step = completed("Hello **there**.").steps.get()
    html = fragment(ada, step)
    assert "<html" in html
    assert "<strong>there</strong>" in html


def test_fragment_is_the_closed_line_and_open_brings_the_body(htmx):
    step = completed("Hello **there**.").steps.get()
    closed, opened = fragment(htmx, step), fragment(htmx, step, open="1")
    assert closed.startswith('<article class="step-row"')
    assert "<strong>" not in closed
    assert "<strong>there</strong>" in opened


def test_fragment_carries_the_version_that_hints_carry(htmx, django_capture_on_commit_callbacks):
    from nyxcore import events

    with django_capture_on_commit_callbacks(execute=True):
        step = streaming()
    hinted = max(item.version for item in events.queue._items.values() if item.data.get("id") == step.dom_id)
    assert f'data-version="{hinted}"' in fragment(htmx, step)


def test_step_of_another_workflow_is_404(ada, user):
    one, other = make_workflow(owner=user), make_workflow(owner=user)
    assert ada.get(url("step", other.pk, step_of(one, "one").pk)).status_code == 404


def test_raw_text_is_shown_as_it_is(htmx):
    step = completed("Hello **there** <b>").steps.get()
    html = fragment(htmx, step, part="body", raw="1")
    assert "Hello **there** &lt;b&gt;" in html


def test_plain_text_can_be_copied(ada):
    step = completed("Hello **there** <b>").steps.get()
    response = ada.get(step_url("step", step), {"part": "plain"})
    assert (response["Content-Type"], response.content) == (
        "text/plain; charset=utf-8",
        b"Hello **there** <b>",
    )


def test_prompt_as_sent_system_and_sizes(htmx):
    workflow = make_workflow([{"key": "one"}], start=True)
    attempt = claim()
    attempt.request = {
        "prompt": "Say <this>.",
        "system": "Be short.",
        "sizes": {"prompt": 11, "input.text": 4321},
        "max_tokens": 50,
    }
    attempt.save(update_fields=["request"])
    finish(attempt)
    html = fragment(htmx, step_of(workflow, "one"), open="1")
    assert "Say &lt;this&gt;." in html
    assert "Be short." in html
    assert "<code>input.text</code> 4,321 characters" in html


@pytest.mark.parametrize(
    ("reason", "sentence", "action"),
    [
        ("auth", "refused our key", "Check the provider&#x27;s key"),
        ("deadline", "longer than its deadline", "longer deadline"),
        ("stuck", "no sign of life", "Check that a worker runs"),
    ],
)
def test_failed_step_shows_cause_next_action_and_detail(htmx, reason, sentence, action):
    html = fragment(htmx, failed(reason), open="1")
    assert sentence in html
    assert action in html
    assert "It broke." in html


def test_cut_step_offers_double_room_continue_and_accept(htmx):
    html = fragment(htmx, cut())
    assert "hit 5 of 100 tokens" in html
    for words in ("Retry with 200", "Continue", "Accept"):
        assert words in html


def test_at_the_models_limit_more_room_is_not_offered(htmx):
    step = cut()
    StepAttempt.objects.filter(step=step).update(request={"model": "practice", "max_tokens": 128_000})
    html = fragment(htmx, step, open="1")
    assert "Retry with 1" not in html
    assert "practice allows no more than 128,000 tokens" in html
    assert "Continue" in html


def test_only_thinking_offers_neither_continue_nor_accept(htmx):
    html = fragment(htmx, cut(""), open="1")
    assert "spent its whole token limit on thinking" in html
    assert "/continue/" not in html
    assert "/accept/" not in html


def test_cut_text_is_shown_and_marked(htmx):
    html = fragment(htmx, cut("It ends in the mid"), open="1")
    assert "It ends in the mid" in html
    assert "Cut off, not used by later steps" in html


def test_text_of_a_failed_attempt_is_kept_on_the_page(htmx):
    workflow = make_workflow([{"key": "one"}], start=True)
    attempt = claim()
    attempt.output = "As far as it came"
    attempt.save(update_fields=["output"])
    fail(attempt, "transport")
    html = fragment(htmx, step_of(workflow, "one"), open="1")
    assert "As far as it came" in html
    assert "Written before it ended" in html


def test_gate_shows_text_instructions_and_its_three_answers(htmx):
    html = fragment(htmx, waiting(), open="1")
    for words in (
        "The draft.",
        "<strong>well</strong>",
        "Approve",
        "Edit, then approve",
        "Send back with a comment",
    ):
        assert words in html


def test_back_off_says_when(htmx):
    workflow = make_workflow([{"key": "one"}], start=True)
    fail(claim(), "overloaded", retryable=True)
    html = fragment(htmx, step_of(workflow, "one"), open="1")
    assert "Trying again" in html
    assert "Tried again <time" in html
    assert "It broke." in html


def test_attempts_tell_who_why_and_what_it_took(htmx, ada):
    step = cut()
    ada.post(step_url("step-retry", step), {"max_tokens": "200"})
    html = fragment(htmx, step, open="1")
    assert "2 attempts" in html
    assert "retried by a person, ada" in html
    assert "max_tokens" in html


def test_text_of_an_earlier_attempt_can_be_read(htmx, ada):
    step = cut("The first try")
    attempt = step.attempts.get()
    assert "The first try" in fragment(htmx, step, attempt=attempt.pk)
    assert "<html" in fragment(ada, step, attempt=attempt.pk)


@pytest.mark.parametrize("attempt", ["0", "x", "99999999999999999999", ""])
def test_unknown_attempt_is_404(ada, attempt):
    step = cut()
    assert ada.get(step_url("step", step), {"attempt": attempt}).status_code == 404


def test_pending_step_names_what_it_waits_for(htmx):
    workflow = make_workflow(start=True)
    html = fragment(htmx, step_of(workflow, "three"), open="1")
    assert "after 2" in html
    assert "Starts after" in html


def test_time_of_a_step_leaves_out_the_wait_between_attempts(htmx, ada):
    step = cut()
    hour_ago = timezone.now() - timedelta(hours=1)
    Step.objects.filter(pk=step.pk).update(started_at=hour_ago)
    StepAttempt.objects.filter(step=step).update(
        started_at=hour_ago, finished_at=hour_ago + timedelta(seconds=62)
    )
    assert '<span class="step-time">01:02</span>' in fragment(htmx, step)


def test_every_kind_has_its_template():
    from django.template.loader import get_template

    from workflows.kinds import KINDS

    for kind in KINDS:
        assert get_template(f"workflows/kinds/_{kind}.html")


def test_open_step_asks_few_queries(htmx, django_assert_max_num_queries):
    step = cut()
    with django_assert_max_num_queries(12):
        fragment(htmx, step, open="1")


def test_continued_answer_shows_what_it_goes_on_from(htmx, ada):
    step = cut("First part. ")
    ada.post(step_url("step-continue", step))
    attempt = claim()
    attempt.output = "Second"
    attempt.save(update_fields=["output"])
    html = fragment(htmx, Step.objects.get(pk=step.pk), open="1")
    assert "First part." in html
    assert ">Second</pre>" in html
