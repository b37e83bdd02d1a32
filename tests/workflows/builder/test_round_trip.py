"""Every field of a definition survives the form, a file, being saved, and being made into a run."""

from __future__ import annotations

import json

import pytest
from django.http import QueryDict
from django.template.loader import render_to_string
from hypothesis import HealthCheck, given, settings

from nyxcore.llm import models as registry
from tests.workflows.builder.forms import read_form
from tests.workflows.test_specs import workflow_specs
from workflows import catalog, services, specs, templates_service
from workflows.builder import Draft
from workflows.builder.controls import Page
from workflows.kinds import KINDS
from workflows.specs import InputField, StepSpec, WorkflowSpec

pytestmark = pytest.mark.django_db
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def through_the_form(draft: Draft) -> Draft:
    """The draft that comes back from a browser which shows the page and sends it again."""
    page = Page(draft)
    context = {"head": page.head(), "inputs": list(page.inputs()), "steps": list(page.steps())}
    html = render_to_string("workflows/builder/builder.html", context | {"counts": (0, 0), "drawing": ""})
    post = QueryDict(mutable=True)
    for name, value in read_form(html).fields:
        post.appendlist(name, value)
    return Draft.from_post(QueryDict(post.urlencode()))


def plain(spec: WorkflowSpec) -> dict[str, object]:
    """A definition without the difference between a value left out and the same value written down."""
    steps = [
        step.model_dump() | {"config": KINDS[step.kind].Config.model_validate(step.config).model_dump()}
        for step in spec.steps
    ]
    return spec.model_dump() | {"steps": steps}


@quick
@given(workflow_specs())
def test_every_field_survives_the_form(made: WorkflowSpec) -> None:
    made = specs.validate(made, check_models=False)
    back, problems = through_the_form(Draft.from_spec(made)).check(check_models=False)
    assert problems == []
    assert back is not None
    assert plain(back) == plain(made)


@quick
@given(workflow_specs())
def test_form_file_and_form_again_is_the_same(made: WorkflowSpec) -> None:
    draft = through_the_form(Draft.from_spec(specs.validate(made, check_models=False)))
    read = specs.parse_yaml(draft.as_yaml(), check_models=False)
    assert plain(read) == plain(made)
    assert through_the_form(Draft.from_spec(read)).data() == draft.data()


@quick
@given(workflow_specs())
def test_every_field_survives_being_saved(user, made: WorkflowSpec) -> None:
    made = specs.validate(made, check_models=False)
    if catalog.get(made.slug):
        return
    saved = templates_service.save_template(made, by=user)
    saved.refresh_from_db()
    assert templates_service.find_spec(user, saved.chosen_as) == made
    saved.delete()


@quick
@given(workflow_specs())
def test_every_field_survives_a_run_and_its_export(user, made: WorkflowSpec) -> None:
    known = {"claude-opus-5-5", ""}
    made = specs.validate(made, check_models=False)
    steps = [
        step.model_copy(
            update={"config": step.config | ({"model": "", "max_tokens": 9} if step.kind == "llm" else {})}
        )
        for step in made.steps
    ]
    fields = [field.model_copy(update={"required": False}) for field in made.inputs]
    made = made.model_copy(update={"default_model": "", "steps": steps, "inputs": fields})
    assert registry.get("claude-opus-5-5") or known
    run = services.create_workflow(owner=user, spec=made, data={})
    exported = specs.parse_yaml(specs.dump_yaml(templates_service.definition_of(run)))
    needs = specs.resolved_needs(made)
    written = made.model_copy(
        update={"steps": [step.model_copy(update={"needs": list(needs[step.key])}) for step in made.steps]}
    )
    assert plain(exported) == plain(specs.validate(written))


@pytest.mark.parametrize("slug", sorted(catalog.load_all()))
def test_built_in_templates_survive_the_form(slug: str) -> None:
    spec = catalog.get(slug)
    assert spec is not None
    back, problems = through_the_form(Draft.from_spec(spec)).check(check_models=False)
    assert (problems, back) == ([], spec)


@pytest.mark.parametrize("model", [WorkflowSpec, InputField, StepSpec], ids=lambda model: model.__name__)
def test_the_form_knows_every_field(model: type) -> None:
    """A field that is added to the schema and not to the form would be lost in silence."""
    draft = Draft.from_scratch()
    data = draft.data()
    known = {WorkflowSpec: data, InputField: data["inputs"][0], StepSpec: data["steps"][0]}[model]
    assert set(known) == set(model.model_fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_form_offers_every_option_of_a_kind(kind: str) -> None:
    draft = Draft.from_scratch()
    row = draft.add("step", kind)
    names = {
        control.name.removeprefix(f"step-{row.number}-{kind}-") for control in Page(draft).step(row).controls
    }
    assert set(KINDS[kind].Config.model_fields) <= names


def test_stored_json_is_what_specs_load_reads() -> None:
    spec = catalog.get("improve")
    assert spec is not None
    assert specs.load(json.loads(json.dumps(spec.model_dump(mode="json"))), check_models=False) == spec
