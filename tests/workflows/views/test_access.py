"""Every address: who may, by which method, and what somebody without a sign-in is told."""

import pytest
from django.test import Client

from tests.workflows.views.conftest import HTMX
from tests.workflows.views.helpers import cut, step_url, url
from workflows.models import Step

pytestmark = pytest.mark.django_db

READ = ["detail", "state", "settings"]
READ_STEP = ["step", "step-text"]
ACT = ["start", "pause", "resume", "cancel"]
ACT_STEP = ["step-retry", "step-continue", "step-accept", "step-skip", "step-approve", "step-send-back"]


def address(name, step):
    return step_url(name, step) if name.startswith("step") else url(name, step.workflow_id)


@pytest.mark.parametrize("name", [*READ, *READ_STEP, *ACT, *ACT_STEP])
def test_stranger_gets_404_and_changes_nothing(eve, name):
    step = cut()
    before = Step.objects.values_list("version", flat=True).order_by("pk")
    was = list(before)
    assert eve.get(address(name, step), {"attempt": step.attempts.get().pk}).status_code in (404, 405)
    assert eve.post(address(name, step), {"text": "x"}).status_code in (404, 405)
    assert list(before.all()) == was


@pytest.mark.parametrize("name", [*READ, *READ_STEP])
def test_stranger_is_told_the_same_as_for_nothing(eve, name):
    step = cut()
    missing = address(name, step).replace(f"/{step.workflow_id}/", "/987654/", 1)
    query = {"attempt": step.attempts.get().pk}
    theirs, nothing = eve.get(address(name, step), query), eve.get(missing, query)
    assert theirs.status_code == nothing.status_code == 404


@pytest.mark.parametrize("name", [*ACT, *ACT_STEP])
def test_acts_are_posts(ada, name):
    step = cut()
    assert ada.get(address(name, step)).status_code == 405
    assert Step.objects.get(pk=step.pk).status == "cut_off"


@pytest.mark.parametrize("name", ["detail", "state", *READ_STEP])
def test_reading_is_a_get(ada, name):
    assert ada.post(address(name, cut())).status_code == 405


@pytest.mark.parametrize("name", [*READ, *READ_STEP])
def test_signed_out_page_goes_to_the_login_and_comes_back(client, name):
    path = address(name, cut())
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/accounts/login/?next={path}"


def test_signed_out_fragment_moves_the_whole_page(db):
    step = cut()
    client = Client(headers=HTMX)
    response = client.get(step_url("step", step))
    assert response.status_code == 401
    assert response["HX-Redirect"] == "/accounts/login/?next=/workflows/1/"


def test_signed_out_live_data_is_401(client):
    response = client.get(url("state", cut().workflow_id), headers={"Accept": "application/json"})
    assert response.status_code == 401


@pytest.mark.parametrize("name", [*ACT, *ACT_STEP, "settings"])
def test_post_without_token_is_403(user, name):
    step = cut()
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    response = client.post(address(name, step), {"max_tokens": "200"})
    assert response.status_code == 403
    assert b"security token" in response.content
    assert Step.objects.get(pk=step.pk).status == "cut_off"


def test_new_workflow_without_token_is_403(user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post(f"{url('new')}?template=improve", {"input-text": "x"}).status_code == 403


def test_staff_may_act_for_others(client, staff):
    step = cut()
    client.force_login(staff)
    assert client.post(step_url("step-accept", step)).status_code == 302
    assert Step.objects.get(pk=step.pk).status == "completed"


def test_sign_in_out_and_password(user, client):
    assert client.get("/accounts/login/").status_code == 200
    signed = client.post("/accounts/login/", {"username": user.username, "password": "correct horse"})
    assert signed["Location"] == "/workflows/"
    assert client.get("/accounts/password/").status_code == 200
    changed = client.post(
        "/accounts/password/",
        {
            "old_password": "correct horse",
            "new_password1": "battery staple 7",
            "new_password2": "battery staple 7",
        },
    )
    assert changed["Location"] == "/accounts/password/done/"
    assert client.get("/accounts/logout/").status_code == 405
    assert client.post("/accounts/logout/").status_code == 302
    assert client.get(url("list")).status_code == 302


def test_wrong_password_says_so(client, user):
    response = client.post("/accounts/login/", {"username": user.username, "password": "nope"})
    assert b"error-box" in response.content
    assert b'value="ada"' in response.content


@pytest.mark.parametrize("there", ["https://evil.test/", "//evil.test/", "javascript:alert(1)"])
def test_login_leads_nowhere_else(client, user, there):
    data = {"username": user.username, "password": "correct horse", "next": there}
    assert client.post("/accounts/login/", data)["Location"] == "/workflows/"
