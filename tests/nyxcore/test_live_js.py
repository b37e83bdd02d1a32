"""static/js/live.js in Chromium, against a server whose every answer is decided here."""

import random
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect, sync_playwright

from tests.nyxcore.live_page import Site, hide
from tests.nyxcore.live_tools import wait_until

pytestmark = pytest.mark.browser

START = "Ein Satz mit mehreren Wörtern, so wie Modelle schreiben, und dann noch einer. \n" * 3_000
EMOJI = "zwölf 🚀 Kühe 👩‍👩‍👧 sangen 𝔘nter 🎉 "


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    system = Path("/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=system if system.exists() else None, args=["--headless", "--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def site() -> Iterator[Site]:
    started = Site()
    yield started
    started.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that fails its test on any script error or violation of the content security policy."""
    context = chromium.new_context()
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text) if "Security Policy" in line.text else None)
    yield opened
    context.close()
    assert problems == []


def state(page: Page, word: str, timeout: float = 8) -> None:
    expect(page.locator("#live-state")).to_have_attribute("data-state", word, timeout=timeout * 1000)


def go(page: Page, site: Site) -> None:
    """Open the page and wait until it is live."""
    page.goto(site.url)
    state(page, "live")


def shown(page: Page) -> str:
    return page.locator("pre.stream").text_content() or ""


def text_becomes(page: Page, text: str) -> None:
    expect(page.locator("pre.stream")).to_have_text(text, use_inner_text=False)
    assert shown(page) == text


def write(site: Site, offset: int, text: str) -> None:
    site.stream.send("text", {"attempt": 77, "step": "step-42", "offset": offset, "text": text})


# --- the sign


def test_live_only_after_the_stream_is_open_and_compared(page, site):
    site.greeting = None
    page.goto(site.url)
    state(page, "catching-up")
    site.stream.send("hello", {"live": True, "expires_in": 600})
    state(page, "live")
    assert site.count("/state/") >= 1
    sign = page.locator("#live-state")
    expect(sign).to_have_text("live")
    expect(sign).to_have_attribute("aria-live", "polite")
    expect(sign).to_have_attribute("aria-label", re.compile("changes show at once"))


def test_a_process_without_the_bus_is_not_called_live(page, site):
    site.greeting = {"live": False, "expires_in": 600}
    page.goto(site.url)
    state(page, "polling")
    site.stream.send("resync", {})
    state(page, "live")


def test_away_and_resync_are_shown_and_compared(page, site):
    go(page, site)
    site.stream.send("away", {})
    state(page, "catching-up")
    state(page, "polling")
    site.rows["step-42"] = [5, "failed"]
    site.stream.send("resync", {})
    state(page, "live")
    expect(page.locator("#step-42 b")).to_have_text("5 failed")


# --- fragments


def test_hint_refetches_the_element(page, site):
    go(page, site)
    page.evaluate("document.addEventListener('nyx:refreshed', e => document.title = e.detail.id)")
    site.rows["step-42"] = [2, "completed"]
    site.stream.send("hint", {"id": "step-42", "version": 2, "status": "completed"})
    expect(page.locator("#step-42 b")).to_have_text("2 completed")
    expect(page).to_have_title("step-42")


def test_old_hint_is_ignored(page, site):
    go(page, site)
    site.stream.send("hint", {"id": "step-42", "version": 1, "status": "running"})
    write(site, 0, "x")
    text_becomes(page, "x")
    assert site.count("/steps/") == 0


def test_many_hints_for_one_row_make_few_requests(page, site):
    go(page, site)
    site.gate.clear()
    site.stream.send("hint", {"id": "step-42", "version": 2, "status": "running"})
    wait_until(lambda: site.count("/steps/") == 1)
    for version in range(3, 40):
        site.rows["step-42"] = [version, "running"]
        site.stream.send("hint", {"id": "step-42", "version": version, "status": "running"})
    write(site, 0, "x")
    text_becomes(page, "x")
    site.gate.set()
    expect(page.locator("#step-42 b")).to_have_text("39 running")
    assert site.count("/steps/") <= 3


def test_new_row_refetches_the_whole_once(page, site):
    go(page, site)
    site.rows["step-43"] = [1, "pending"]
    site.stream.send("hint", {"id": "step-43", "version": 1, "status": "pending"})
    expect(page.locator("#step-43 b")).to_have_text("1 pending")
    site.stream.send("hint", {"id": "step-99", "version": 1, "status": "pending"})
    site.stream.send("hint", {"id": "step-99", "version": 2, "status": "pending"})
    write(site, 0, "x")
    text_becomes(page, "x")
    wait_until(lambda: site.count("/pipeline/") == 2)


def test_many_stale_rows_are_fetched_together(page, site):
    site.rows |= {f"step-{pk}": [1, "pending"] for pk in range(100, 160)}
    go(page, site)
    site.rows |= {f"step-{pk}": [2, "completed"] for pk in range(100, 160)}
    site.stream.send("resync", {})
    expect(page.locator("b", has_text="2 completed")).to_have_count(60)
    assert site.count("/pipeline/") == 1
    assert site.count("/steps/") <= 12


def test_a_fragment_that_cannot_be_fetched_is_not_called_live(page, site):
    go(page, site)
    site.refusals["/steps/42/"] = 500
    site.rows["step-42"] = [2, "failed"]
    site.stream.send("hint", {"id": "step-42", "version": 2, "status": "failed"})
    state(page, "catching-up")
    site.refusals.clear()
    expect(page.locator("#step-42 b")).to_have_text("2 failed", timeout=10_000)
    state(page, "live")


# --- text


def test_text_is_added_with_an_event(page, site):
    go(page, site)
    page.evaluate("""document.addEventListener("nyx:text", ({ detail }) => {
        document.title = `${detail.attempt} ${detail.offset}`;
    })""")
    write(site, 0, "Hallo ")
    write(site, 6, "Welt")
    text_becomes(page, "Hallo Welt")
    expect(page).to_have_title("77 10")


def test_offsets_count_code_points(page, site):
    go(page, site)
    for start in range(0, len(EMOJI), 3):
        write(site, start, EMOJI[start : start + 3])
    text_becomes(page, EMOJI)


def test_repeated_and_overlapping_text_is_not_doubled(page, site):
    go(page, site)
    write(site, 0, EMOJI[:12])
    write(site, 0, EMOJI[:12])
    write(site, 5, EMOJI[5:20])
    write(site, 3, EMOJI[3:8])
    write(site, 20, EMOJI[20:])
    text_becomes(page, EMOJI)


def test_gap_is_fetched_until_it_joins(page, site):
    go(page, site)
    site.text = EMOJI * 3
    write(site, 0, site.text[:10])
    site.saved = 15  # the row lags the stream
    write(site, 30, site.text[30:60])
    wait_until(lambda: site.count("/text/?attempt=77&offset=15") >= 1)
    assert shown(page) == site.text[:15]
    write(site, 60, site.text[60:])
    site.saved = 40
    text_becomes(page, site.text)


def test_text_written_before_the_page_was_opened_is_fetched(page, site):
    site.text, site.saved = EMOJI, 8
    go(page, site)
    site.saved = 20
    write(site, 25, EMOJI[25:])
    wait_until(lambda: site.count("/text/") >= 2)
    site.saved = len(EMOJI)
    text_becomes(page, EMOJI)


def test_fragment_swapped_in_the_middle_keeps_the_text(page, site):
    go(page, site)
    site.text = EMOJI * 2
    write(site, 0, site.text[:30])
    text_becomes(page, site.text[:30])
    site.saved, site.rows["step-42"] = 10, [2, "running"]  # the new fragment has less than was shown
    site.stream.send("hint", {"id": "step-42", "version": 2, "status": "running"})
    expect(page.locator("#step-42 b")).to_have_text("2 running")
    text_becomes(page, site.text[:30])
    write(site, 30, site.text[30:])
    text_becomes(page, site.text)


def test_random_pieces_always_join(page, site):
    """Pieces repeated, reordered and overlapping at random give the text as soon as all of it has come."""
    go(page, site)
    dice = random.Random(7)
    for _ in range(20):
        text = "".join(dice.choice("ab🚀𝔘é\n") for _ in range(200))
        starts = [0, *sorted(dice.sample(range(1, 200), 15)), 200]
        cuts = [(max(0, start - dice.randint(0, 5)), end) for start, end in pairwise(starts)]
        pieces = [[start, text[start:end]] for start, end in cuts]
        dice.shuffle(pieces)
        joined = page.evaluate(
            """async ([pieces]) => {
                const { Joiner } = await import("/static/live-text.js");
                const joiner = new Joiner(0);
                return pieces.map(([offset, text]) => joiner.accept(offset, text)).join("");
            }""",
            [pieces + pieces[:3]],
        )
        assert joined == text


# --- connection


def test_cut_stream_is_opened_again_and_compared(page, site):
    go(page, site)
    site.rows["step-42"] = [3, "completed"]
    site.refusals["/events/"] = 503
    site.stream.close()
    state(page, "polling")
    expect(page.locator("#step-42 b")).to_have_text("3 completed")
    site.refusals.clear()
    state(page, "live", 15)


def test_refused_stream_gets_a_new_token_and_polls_meanwhile(page, site):
    site.refusals["/events/"] = 403
    page.goto(site.url)
    state(page, "polling")
    site.rows["step-42"] = [2, "failed"]
    expect(page.locator("#step-42 b")).to_have_text("2 failed", timeout=10_000)
    assert site.count("/events/?token=") < 8
    site.refusals.clear()
    state(page, "live", 20)
    assert site.stream.token.startswith("token-")


def test_expired_stream_comes_back_with_a_new_token(page, site):
    go(page, site)
    site.stream.send("expired", {})
    site.stream.close()
    wait_until(lambda: len(site.streams) == 2)
    state(page, "live")
    assert site.stream.token == "token-1"


def test_token_is_renewed_before_it_ends_without_a_gap(page, site):
    site.greeting = {"live": True, "expires_in": 3}
    page.goto(site.url)
    state(page, "live")
    page.evaluate("""() => {
        window.seen = [];
        new MutationObserver(() => seen.push(document.getElementById("live-state").dataset.state))
            .observe(document.getElementById("live-state"), { attributes: true });
    }""")
    wait_until(lambda: len(site.streams) >= 2)
    assert site.streams[0].token == "first"
    assert site.streams[1].token == "token-1"
    state(page, "live")
    assert "polling" not in page.evaluate("seen")


@pytest.mark.parametrize(("status", "word"), [(302, "signed-out"), (401, "signed-out"), (404, "no-access")])
def test_signed_out_or_no_access_is_told_and_asked_no_more(page, site, status, word):
    go(page, site)
    site.refusals |= {"/state/": status, "/events/token/": status}
    site.stream.send("expired", {})
    site.stream.close()
    state(page, word)
    expect(page.locator("#live-state a")).to_have_attribute("href", "/accounts/login/?next=%2F")
    asked = len(site.requests)
    page.wait_for_timeout(4_000)
    assert len(site.requests) == asked


@pytest.mark.parametrize("by_live", [True, False])
def test_login_page_never_replaces_a_fragment(page, site, by_live):
    go(page, site)
    site.refusals |= {"/steps/42/": 302, "/state/": 302}
    if by_live:
        site.stream.send("hint", {"id": "step-42", "version": 2, "status": "failed"})
    else:
        page.evaluate("htmx.ajax('GET', '/steps/42/', { target: '#step-42', swap: 'outerHTML' })")
    state(page, "signed-out")
    expect(page.locator("#login")).to_have_count(0)
    expect(page.locator("#step-42 b")).to_have_text("1 running")


def ping(page: Page, site: Site) -> None:
    """A ping that has arrived: bytes travel in real time, whatever the page's clock says."""
    page.evaluate("document.addEventListener('nyx:hint', () => (window.pinged = true), { once: true })")
    site.stream.send("ping", {"live": True, "expires_in": 500})
    site.stream.send("hint", {"id": "workflow-7", "version": 0, "status": "running"})
    wait_until(lambda: page.evaluate("window.pinged"))
    page.evaluate("window.pinged = false")


def test_silence_is_not_called_live_and_then_replaced(page, site):
    page.clock.install()
    page.goto(site.url)
    page.clock.run_for(1_500)
    state(page, "live")
    page.clock.run_for(27_000)
    state(page, "catching-up")
    page.clock.run_for(25_000)
    wait_until(lambda: len(site.streams) == 2)


def test_buffering_proxy_ends_in_polling(page, site):
    site.greeting = None  # the stream is open and nothing comes through
    page.clock.install()
    page.goto(site.url)
    page.clock.run_for(13_000)
    state(page, "polling")
    site.rows["step-42"] = [2, "completed"]
    page.clock.run_for(7_000)
    expect(page.locator("#step-42 b")).to_have_text("2 completed")


def test_after_a_sleep_the_page_is_right_at_once(page, site):
    page.clock.install()
    page.goto(site.url)
    page.clock.run_for(1_500)
    state(page, "live")
    site.rows["step-42"] = [9, "completed"]
    page.clock.fast_forward(300_000)  # timers are late once, as after a sleep
    expect(page.locator("#step-42 b")).to_have_text("9 completed")
    page.clock.run_for(3_000)
    wait_until(lambda: len(site.streams) == 2)


def test_hidden_page_gives_its_connection_back_and_returns(page, site):
    page.clock.install()
    page.goto(site.url)
    page.clock.run_for(1_500)
    state(page, "live")
    hide(page, True)
    for _ in range(5):
        ping(page, site)
        page.clock.run_for(10_000)
    state(page, "live")
    page.clock.run_for(20_000)
    expect(page.locator("#live-state")).not_to_have_attribute("data-state", "live")
    assert len(site.streams) == 1
    site.rows["step-42"] = [2, "completed"]
    site.text, site.saved = EMOJI, len(EMOJI)
    hide(page, False)
    page.clock.run_for(3_000)
    state(page, "live")
    expect(page.locator("#step-42 b")).to_have_text("2 completed")
    text_becomes(page, EMOJI)
    assert len(site.streams) == 2


def test_signing_in_elsewhere_wakes_the_page(page, site):
    go(page, site)
    site.refusals |= {"/state/": 302, "/events/token/": 302}
    site.stream.send("expired", {})
    state(page, "signed-out")
    site.refusals.clear()
    hide(page, False)
    state(page, "live")
    expect(page.locator("#live-state a")).to_have_count(0)


def test_comparison_every_30_seconds_finds_what_no_hint_told(page, site):
    page.clock.install()
    page.goto(site.url)
    page.clock.run_for(1_500)
    state(page, "live")
    site.rows["step-42"] = [2, "completed"]
    for _ in range(4):
        ping(page, site)
        page.clock.run_for(10_000)
    expect(page.locator("#step-42 b")).to_have_text("2 completed")


def test_long_texts_stay_cheap_to_extend(page, site):
    """Eight steps with 240 KB each go on writing: only the ends are laid out again (2 ms a turn, all: 30 ms)."""
    go(page, site)
    page.evaluate(
        """(start) => {
            for (let n = 1; n <= 8; n += 1) {
                const pre = document.createElement("pre");
                pre.className = "stream";
                Object.assign(pre.dataset, { attempt: 100 + n, offset: start.length, textUrl: "/text/?attempt=0" });
                pre.textContent = start;
                document.getElementById("live").append(pre);
            }
        }""",
        START,
    )
    watch = page.context.new_cdp_session(page)
    watch.send("Performance.enable")
    sent = len(START)
    sent = extend(page, site, sent, 4)  # the long texts are taken over
    before = layout_seconds(watch)
    sent = extend(page, site, sent, 16)
    assert layout_seconds(watch) - before < 16 * 0.012


def extend(page: Page, site: Site, sent: int, turns: int) -> int:
    for turn in range(turns):
        for attempt in range(101, 109):
            text = "ein paar Wörter, \n" if turn % 5 == 0 else "und noch ein Wort."
            site.stream.send("text", {"attempt": attempt, "step": "step-1", "offset": sent, "text": text})
        sent += 18
        page.wait_for_timeout(125)
    wait_until(lambda: len(page.locator("pre.stream").last.text_content() or "") == sent)
    return sent


def layout_seconds(watch: CDPSession) -> float:
    metrics = watch.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "LayoutDuration")
