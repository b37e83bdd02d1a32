"""The page of the workers follows what happens without a reload, and fits a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from nyxcore.dbtime import ago
from nyxcore.models import Worker
from tests.browser import PHONE
from tests.factories import make_user, make_workflow
from tests.workflows.engine_helpers import claim

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
NAME = "machine.example:4711:0a1b2c3d"


@pytest.fixture(autouse=True)
def _staff(settings):
    settings.NYXCORE_LEASE = 60.0  # a worker that is a row only counts as living for half of it
    user = make_user()
    user.is_staff = True
    user.save(update_fields=["is_staff"])


def test_it_follows_a_worker_that_comes_takes_a_step_and_goes(page: Page):
    page.goto("/workers/")
    facts = page.locator("#workers .facts").first
    expect(facts).to_contain_text("0 live")
    Worker.objects.create(name=NAME, host="machine.example", threads=16)
    make_workflow(name="Release plan", start=True)
    expect(facts).to_contain_text("1 queued")
    claim(f"{NAME}/3")
    one = page.get_by_role("region", name=NAME)
    expect(one).to_contain_text("1 of 16 threads busy")
    expect(one.get_by_role("link", name="One")).to_be_visible()
    expect(page.locator("#live-state")).to_have_text("live")
    Worker.objects.update(seen_at=ago(60))
    expect(one).to_contain_text("Gone")
    expect(page.locator("#workers")).to_contain_text("No worker since")


def test_it_fits_a_phone(site):
    Worker.objects.create(name=NAME, host="machine.example", threads=16)
    make_workflow(name="A name that is long enough to need more than one line on a phone", start=True)
    claim(f"{NAME}/3")
    page = site.page(viewport=PHONE)
    page.goto("/workers/")
    expect(page.get_by_role("region", name=NAME)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
