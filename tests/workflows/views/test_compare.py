"""Two attempts side by side: ?compare=1,2 on a step's address."""

import pytest

from tests.workflows.engine_helpers import claim, finish
from tests.workflows.views.helpers import completed, cut, step_url
from workflows import services
from workflows.models import Step, StepAttempt

pytestmark = pytest.mark.django_db


def twice(first="The old answer ends in the mid", second="The new answer ends well."):
    step = cut(first)
    services.retry_step(step, by=step.workflow.owner, max_tokens=200)
    attempt = claim()
    attempt.request = {
        "model": "practice",
        "prompt": "Write <more> about one.",
        "max_tokens": 200,
        "sizes": {},
    }
    attempt.save(update_fields=["request"])
    finish(attempt, second)
    return Step.objects.get(pk=step.pk)


def get(client, step, **query):
    response = client.get(step_url("step", step), query)
    assert response.status_code == 200
    return response.content.decode()


def test_answers_are_compared_word_by_word(htmx):
    html = get(htmx, twice(), compare="1,2")
    assert "<del>old </del><ins>new </ins>" in html
    assert "answer ends " in html
    assert "<html" not in html


def test_prompts_are_compared_and_escaped(htmx):
    html = get(htmx, twice(), compare="1,2", of="prompt")
    assert "<ins>&lt;more&gt; </ins>" in html


def test_without_htmx_it_is_a_page_whose_address_can_be_sent(ada):
    html = get(ada, twice(), compare="1,2")
    assert "<html" in html
    assert "<del>old </del>" in html
    assert "compare=1,2&amp;of=text" in html


def test_form_without_script_names_them_one_by_one(ada):
    assert "<ins>old </ins>" in get(ada, twice(), compare=["2", "1"])


def test_facts_of_both_stand_above(htmx):
    html = get(htmx, twice(), compare="1,2")
    assert "5 of 100 tokens used" in html
    assert "5 of 200 tokens used" in html


def test_same_text_says_so(htmx):
    assert "No word differs." in get(htmx, twice("Same text.", "Same text."), compare="1,2")


def test_too_long_texts_are_not_compared(htmx):
    step = twice()
    StepAttempt.objects.filter(step=step).update(output="word " * 400_000)
    assert "too long to be compared" in get(htmx, step, compare="1,2")


@pytest.mark.parametrize("words", ["", "1", "1,9", "a,b", "1,2,3", "-1,2", "99999999999,1"])
def test_unknown_attempts_are_404(ada, words):
    assert ada.get(step_url("step", twice()), {"compare": words}).status_code == 404


def test_strangers_see_no_comparison(eve):
    assert eve.get(step_url("step", twice()), {"compare": "1,2"}).status_code == 404


def test_body_offers_it_from_two_attempts_on(htmx):
    assert 'class="compare-form"' in get(htmx, twice(), open="1")
    assert 'class="compare-form"' not in get(htmx, completed().steps.get(), open="1")


def test_continued_answer_is_compared_whole(htmx):
    step = cut("First part, ")
    services.retry_step(step, by=step.workflow.owner, continue_text=True)
    finish(claim(), "second part.")
    html = get(htmx, step, compare="1,2")
    assert "First part, </span><ins>second part.</ins>" in html
