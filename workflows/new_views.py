"""Making a workflow: choose a definition, then fill in its form."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from nyxcore import llm, ui
from nyxcore.access import signed_in
from workflows import catalog, drawing, services, templates_service
from workflows.forms import NewWorkflowForm
from workflows.models import Workflow, WorkflowTemplate
from workflows.specs import SpecError, WorkflowSpec, resolved_needs


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def workflow_new(request: HttpRequest) -> HttpResponseBase:
    """Choose a template, then fill in its form."""
    chosen = request.GET.get("template", "")
    if not chosen:
        templates = [(spec, _stages(spec)) for spec in catalog.load_all().values()]
        own = WorkflowTemplate.objects.visible_to(request.user).select_related("owner")
        return render(
            request,
            "workflows/workflow_new.html",
            {"templates": templates, "own": own, "section": "workflows"},
        )
    try:
        spec = templates_service.find_spec(request.user, chosen)
    except SpecError:  # saved once, no longer right: the builder says why
        return redirect(f"{reverse('workflows:builder')}?{urlencode({'template': chosen})}")
    if spec is None:
        raise Http404("No such template.")
    return fill_in(request, spec, bound=request.method == "POST", chosen=chosen)


def fill_in(
    request: HttpRequest,
    spec: WorkflowSpec,
    *,
    bound: bool,
    initial: dict[str, Any] | None = None,
    copied_from: Workflow | None = None,
    **more: Any,
) -> HttpResponseBase:
    """The form that makes a workflow of a definition; `bound`: the workflow is made, or 422 says what is wrong."""
    form = NewWorkflowForm(spec, request.POST if bound else None)
    form.initial = {**form.initial, **(initial or {})}
    if bound and form.is_valid():
        made = _create(request, spec, form, copied_from)
        if made:
            return redirect(made)
    context = {
        "spec": spec, "form": form, "plan": _plan(spec), "limit": settings.NYXCORE_MAX_INPUT,
        "practice": llm.is_practice(), "section": "workflows",
    } | more  # fmt: skip
    return render(request, "workflows/workflow_form.html", context, status=422 if form.errors else 200)


def _stages(spec: WorkflowSpec) -> list[str]:
    """The titles in order of work; what runs side by side stands together."""
    titles = {step.key: step.title for step in spec.steps}
    return [
        ", ".join(titles[key] for key in layer)
        for layer in drawing.layers(list(resolved_needs(spec).items()))
    ]


def _create(
    request: HttpRequest, spec: WorkflowSpec, form: NewWorkflowForm, copied_from: Workflow | None
) -> Workflow | None:
    """The new workflow, started if that was asked for; None with the problems put into the form."""
    data, name = form.cleaned_data, ui.printable(form.cleaned_data["name"])
    # What was emptied in the form is empty, whatever the definition says.
    chosen = {field: data[field] for field in ("default_model", "on_cut_off", "budget")}
    spec, values = spec.model_copy(update=chosen), form.data_of_inputs()
    try:
        if copied_from:
            workflow = templates_service.duplicate_workflow(
                copied_from, by=request.user, spec=spec, data=values, name=name
            )
        else:
            workflow = services.create_workflow(owner=request.user, spec=spec, data=values, name=name)
    except SpecError as error:
        form.add_problems(error.problems)
        return None
    except services.Refused as error:
        form.add_error("budget" if data["budget"] else None, str(error))
        return None
    if request.POST.get("then") == "start":
        services.start_workflow(workflow, by=request.user)
    return workflow


def _plan(spec: WorkflowSpec) -> list[dict[str, str]]:
    """What the form says of each step: which model, how much room."""
    plan = []
    for step in spec.steps:
        room = step.config.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS
        about = f"up to {room:,} tokens" if step.kind == "llm" else "waits for a person"
        model = step.config.get("model")
        plan.append({"title": step.title, "about": f"{model}, {about}" if model else about})
    return plan
