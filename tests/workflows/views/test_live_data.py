"""What live.js asks for: versions of all rows, and text from an offset on."""

import pytest

from nyxcore import live_tokens
from tests.factories import make_workflow
from tests.workflows.engine_helpers import finish
from tests.workflows.views.helpers import completed, step_url, streaming, url
from workflows.models import live_version

pytestmark = pytest.mark.django_db


def test_state_names_every_row_with_version_and_status(ada):
    step = streaming()
    state = ada.get(url("state", step.workflow_id)).json()
    workflow, attempt = step.workflow, step.attempts.get()
    workflow.refresh_from_db()
    assert state["open"] is True
    assert state["rows"][f"workflow-{workflow.pk}"] == [workflow.version, "running"]
    assert state["rows"][step.dom_id] == [live_version(step.version, attempt.version), "running"]
    assert len(state["rows"]) == 4


def test_state_of_an_ended_run_is_closed(ada):
    assert ada.get(url("state", completed().pk)).json()["open"] is False


def test_state_can_be_asked_for_one_step(ada):
    step = streaming()
    rows = ada.get(url("state", step.workflow_id), {"step": step.pk}).json()["rows"]
    assert set(rows) == {f"workflow-{step.workflow_id}", step.dom_id}


def test_state_asks_few_queries(ada, user, django_assert_max_num_queries):
    workflow = make_workflow([{"key": f"s{n}"} for n in range(30)], owner=user)
    with django_assert_max_num_queries(4):
        ada.get(url("state", workflow.pk))


def text_of(client, step, offset="0"):
    return client.get(step_url("step-text", step), {"attempt": step.attempts.get().pk, "offset": offset})


@pytest.mark.parametrize(
    ("offset", "text"), [("0", "a😀bé"), ("1", "😀bé"), ("2", "bé"), ("4", ""), ("999", "")]
)
def test_text_comes_from_a_code_point_on(ada, offset, text):
    step = streaming("a😀bé")
    answer = text_of(ada, step, offset).json()
    assert answer == {
        "attempt": step.attempts.get().pk,
        "offset": min(int(offset), 4),
        "text": text,
        "ended": False,
    }


def test_text_of_an_ended_attempt_says_so(ada):
    step = streaming()
    finish(step.attempts.get(), "All of it")
    assert text_of(ada, step).json()["ended"] is True


@pytest.mark.parametrize(
    "query",
    [{}, {"attempt": "x"}, {"attempt": "-1"}, {"attempt": "1", "offset": "-3"}, {"attempt": "9" * 30}],
)
def test_nonsense_is_400(ada, query):
    assert ada.get(step_url("step-text", streaming()), query).status_code == 400


def test_attempt_of_another_step_is_404(ada):
    step, other = streaming(), streaming()
    response = ada.get(step_url("step-text", step), {"attempt": other.attempts.get().pk})
    assert response.status_code == 404


def test_page_carries_a_token_for_its_channel(ada, user):
    workflow = make_workflow(owner=user)
    token = ada.get(url("detail", workflow.pk)).context["token"]
    claim = live_tokens.read_token(token)
    assert (claim.user_id, claim.channels) == (user.pk, (f"workflow-{workflow.pk}",))
