import pytest
from django.db import connection

from tests.workflows.views.helpers import url
from workflows import catalog
from workflows.models import Workflow

pytestmark = pytest.mark.django_db


def post(client, slug="improve", **data):
    data = {"input-text": "A text of mine.", "on_cut_off": "stop"} | data
    return client.post(f"{url('new')}?template={slug}", data)


def test_every_template_has_a_card_and_a_form(ada):
    page = ada.get(url("new")).content.decode()
    for slug, spec in catalog.load_all().items():
        assert f"?template={slug}" in page
        form = ada.get(url("new"), {"template": slug})
        assert form.status_code == 200
        assert [field.label for field in form.context["form"].input_fields()] == [
            field.title for field in spec.inputs
        ]


def test_unknown_template_is_404(ada):
    assert ada.get(url("new"), {"template": "nosuch"}).status_code == 404


def test_looking_creates_nothing(ada):
    ada.get(url("new"), {"template": "improve", "then": "start", "input-text": "x"})
    assert not Workflow.objects.exists()


def test_create_leads_to_the_pending_run(ada, user):
    response = post(ada, name="My run", budget="2.50", on_cut_off="raise")
    workflow = Workflow.objects.get()
    assert response["Location"] == url("detail", workflow.pk)
    assert (workflow.owner, workflow.name, workflow.status) == (user, "My run", "pending")
    assert (workflow.input["text"], str(workflow.budget), workflow.on_cut_off) == (
        "A text of mine.",
        "2.5000",
        "raise",
    )


def test_create_and_start(ada):
    post(ada, then="start")
    assert Workflow.objects.get().status == "running"


def test_missing_input_is_422_and_keeps_what_was_typed(ada):
    response = post(ada, **{"input-text": " ", "name": "Half done"})
    assert response.status_code == 422
    assert response.context["form"].errors["input-text"] == ["Text to improve is required."]
    assert b'value="Half done"' in response.content
    assert not Workflow.objects.exists()


def test_huge_input_is_422_with_the_limit(ada, settings):
    settings.NYXCORE_MAX_INPUT = 100
    response = post(ada, **{"input-text": "x" * 101})
    assert response.status_code == 422
    assert b"at most 100 are allowed" in response.content
    assert b"x" * 101 in response.content
    assert not Workflow.objects.exists()


def test_request_beyond_the_servers_limit_says_how_large(ada, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    response = post(ada, **{"input-text": "x" * 2000})
    assert response.status_code == 413
    assert b"may hold 1.0 MB" in response.content


@pytest.mark.parametrize(
    ("field", "value"),
    [("budget", "-1"), ("budget", "0"), ("budget", "much"), ("budget", "NaN"), ("default_model", "nosuch"),
     ("on_cut_off", "explode"), ("on_cut_off", ""), ("name", "x" * 201), ("name", "a\x00b"), ("input-text", "a\x00b")],
)  # fmt: skip
def test_bad_value_is_an_error_beside_its_field(ada, field, value):
    response = post(ada, **{field: value})
    assert response.status_code == 422
    assert field in response.context["form"].errors
    assert not Workflow.objects.exists()


def test_line_ends_of_browsers_are_normalized(ada):
    post(ada, **{"input-text": "one\r\ntwo"})
    assert Workflow.objects.get().input["text"] == "one\ntwo"


def test_plan_names_steps_and_room(ada):
    page = ada.get(url("new"), {"template": "improve"}).content.decode()
    assert "up to 16,384 tokens" in page
    assert "practice model" in page


def test_form_asks_few_queries(ada, django_assert_max_num_queries):
    with django_assert_max_num_queries(4, connection=connection):
        ada.get(url("new"), {"template": "deep-build"})
