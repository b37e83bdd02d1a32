"""Mending more than one step: all that is cut off, or everything from a step on. Same answers as in actions.py."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from nyxcore.access import signed_in
from workflows import cutsteps, services, stepfacts
from workflows.actions import act_on_run
from workflows.models import Step
from workflows.rerun_forms import RerunForm
from workflows.views import get_step, get_workflow

FOR_ALL_CUT = {"retry": cutsteps.retry_with_double_room, "accept": cutsteps.accept_all}


@signed_in
@require_POST
def cut_steps(request: HttpRequest, pk: int, verb: str) -> HttpResponseBase:
    """Retry every cut step with double room, or accept all as they are."""
    workflow = get_workflow(request, pk)
    return act_on_run(request, workflow, lambda: FOR_ALL_CUT[verb](workflow, by=request.user))


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def step_rerun(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """What running again from a step would do, with what may be changed first; a POST does it.

    With do=look a POST only shows the plan again, with the price of the changes.
    """
    step = get_step(request, pk, step_pk)
    try:
        services.refuse_rerun(step.workflow)
        services.check_needs(step.workflow, step)
    except services.Refused as error:
        return _refused(request, step, str(error))
    plan = services.plan_rerun(step)
    if request.method != "POST":
        return _page(request, step, plan, RerunForm(step.workflow, plan))
    form = RerunForm(step.workflow, plan, request.POST)
    if not form.is_valid():
        return _page(request, step, plan, form, status=422)
    edits = form.edits()
    if request.POST.get("do") == "look":
        return _page(request, step, services.plan_rerun(step, edits.configs), form)
    try:
        services.rerun_from(
            step, by=request.user, config_edits=edits.configs, output_edits=edits.outputs,
            input_edits=edits.inputs, seen=form.cleaned_data["seen"],
        )  # fmt: skip
    except services.Refused as error:
        return _page(request, step, plan, form, refused=str(error), status=409)
    return redirect(f"{step.workflow.get_absolute_url()}#{step.dom_id}")


def _page(
    request: HttpRequest,
    step: Step,
    plan: services.RerunPlan,
    form: RerunForm,
    *,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "step": step, "workflow": step.workflow, "plan": plan, "form": form, "refused": refused,
        "price": stepfacts.Price(plan.cost_low, plan.cost_high).said, "section": "workflows",
        "kept": [other for other in plan.reused if other.status == "completed"],
        "skipped": [other for other in plan.reused if other.status == "skipped"],
    }  # fmt: skip
    return render(request, "workflows/rerun.html", context, status=status)


def _refused(request: HttpRequest, step: Step, sentence: str) -> HttpResponse:
    back = f"{step.workflow.get_absolute_url()}#{step.dom_id}"
    return render(request, "refused.html", {"sentence": sentence, "back": back}, status=409)
