"""A definition as YAML: pasted, uploaded, edited whole, handed out."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.factories import make_workflow
from tests.workflows.builder.forms import sent
from tests.workflows.test_specs import GOOD
from tests.workflows.views.helpers import url
from workflows import catalog, specs
from workflows.models import Workflow, WorkflowTemplate

pytestmark = pytest.mark.django_db


def post(client, text="", do="check", **more):
    return client.post(url("builder-yaml"), {"yaml": text, "do": do} | more)


def upload(client, data, text="", do="check"):
    return post(client, text, do, file=SimpleUploadedFile("a.yaml", data))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("version: 2", "version: [2", 4),
        ("version: 2", "verson: 2", 3),
        ("input.text }}</d>", "input.txt }}</d>", 18),
        ("max_tokens: 100", "max_tokens: many", 29),
        ("max_tokens: 100", "max_tokens: 9999999", 29),
    ],
)
@pytest.mark.parametrize("do", ["check", "save", "use"])
def test_a_mistake_has_its_line_and_the_text_stays(ada, old, new, line, do):
    text = GOOD.replace(old, new)
    response = post(ada, text, do)
    assert response.status_code == 422
    assert f'data-line="{line}"' in response.content.decode()
    assert sent(response.content.decode(), "yaml-form")["yaml"][0].replace("\r\n", "\n") == text
    assert not WorkflowTemplate.objects.exists()


def test_an_uploaded_file_takes_the_place_of_the_text(ada):
    response = upload(ada, GOOD.replace("version: 2", "verson: 2").encode(), "old text")
    assert response.status_code == 422
    assert 'data-line="3"' in response.content.decode()
    assert "verson: 2" in response.content.decode()


def test_line_ends_and_mark_of_windows_are_no_mistake(ada):
    data = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert "Ready: 3 steps" in upload(ada, data).content.decode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"name: x\n\xff\xfe\x00", "This is not UTF-8 text (byte 9)"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "This is not UTF-8 text"),
        (b"name: a\x00b\n", "This is no text file: it has NUL bytes."),
        (b"name: x\n" + b"#" * 2_000_001, "at most 2,000,000 are read"),
        (b"", "must be a mapping"),
        ("a: \u0007".encode(), "The character U+0007 cannot stand in a YAML file."),
    ],
)
def test_a_file_that_is_no_definition_is_refused(ada, data, said):
    response = upload(ada, data, "what was typed")
    assert response.status_code == 422
    assert said in response.content.decode()


def test_what_was_typed_stays_beside_a_binary_file(ada):
    assert "what was typed" in upload(ada, b"\x00\x01", "what was typed").content.decode()


def test_text_that_no_database_holds_is_refused(ada):
    response = post(ada, GOOD.replace("title: Facts", 'title: "\\ud800"'), "save")
    assert response.status_code == 422
    response = post(ada, GOOD.replace("name: Summarise", 'name: Summarise\ndescription: "\\ud800"'), "save")
    assert response.status_code == 422
    assert not WorkflowTemplate.objects.exists()


def test_nul_is_taken_out(ada):
    post(ada, GOOD.replace("name: Summarise", 'name: Summarise\ndescription: "a\\0b"'), "save")
    assert WorkflowTemplate.objects.get().spec["description"] == "ab"


def test_save(ada):
    assert post(ada, GOOD, "save").status_code == 302
    assert specs.load(WorkflowTemplate.objects.get().spec) == specs.parse_yaml(GOOD)


def test_use(ada):
    asked = post(ada, GOOD, "use").content.decode()
    data = {
        "spec": sent(asked, "")["spec"],
        "on_cut_off": "stop",
        "input-text": "x",
        "input-style": "3",
        "then": "start",
    }
    ada.post(url("builder-run"), data)
    workflow = Workflow.objects.get()
    assert (workflow.status, workflow.input) == ("running", {"text": "x", "style": "3"})


def test_a_run_of_a_broken_definition_comes_back_as_yaml(ada):
    response = ada.post(
        url("builder-run"), {"spec": GOOD.replace("version: 2", "verson: 2"), "then": "start"}
    )
    assert response.status_code == 422
    assert 'data-line="3"' in response.content.decode()


def test_open_in_the_form_and_back(ada):
    form = post(ada, GOOD, "form").content.decode()
    data = sent(form)
    back = ada.post(url("builder"), data | {"do": "yaml"}).content.decode()
    text = sent(back, "yaml-form")["yaml"][0].replace("\r\n", "\n")
    assert specs.parse_yaml(text) == specs.parse_yaml(GOOD)


def test_a_wrong_prompt_can_be_mended_in_the_form(ada):
    response = post(ada, GOOD.replace("input.text }}</d>", "input.txt }}</d>"), "form")
    assert response.status_code == 200
    assert "There is no input field txt" in response.content.decode()
    assert "step-1-llm-prompt" in sent(response.content.decode())


def test_what_the_form_has_no_place_for_stays_yaml(ada):
    response = post(ada, GOOD.replace("version: 2", "verson: 2"), "form")
    assert response.status_code == 422
    assert "yaml-form" in response.content.decode()


def test_a_draft_with_mistakes_can_be_edited_as_yaml(ada):
    data = sent(ada.get(url("builder")).content.decode(), name="", step__1__llm__max_tokens="many")
    back = ada.post(url("builder"), data | {"do": "yaml"}).content.decode()
    assert "max_tokens: many" in sent(back, "yaml-form")["yaml"][0]


@pytest.mark.parametrize("slug", sorted(catalog.load_all()))
def test_templates_are_handed_out_as_files(ada, slug):
    response = ada.get(url("template-export"), {"template": slug})
    assert response["Content-Disposition"] == f'attachment; filename="{slug}.yaml"'
    assert specs.parse_yaml(response.content.decode(), check_models=False) == catalog.get(slug)
    assert ada.get(url("template-export"), {"template": "nosuch"}).status_code == 404


def test_a_run_is_handed_out_without_its_input(ada, user):
    workflow = make_workflow(owner=user, inputs=[{"name": "text"}], data={"text": "secret words"})
    response = ada.get(url("export", workflow.pk))
    assert response["Content-Type"].startswith("application/yaml")
    assert "secret words" not in response.content.decode()
    assert [step.key for step in specs.parse_yaml(response.content.decode()).steps] == ["one", "two", "three"]
