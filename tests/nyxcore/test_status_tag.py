"""One enum drives badge, pill, drawing and favicon; every value of it has its word, shape and colour."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.template import Context, Template
from django.test import RequestFactory

from nyxcore import ui
from nyxcore.states import WORKFLOW_EDGES, Status

NOW = datetime(2026, 11, 22, 14, 2, 11, tzinfo=UTC)
CSS = (settings.BASE_DIR / "static/css/app.css").read_text()


def draw(source, **context):
    return Template("{% load nyx %}" + source).render(Context(context))


@pytest.mark.parametrize("status", Status)
def test_badge_has_word_shape_and_colour(status):
    html = draw("{% status row %}", row=SimpleNamespace(status=status.value))
    assert f'data-status="{status.value}"' in html
    assert f'href="#s-{status.value}"' in html
    assert html.endswith(f"{status.label}</span>")
    assert f'<symbol id="s-{status.value}"' in ui.sprite()
    assert f'[data-status="{status.value}"]' in CSS


def test_every_status_has_its_own_shape():
    assert set(ui.STATUS_ICONS) == set(Status)
    assert len(set(ui.STATUS_ICONS.values())) == len(Status)


@pytest.mark.parametrize("status", WORKFLOW_EDGES)
def test_every_state_of_a_run_has_a_favicon(status):
    assert finders.find(f"icons/{status}.svg")


def test_row_may_name_its_own_word():
    row = SimpleNamespace(status="running", status_word="Queued <b>")
    assert "Queued &lt;b&gt;</span>" in draw("{% status row %}", row=row)


def test_unknown_status_is_an_error():
    with pytest.raises(ValueError, match="nonsense"):
        draw("{% status 'nonsense' %}")


def test_every_icon_that_templates_and_scripts_use_is_in_the_sprite():
    used = set()
    for folder, pattern in (("templates", "*.html"), ("static/js", "*.js"), ("workflows", "*.py")):
        for path in (settings.BASE_DIR / folder).rglob(pattern):
            used |= set(re.findall(r'(?:{% icon "|#i-)([a-z-]+)"', path.read_text()))
    assert used <= set(ui.ICONS)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "00:00"),
        (41.9, "00:41"),
        (134, "02:14"),
        (3671, "1:01:11"),
        (183_840, "2 d 03:04"),
        (-5, "00:00"),
        (None, ""),
    ],
)
def test_duration(seconds, shown):
    assert ui.duration(seconds) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"),
        ("0.214", "$0.21"),
        ("0.01", "$0.01"),
        ("0.00345", "$0.0034"),
        ("0.0000071", "$0.0000071"),
        ("1234.5", "$1,234.50"),
    ],
)
def test_money_to_the_cent_and_below_to_two_digits(amount, shown):
    assert ui.money(Decimal(amount)) == shown


def test_unknown_price_is_nothing_rather_than_zero():
    assert ui.money(None) == ""


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (3102, "3.1k"),
        (18_204, "18.2k"),
        (999_999, "1.0M"),
        (204_000, "204k"),
        (None, ""),
    ],
)
def test_short_count(count, shown):
    assert ui.short(count) == shown


@pytest.mark.parametrize(
    ("gone", "shown"),
    [(1, "just now"), (44, "just now"), (50, "50 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (200_000, "2 d ago"),
     (1_000_000, "11 Nov 2026"), (-20, "in 20 s"), (-130, "in 2 min")],
)  # fmt: skip
def test_relative_time(gone, shown):
    assert ui.relative(NOW - timedelta(seconds=gone), NOW) == shown


def test_time_tells_the_exact_moment_on_hover():
    html = ui.when(NOW)
    assert 'datetime="2026-11-22T14:02:11+00:00"' in html
    assert 'title="2026-11-22 14:02:11 UTC"' in html


def test_open_end_goes_on_counting():
    assert "data-since" in ui.elapsed(NOW, None, NOW + timedelta(seconds=5))
    assert ui.elapsed(NOW, NOW + timedelta(seconds=65)) == "01:05"
    assert ui.elapsed(None, None) == ""


@pytest.mark.parametrize(
    ("cookie", "shown"), [("dark", "dark"), ("light", "light"), ("", ""), ('"><script>', "")]
)
def test_theme_is_one_of_ours(cookie, shown):
    request = RequestFactory().get("/")
    request.COOKIES["theme"] = cookie
    assert draw("{% theme %}", request=request) == shown


def test_unknown_icon_is_an_error():
    with pytest.raises(ValueError, match="nosuch"):
        ui.icon("nosuch")
