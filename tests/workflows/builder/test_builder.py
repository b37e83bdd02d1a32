"""The form of the builder: what is wrong stands beside its field, and nothing typed is lost."""

import pytest
from django.test import Client

from tests.factories import make_workflow
from tests.workflows.builder.forms import read_form, sent
from tests.workflows.views.helpers import url
from workflows import catalog, templates_service
from workflows.models import Workflow, WorkflowTemplate

pytestmark = pytest.mark.django_db
BUILDER = "/workflows/new/builder/"


def opened(client, query="?template=improve", **changes):
    return sent(client.get(BUILDER + query).content.decode(), **changes)


def post(client, data, do="check"):
    return client.post(BUILDER, data | {"do": do})


def page(response):
    return response.content.decode()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "name must not be empty."),
        ("slug", "Not A Slug", "slug must be lower-case letters and digits"),
        ("version", "two", "version must be a whole number, not 'two'."),
        ("version", "0", "version must be at least 1, not 0."),
        ("description", "x" * 20_001, "description has 20,001 characters; at most 20,000."),
        ("default_model", "claude-hiku-4-5", "Did you mean claude-haiku-4-5?"),
        ("on_cut_off", "explode", "on_cut_off must be"),
        ("budget", "much", "budget must be an amount of money, not 'much'."),
        ("budget", "-1", "budget must be above 0"),
        ("input-1-name", "Text!", "name must be lower-case letters, digits and _"),
        ("input-2-name", "text", "The name text is taken by an earlier input."),
        ("input-1-kind", "colour", "kind must be"),
        ("input-1-choices", "a\nb", "Only a field of kind choice has choices"),
        ("input-2-max_length", "long", "max_length must be a whole number, not 'long'."),
        ("input-2-default", "x" * 1001, "The default has 1,001 characters; at most 1,000."),
        ("step-1-key", "My Key", "key must be lower-case letters, digits and _"),
        ("step-2-key", "review", "The key review is taken by step 1."),
        ("step-1-title", "x" * 201, "title has 201 characters; at most 200."),
        ("step-1-kind", "gat", "There is no step kind gat. Did you mean gate?"),
        ("step-2-needs", "reviw", "There is no step reviw. Did you mean review?"),
        ("step-2-needs", "review, review", "review is named twice."),
        ("step-2-needs", "improve", "A step cannot need itself."),
        ("step-1-llm-prompt", "", "prompt must not be empty."),
        ("step-1-llm-prompt", "a\nb {{ input.txt }}", "Line 2, column 6: There is no input field txt. Did you mean"),
        ("step-1-llm-prompt", "{{ steps.improve.content }}", "Line 1, column 4: steps.improve"),
        ("step-1-llm-prompt", "{{ steps.review.content }}", "it is this step itself"),
        ("step-2-llm-prompt", "{% include 'x' %}", "Line 1, column 4: {% include %} is not available in prompts."),
        ("step-1-llm-system", "{{ input.text }}", "standing instructions take no text of users or models"),
        ("step-1-llm-model", "claude-x", "The model claude-x is not known"),
        ("step-1-llm-max_tokens", "many", "max_tokens must be a whole number, not 'many'."),
        ("step-1-llm-max_tokens", "999999", "999,999 is above the limit of practice"),
        ("step-1-llm-effort", "huge", "effort must be"),
        ("step-1-llm-deadline", "0", "deadline must be at least 1"),
        ("step-1-notes", "x" * 20_001, "notes has 20,001 characters"),
    ],
)  # fmt: skip
def test_a_mistake_stands_beside_its_field_and_what_was_typed_stays(ada, field, value, message):
    data = opened(ada) | {field: [value]}
    response = post(ada, data, "save")
    assert response.status_code == 422
    form = read_form(page(response))
    assert message in form.errors.get(field, ""), form.errors
    back = sent(page(response))
    assert [text.replace("\r\n", "\n") for text in back[field]] == [value]
    assert back["step-2-llm-prompt" if field != "step-2-llm-prompt" else "step-1-llm-prompt"]
    assert not WorkflowTemplate.objects.exists()


def test_a_mistake_that_follows_from_another_field_stands_where_it_is_mended(ada):
    data = opened(ada) | {"input-1-kind": ["choice"]}
    assert read_form(page(post(ada, data, "save"))).errors == {"input-1-choices": "A choice needs choices."}


def test_a_mistake_in_words_is_a_link_to_its_field(htmx):
    data = opened(htmx) | {"step-1-llm-prompt": ["{{ input.txt }}"]}
    said = page(post(htmx, data))
    assert '<a href="#step-1-llm-prompt" data-for="step-1-llm-prompt" data-at="1:4">' in said
    assert "step 1 (review), prompt, 1:4" in said
    assert said.lstrip().startswith('<div id="checked"')


def test_the_draft_may_have_any_number_of_wrong_fields_at_once(ada):
    data = opened(ada) | {"version": ["x"], "budget": ["y"], "step-1-key": ["Z"], "input-1-max_length": ["w"]}
    assert set(read_form(page(post(ada, data, "save"))).errors) == {
        "version", "budget", "step-1-key", "input-1-max_length",
    }  # fmt: skip


@pytest.mark.parametrize("rows", [["1", "1", "x", "-3", "0", "99999999999"], []])
def test_rows_that_no_form_sends_do_no_harm(ada, rows):
    response = post(ada, opened(ada) | {"step": rows, "input": rows}, "save")
    assert response.status_code == 422


def test_empty_keys_and_short_name_follow_from_titles(ada):
    data = opened(
        ada,
        "",
        slug="",
        step__1__key="",
        step__1__title="Ein Überblick!",
        name="Kurz & gut",
        input__1__name="",
    )
    back = sent(page(post(ada, data)))
    assert (back["slug"], back["step-1-key"], back["input-1-name"]) == (
        ["kurz-gut"],
        ["ein_uberblick"],
        ["your_text"],
    )


# --- without a script -----------------------------------------------------------------------------------------


def order(response):
    return sent(page(response))["step"]


def test_steps_are_moved_added_and_removed_by_whole_pages(ada):
    data = opened(ada, "?template=extend-improve")
    assert data["step"] == ["1", "2", "3"]
    response = post(ada, data, "up-step:3")
    assert order(response) == ["1", "3", "2"]
    response = post(ada, sent(page(response)), "down-step:1")
    assert order(response) == ["3", "1", "2"]
    response = post(ada, sent(page(response)), "add-step:gate")
    assert order(response) == ["3", "1", "2", "4"]
    assert sent(page(response))["step-4-kind"] == ["gate"]
    assert 'id="step-4-title" value="Step 4"' in page(response)
    response = post(ada, sent(page(response)), "remove-step:1")
    assert order(response) == ["3", "2", "4"]


@pytest.mark.parametrize(
    "do", ["up-step:1", "down-step:2", "up-step:77", "remove-step:x", "down-input:", "nonsense"]
)
def test_a_move_that_leads_nowhere_changes_nothing(ada, do):
    assert order(post(ada, opened(ada), do)) == ["1", "2"]


def test_another_kind_keeps_what_was_typed_for_the_first(ada):
    data = opened(ada, step__2__kind="gate")
    back = sent(page(post(ada, data)))
    assert "step-2-gate-shows" in back
    assert back["step-2-llm-prompt"] == data["step-2-llm-prompt"]
    again = sent(page(post(ada, back | {"step-2-kind": ["llm"]})))
    assert again["step-2-llm-prompt"] == data["step-2-llm-prompt"]


def test_preview_without_a_script_is_part_of_the_page(ada):
    said = page(post(ada, opened(ada, input__1__example="Mein <Text>"), "preview:1"))
    assert "&lt;document&gt;\nMein &lt;Text&gt;\n&lt;/document&gt;" in said


# --- preview and estimate -------------------------------------------------------------------------------------


def test_preview_shows_the_filled_prompt_with_sizes(htmx):
    said = page(post(htmx, opened(htmx, input__1__example="x" * 1234), "preview:2"))
    assert "[The output of step 1, Review]" in said
    assert '<code>input.text</code></td><td class="num">1,234</td>' in said
    assert "up to 16,384 tokens, known after its run" in said


def test_preview_of_a_draft_with_mistakes_names_them(htmx):
    said = page(post(htmx, opened(htmx, step__1__llm__prompt="{{ oops }}"), "preview:1"))
    assert "There is no name oops" in said
    assert post(htmx, opened(htmx), "preview:9").status_code == 404


def test_estimate_of_the_practice_model_says_it_costs_nothing(htmx):
    assert "the practice model is no language model" in page(post(htmx, opened(htmx)))


def test_estimate_is_a_range_of_tokens_and_money(htmx, settings):
    settings.NYXCORE_LLM = "anthropic"
    said = page(post(htmx, opened(htmx, default_model="claude-opus-5-5")))
    assert "Ready" in said
    assert "$" in said
    assert " to " in said


def test_unknown_price_is_said(htmx, settings):
    settings.NYXCORE_LLM = "openai"
    said = page(post(htmx, opened(htmx, default_model="house-model-1")))
    assert "<dd>unknown</dd>" in said
    assert "The price of house-model-1 is unknown" in said


def test_warnings_are_no_mistakes(htmx):
    said = page(post(htmx, opened(htmx, step__1__llm__prompt="Go.")))
    assert "names neither input nor an earlier output" in said
    assert "Ready: 2 steps" in said


def test_drawing_shows_the_needs_also_while_there_are_mistakes(htmx):
    data = opened(htmx, "?template=security-review", name="")
    said = page(post(htmx, data))
    assert said.count('class="node"') == 7
    assert "after 1" in said


# --- save and use ---------------------------------------------------------------------------------------------


def test_save_keeps_a_template_that_is_offered_and_can_be_used(ada, user):
    response = post(ada, opened(ada, name="Mine", slug="mine"), "save")
    template = WorkflowTemplate.objects.get()
    assert (template.owner, template.name, template.slug, template.version) == (user, "Mine", "mine", 1)
    assert response["Location"] == f"{BUILDER}?template=own%3A{template.pk}"
    assert f"?template=own:{template.pk}" in page(ada.get(url("new")))
    made = ada.post(f"{url('new')}?template=own:{template.pk}", {"input-text": "x", "on_cut_off": "stop"})
    assert made.status_code == 302
    assert Workflow.objects.get().template_slug == "mine"


def test_save_again_is_the_next_version_of_the_same_row(ada):
    post(ada, opened(ada, slug="mine"), "save")
    template = WorkflowTemplate.objects.get()
    data = opened(ada, f"?template={template.chosen_as}", name="Better")
    assert post(ada, data, "save").status_code == 302
    template.refresh_from_db()
    assert (template.name, template.version, template.spec["version"]) == ("Better", 2, 2)


def test_save_as_new_makes_a_second_row(ada):
    post(ada, opened(ada, slug="mine"), "save")
    data = opened(ada, f"?template={WorkflowTemplate.objects.get().chosen_as}", slug="other")
    post(ada, data | {"as": "new"}, "save")
    assert sorted(WorkflowTemplate.objects.values_list("slug", flat=True)) == ["mine", "other"]


def test_saving_over_somebody_elses_change_is_refused(ada):
    post(ada, opened(ada, slug="mine"), "save")
    template = WorkflowTemplate.objects.get()
    one, two = (opened(ada, f"?template={template.chosen_as}", name=name) for name in ("One", "Two"))
    post(ada, one, "save")
    response = post(ada, two, "save")
    assert response.status_code == 409
    assert "saved as version 2 in the meantime" in page(response)
    assert sent(page(response))["name"] == ["Two"]


@pytest.mark.parametrize("slug", ["improve", "mine"])
def test_a_slug_that_is_taken_is_said_beside_its_field(ada, slug):
    post(ada, opened(ada, slug="mine"), "save")
    response = post(ada, opened(ada, slug=slug), "save")
    assert response.status_code == 422
    assert "short name" in read_form(page(response)).errors["slug"]


def test_use_leads_to_the_form_of_the_inputs_and_makes_a_run(ada):
    asked = post(ada, opened(ada, name="Just once"), "use")
    assert asked.status_code == 200
    run = ada.post(url("builder-run"), fields_of_run(page(asked)) | {"input-text": "x", "then": "look"})
    workflow = Workflow.objects.get()
    assert run["Location"] == url("detail", workflow.pk)
    assert workflow.name == "Just once"
    assert not WorkflowTemplate.objects.exists()


def fields_of_run(html):
    data = sent(html, "")
    return {"spec": data["spec"], "on_cut_off": data["on_cut_off"]}


def test_use_with_wrong_input_keeps_the_definition(ada):
    asked = page(post(ada, opened(ada, name="Just once"), "use"))
    response = ada.post(url("builder-run"), fields_of_run(asked) | {"input-text": "", "then": "look"})
    assert response.status_code == 422
    assert "Just once" in page(response)
    assert not Workflow.objects.exists()


def test_looking_at_the_builder_makes_nothing(ada):
    for query in ("", "?template=improve", f"?from={make_workflow().pk}"):
        assert ada.get(BUILDER + query).status_code == 200
    assert (Workflow.objects.count(), WorkflowTemplate.objects.count()) == (1, 0)


@pytest.mark.parametrize(
    "query", ["?template=nosuch", "?template=own:1", "?template=own:x", "?from=999", "?from=x"]
)
def test_what_is_not_there_is_404(ada, query):
    assert ada.get(BUILDER + query).status_code == 404


def test_a_template_that_is_no_longer_right_opens_in_the_builder(ada, user):
    spec = catalog.get("improve")
    template = templates_service.save_template(spec.model_copy(update={"slug": "mine"}), by=user)
    template.spec["steps"][0]["config"]["gone"] = 1
    template.save()
    assert ada.get(url("new")).status_code == 200
    response = ada.get(f"{url('new')}?template={template.chosen_as}")
    assert response["Location"] == f"{BUILDER}?template=own%3A{template.pk}"
    shown = page(ada.get(response["Location"]))
    assert "Unknown key gone" in shown
    assert sent(shown)["step-1-more"] == ["gone: 1\r\n"]


def test_many_steps_are_edited_as_yaml(ada, user):
    made = make_workflow([{"key": f"s{number}"} for number in range(200)], owner=user)
    said = page(ada.get(f"{BUILDER}?from={made.pk}"))
    assert "200 steps are more than the form shows" in said
    assert "s199" in sent(said, "yaml-form")["yaml"][0]


# --- who may --------------------------------------------------------------------------------------------------


@pytest.fixture
def hers(ada):
    """A template and a run of Ada's."""
    post(ada, opened(ada, slug="mine", name="Ada's own"), "save")
    return WorkflowTemplate.objects.get(), make_workflow()


def addresses(template, run):
    return [
        f"{BUILDER}?template={template.chosen_as}",
        f"{BUILDER}?from={run.pk}",
        f"{url('builder-yaml')}?template={template.chosen_as}",
        f"{url('builder-yaml')}?from={run.pk}",
        f"{url('new')}?template={template.chosen_as}",
        f"{url('template-export')}?template={template.chosen_as}",
        url("template-delete", template.pk),
        url("duplicate", run.pk),
        url("export", run.pk),
    ]


def test_a_stranger_gets_404_for_each_address(eve, hers):
    assert [eve.get(path).status_code for path in addresses(*hers)] == [404] * 9
    for path in (url("template-delete", hers[0].pk), url("duplicate", hers[1].pk)):
        assert eve.post(path).status_code == 404
    assert WorkflowTemplate.objects.count() == Workflow.objects.count() == 1
    assert "Ada&#x27;s own" not in page(eve.get(url("new")))


def test_staff_see_and_may_open_all(client, staff, hers):
    client.force_login(staff)
    assert [client.get(path).status_code for path in addresses(*hers)] == [200] * 9
    assert "Ada&#x27;s own" in page(client.get(url("new")))


def test_a_stranger_cannot_save_over_a_template(eve, hers):
    data = opened(eve, slug="theirs") | {"template": hers[0].chosen_as, "seen": "1"}
    post(eve, data, "save")
    assert set(WorkflowTemplate.objects.values_list("slug", "owner__username")) == {
        ("mine", "ada"),
        ("theirs", "eve"),
    }


@pytest.mark.parametrize("name", ["builder", "builder-yaml", "builder-run", "template-export"])
def test_nobody_is_sent_to_the_login(client, name):
    assert client.get(url(name))["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("name", ["builder", "builder-yaml", "builder-run"])
def test_a_post_without_token_is_403(user, name):
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assert client.post(url(name), {"do": "save"}).status_code == 403


def test_delete_asks_first(ada, hers):
    assert "will be gone" in page(ada.get(url("template-delete", hers[0].pk)))
    assert WorkflowTemplate.objects.exists()
    assert ada.post(url("template-delete", hers[0].pk))["Location"] == url("new")
    assert not WorkflowTemplate.objects.exists()
