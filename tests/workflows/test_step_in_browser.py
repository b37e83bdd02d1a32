"""What a step shows and offers, on a desktop and on a phone, in Chromium."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser import DESKTOP, PHONE, Site
from tests.factories import attempts_of, make_workflow, step_of
from tests.workflows.engine_helpers import claim, fail, finish, statuses
from tests.workflows.views.helpers import cut, failed, streaming, url
from workflows import services
from workflows.models import Step, StepAttempt, Workflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
ANSWER = """# A harbour

| Part | Cost |
|------|-----:|
| Pier | 1,200 |

```python
light = "on"  # at night
```

<b onclick=x>raw</b>"""


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(request: Any, site: Site) -> Page:
    return site.page(viewport=request.param, permissions=["clipboard-read", "clipboard-write"])


def asked(attempt: StepAttempt, **request: Any) -> None:
    attempt.request = {"model": "practice", "prompt": "Write about one.", "max_tokens": 100, **request}
    attempt.save(update_fields=["request"])


def answered(text: str = ANSWER) -> Step:
    """Done at the second try: waited 5 s, ran 20 s, spent a quarter of its answer on thinking."""
    workflow = make_workflow([{"key": "one", "config": {"max_tokens": 100}}, {"key": "two"}], start=True)
    fail(claim(), "overloaded")
    services.retry_step(step_of(workflow, "one"), by=workflow.owner, prompt="Write about one again.")
    attempt = claim()
    asked(attempt, prompt="Write about one again.", sizes={"input.text": 40, "steps.zero.content": 1200})
    finish(attempt, text)
    now = timezone.now()
    StepAttempt.objects.filter(pk=attempt.pk).update(
        output_tokens=80, thinking_tokens=20, input_tokens=900, cost="0.0123",
        queued_at=now - timedelta(seconds=25), started_at=now - timedelta(seconds=20), finished_at=now,
    )  # fmt: skip
    return step_of(workflow, "one")


def opened(page: Page, step: Step) -> Any:
    page.goto(f"{url('detail', step.workflow_id)}#{step.dom_id}")
    shown = page.locator(f"#{step.dom_id}")
    expect(shown.locator(".folds")).to_be_attached()
    return shown


def test_answer_is_rendered_safely_and_can_be_copied(page: Page) -> None:
    shown = opened(page, answered())
    expect(shown.locator(".output td").last).to_have_text("1,200")
    expect(shown.locator(".output pre .s2")).to_have_text('"on"')
    expect(shown.locator(".output b")).to_have_count(0)
    shown.locator(".output pre").hover()
    shown.get_by_role("button", name="Copy the code").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.startsWith('light ='))")
    shown.get_by_role("link", name="Raw").click()
    expect(shown.locator("pre.raw")).to_contain_text("|------|-----:|")
    shown.get_by_role("button", name="Copy the text").click()
    page.wait_for_function("navigator.clipboard.readText().then((text) => text.startsWith('# A harbour'))")


def test_open_step_tells_its_numbers_its_prompt_and_its_attempts(page: Page) -> None:
    step = answered("Ten words, or so, that were written by a model.")
    shown = opened(page, step)
    tools = shown.locator(".tools").first
    for said in (
        "10 words",
        "80 of 100 tokens",
        "20 thinking",
        "60 text",
        "$0.01",
        "waited 00:05, ran 00:20",
    ):
        expect(tools).to_contain_text(said)
    widths = tools.locator(".cap-bar rect").evaluate_all("all => all.map((one) => one.getAttribute('width'))")
    assert widths == ["120", "24", "72"]
    prompt = shown.locator(f"#prompt-{step.pk}")
    prompt.locator("> summary").click()
    expect(prompt).to_contain_text("steps.zero.content 1,200 characters")
    expect(prompt).to_contain_text("about 900 tokens")
    attempts = shown.locator(f"#attempts-{step.pk}")
    attempts.locator("> summary").click()
    expect(attempts.locator("tbody tr")).to_contain_text(["first try", "retried by a person, ada"])
    attempts.get_by_role("button", name="Prompts").click()
    expect(attempts.locator(".diff ins")).to_contain_text("again")
    history = shown.locator(f"#history-{step.pk}")
    history.locator("> summary").click()
    expect(history).to_contain_text("ada retried it")


def test_seams_of_a_continued_answer_are_seen_and_not_copied(page: Page) -> None:
    step = cut("The plan has three pa", on_cut_off="stop")
    shown = opened(page, step)
    shown.locator(".trouble").get_by_role("button", name="Continue").click()
    expect(shown).to_have_attribute("data-status", "running")
    asked(attempt := claim())
    finish(attempt, "rts:\n\n```\none\ntwo\n```")
    shown = opened(page, step)
    expect(shown.locator(".output .seam-mark")).to_have_text("part 2")
    expect(shown.locator(".output p").first).to_have_text("The plan has three papart 2rts:")
    expect(shown).to_contain_text("joined from 2 parts")


@pytest.mark.parametrize(
    ("reason", "thinking", "cause", "offered", "missing"),
    [
        ("cut_off:max_tokens", 30, "Thinking took 30", "Retry with 200 tokens", "nothing"),
        ("cut_off:thinking", 100, "spent its whole token limit on thinking", "Retry with these", "Continue"),
        ("cut_off:context", 0, "filled the context window", "Accept", "Retry with 200"),
    ],
)
def test_cut_step_says_why_and_offers_what_helps(
    page: Page, reason: str, thinking: int, cause: str, offered: str, missing: str
) -> None:
    step = cut()
    Step.objects.filter(pk=step.pk).update(reason=reason)
    StepAttempt.objects.filter(step=step).update(output_tokens=100, thinking_tokens=thinking)
    shown = opened(page, step)
    expect(shown.locator(".cause")).to_contain_text(cause)
    expect(shown.get_by_role("button", name=offered).first).to_be_visible()
    expect(shown.get_by_role("button", name=missing)).to_have_count(0)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_cut_answer_is_accepted_after_a_question_and_a_failed_step_skipped_with_a_text(page: Page) -> None:
    step = cut()
    page.goto(url("detail", step.workflow_id))
    page.locator(".trouble").get_by_role("button", name="Accept").click()
    expect(page.locator("dialog[open]")).to_contain_text("although it was cut off")
    page.get_by_role("button", name="Yes").click()
    expect(page.locator(f"#{step.dom_id} .decided")).to_contain_text(
        "Accepted as it is, though cut off, by ada"
    )
    fail(claim(), "refused")
    broken = step_of(step.workflow, "two")
    shown = opened(page, broken)
    shown.get_by_text("Skip this step").click()
    shown.get_by_label("Text in its place").fill("By hand.")
    shown.get_by_role("button", name="Skip").click()
    expect(shown.locator(".decided")).to_contain_text("Skipped by ada")
    assert statuses(step.workflow)[""] == "completed"


def test_rerun_changes_input_prompt_and_a_stored_text_and_is_refused_while_live(page: Page) -> None:
    steps = [
        {"key": "one", "config": {"prompt": "Read {{ input.text }}"}},
        {"key": "two", "config": {"prompt": "For {{ input.text }}: {{ steps.one.content }}"}},
    ]
    workflow = make_workflow(steps, start=True, inputs=[{"name": "text"}], data={"text": "Adda"})
    finish(claim(), "First.")
    finish(claim(), "Second.")
    step = step_of(workflow, "two")
    shown = opened(page, step)
    shown.get_by_role("link", name="Run again from here").click()
    page.get_by_text("The input", exact=True).click()
    page.get_by_label("Text", exact=True).fill("")
    page.get_by_role("button", name="Run 1 step again").click()
    expect(page.locator(".field.wrong")).to_contain_text("Text is required.")
    page.get_by_label("Text", exact=True).fill("Ada")
    page.locator(f"#output-{step_of(workflow, 'one').pk} > summary").click()
    page.get_by_label("Stored text").fill("First, mended.")
    page.get_by_role("button", name="Run 1 step again").click()
    expect(page).to_have_url(re.compile(rf"#{step.dom_id}$"))
    expect(page.locator("#run")).to_have_attribute("data-status", "running")
    workflow.refresh_from_db()
    assert workflow.input == {"text": "Ada"}
    assert [attempt.cause for attempt in attempts_of(workflow, "one")] == ["start", "edit"]
    answer = page.request.get(f"{step.get_absolute_url()}rerun/")
    assert (answer.status, "still live" in answer.text()) == (409, True)


def test_pill_is_short_to_see_and_whole_to_hear(page: Page) -> None:
    workflow = make_workflow([{"key": "one", "title": "Extend and improve the release plan"}])
    page.goto(url("detail", workflow.pk))
    pill = page.locator(".step-pill")
    assert pill.bounding_box()["width"] < 150
    expect(pill).to_have_attribute("title", "Extend and improve the release plan")
    expect(page.get_by_role("link", name="Extend and improve the release plan Pending")).to_have_count(1)
    assert pill.locator("use").get_attribute("href") == "#s-pending"


def test_timeline_keeps_waits_apart_and_shows_each_attempt(page: Page) -> None:
    step = answered()
    page.goto(f"{url('detail', step.workflow_id)}?view=timeline")
    row = page.locator(f'svg.timeline a[href="#{step.dom_id}"]')
    expect(row.locator(".run")).to_have_count(2)
    expect(row.locator(".wait")).not_to_have_count(0)
    assert row.locator(".run").evaluate_all("all => all.map((one) => one.dataset.status)") == [
        "failed",
        "completed",
    ]
    assert "attempt 2 waited 00:05, ran 00:20" in (row.locator("title").text_content() or "")


def test_state_shows_in_title_and_favicon(page: Page) -> None:
    step = failed(name="A plan")
    page.goto(url("detail", step.workflow_id))
    expect(page).to_have_title("Failed: A plan · nyxcore")
    assert "failed.svg" in (page.locator("#favicon").get_attribute("href") or "")


def test_nothing_above_moves_while_text_streams(page: Page) -> None:
    step = streaming("A line.\n")
    page.goto(url("detail", step.workflow_id))
    stream = page.locator(".stream")
    before = stream.bounding_box()
    StepAttempt.objects.filter(step=step).update(output="A line.\n" * 40)
    expect(stream).to_contain_text("A line.\n" * 40, timeout=20_000, use_inner_text=True)
    after = stream.bounding_box()
    assert before is not None
    assert after is not None
    assert (after["x"], after["y"], after["width"]) == (before["x"], before["y"], before["width"])
    assert after["height"] > before["height"]


def test_endless_words_stay_within_the_page(page: Page) -> None:
    long = "W" * 150
    step = cut(name=long)
    Step.objects.filter(workflow=step.workflow).update(title=long)
    Workflow.objects.filter(pk=step.workflow_id).update(name=long)
    for path in (url("detail", step.workflow_id), step.get_absolute_url(), url("list"), "/active/"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
