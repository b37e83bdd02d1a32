"""Start, pause, resume, cancel: the effect, no effect twice, and what is refused."""

import pytest

from nyxcore.states import Status
from tests.factories import make_workflow
from tests.workflows.views.helpers import cut, failed, streaming, url
from workflows.models import StepAttempt

pytestmark = pytest.mark.django_db


def status_of(workflow):
    workflow.refresh_from_db()
    return workflow.status


def test_start_begins_and_shows_the_header(htmx, user):
    workflow = make_workflow(owner=user)
    response = htmx.post(url("start", workflow.pk))
    assert response.status_code == 200
    assert response.content.strip().startswith(b'<div id="run"')
    assert status_of(workflow) == Status.RUNNING


def test_start_twice_is_409_and_opens_one_attempt(htmx, user):
    workflow = make_workflow(owner=user)
    htmx.post(url("start", workflow.pk))
    response = htmx.post(url("start", workflow.pk))
    assert response.status_code == 409
    assert b"was started already; it is running" in response.content
    assert StepAttempt.objects.count() == 1


def test_without_htmx_it_leads_back_to_the_page(ada, user):
    workflow = make_workflow(owner=user)
    assert ada.post(url("start", workflow.pk))["Location"] == url("detail", workflow.pk)
    refused = ada.post(url("start", workflow.pk))
    assert refused.status_code == 409
    assert b"was started already" in refused.content
    assert url("detail", workflow.pk).encode() in refused.content


def test_pause_then_resume(htmx):
    workflow = streaming().workflow
    assert htmx.post(url("pause", workflow.pk)).status_code == 200
    workflow.refresh_from_db()
    assert workflow.held_by_id
    assert htmx.post(url("pause", workflow.pk)).status_code == 409
    assert htmx.post(url("resume", workflow.pk)).status_code == 200
    workflow.refresh_from_db()
    assert workflow.held_by_id is None
    assert htmx.post(url("resume", workflow.pk)).status_code == 409


def test_cancel_ends_once(htmx):
    workflow = streaming().workflow
    assert htmx.post(url("cancel", workflow.pk)).status_code == 200
    assert status_of(workflow) == Status.CANCELLED
    assert htmx.post(url("cancel", workflow.pk)).status_code == 409


def test_resume_brings_back_what_failed(htmx):
    workflow = failed().workflow
    assert htmx.post(url("resume", workflow.pk)).status_code == 200
    assert status_of(workflow) == Status.RUNNING


def test_resume_never_repeats_a_cut_and_names_it(htmx):
    workflow = cut().workflow
    response = htmx.post(url("resume", workflow.pk))
    assert response.status_code == 409
    assert b"Cut off: One." in response.content
