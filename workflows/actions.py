"""What people do to a run or a step: each POST calls one service and answers with the changed fragment.

A state that does not allow it is 409 with the service's sentence, a form error 422; both as HTML. Without htmx the
answer is a redirect back to the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from nyxcore.access import signed_in
from nyxcore.llm import models as registry
from workflows import limits, services
from workflows.forms import ApproveForm, RemedyForm, RetryForm, SendBackForm, SettingsForm, SkipForm
from workflows.models import Step, Workflow
from workflows.views import get_step, get_workflow, load_run, render_run, render_step

VERBS: dict[str, Callable[..., None]] = {
    "start": services.start_workflow,
    "pause": services.pause_workflow,
    "resume": services.resume_workflow,
    "cancel": services.cancel_workflow,
}


def _is_htmx(request: HttpRequest) -> bool:
    return bool(request.htmx)  # type: ignore[attr-defined]


@signed_in
@require_POST
def workflow_verb(request: HttpRequest, pk: int, verb: str) -> HttpResponseBase:
    """Start, pause, resume or cancel a run."""
    workflow = get_workflow(request, pk)
    return act_on_run(request, workflow, lambda: VERBS[verb](workflow, by=request.user))


def act_on_run(request: HttpRequest, workflow: Workflow, act: Callable[[], Any]) -> HttpResponseBase:
    """Act, then show the head of the run as it is now; what the state does not allow is 409."""
    try:
        act()
    except services.Refused as error:
        return _refuse_run(request, workflow, str(error))
    if not _is_htmx(request):
        return redirect(workflow)
    return render_run(request, load_run(get_workflow(request, workflow.pk)))


def _refuse_run(request: HttpRequest, workflow: Workflow, sentence: str) -> HttpResponse:
    if not _is_htmx(request):
        return render(
            request, "refused.html", {"sentence": sentence, "back": workflow.get_absolute_url()}, status=409
        )
    return render_run(request, load_run(get_workflow(request, workflow.pk)), refused=sentence, status=409)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def workflow_settings(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The settings of a run, for its panel or as a page."""
    workflow = get_workflow(request, pk)
    form = _settings_form(workflow, request.POST if request.method == "POST" else None)
    context: dict[str, Any] = {
        "workflow": workflow, "form": form, "section": "workflows",
        "default_model": registry.default_model() or "none",
    }  # fmt: skip
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            services.update_settings(workflow, by=request.user, **form.changes())
        except services.Refused as error:
            context["refused"], status = str(error), 409
        else:
            if not _is_htmx(request):
                messages.success(request, "Settings saved.")
                return redirect(workflow)
            workflow = get_workflow(request, pk)
            context |= {"workflow": workflow, "form": _settings_form(workflow), "saved": True}
    elif form.errors:
        status = 422
    name = "_settings_form" if _is_htmx(request) else "settings_page"
    return render(request, f"workflows/{name}.html", context, status=status)


def _settings_form(workflow: Workflow, data: Any = None) -> SettingsForm:
    steps = Step.objects.filter(workflow=workflow).only(
        "workflow", "position", "key", "title", "kind", "status", "config"
    )
    past = limits.measure(workflow.template_slug) if workflow.template_slug else []
    return SettingsForm(workflow, list(steps.order_by("position")), data, past)


# --- one step -------------------------------------------------------------------------------------------------


@signed_in
@require_POST
def step_retry(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Try again: as it is, with more room (`max_tokens` alone), or with the changes of the form."""
    step = get_step(request, pk, step_pk)
    if "prompt" in request.POST:
        form = RetryForm(step, step.workflow, request.POST)
        return _with_form(
            request, step, form, lambda: services.retry_step(step, by=request.user, **form.changes())
        )
    room = request.POST.get("max_tokens", "")
    more = int(room) if room.isascii() and room.isdecimal() and len(room) < 10 else None
    return _do(request, step, lambda: services.retry_step(step, by=request.user, max_tokens=more))


@signed_in
@require_POST
def step_continue(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Ask the model to go on where its answer was cut."""
    step = get_step(request, pk, step_pk)
    return _do(request, step, lambda: services.retry_step(step, by=request.user, continue_text=True))


@signed_in
@require_POST
def step_accept(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Let a cut answer pass as it is."""
    step = get_step(request, pk, step_pk)
    return _do(request, step, lambda: services.accept_step(step, by=request.user))


@signed_in
@require_POST
def step_skip(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Go on without the step's result."""
    step = get_step(request, pk, step_pk)
    form = SkipForm(request.POST, auto_id=f"id_skip_{step.pk}_%s")
    return _with_form(
        request, step, form,
        lambda: services.skip_step(step, by=request.user, replacement=form.cleaned_data["replacement"]),
    )  # fmt: skip


@signed_in
@require_POST
def step_approve(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Let the reviewed text of a gate pass, edited if a text comes along."""
    step = get_step(request, pk, step_pk)
    if "text" not in request.POST:
        return _do(request, step, lambda: services.approve_step(step, by=request.user))
    form = ApproveForm(request.POST, auto_id=f"id_approve_{step.pk}_%s")
    return _with_form(
        request, step, form,
        lambda: services.approve_step(step, by=request.user, text=form.cleaned_data["text"].replace("\r\n", "\n")),
    )  # fmt: skip


@signed_in
@require_POST
def step_send_back(request: HttpRequest, pk: int, step_pk: int) -> HttpResponseBase:
    """Have the reviewed step answer again, with a comment."""
    step = get_step(request, pk, step_pk)
    form = SendBackForm(request.POST, auto_id=f"id_back_{step.pk}_%s")
    return _with_form(
        request,
        step,
        form,
        lambda: services.send_back_step(step, by=request.user, comment=form.cleaned_data["comment"]),
    )


def _with_form(
    request: HttpRequest, step: Step, form: RemedyForm, act: Callable[[], Any]
) -> HttpResponseBase:
    """Act if the form is valid; else 422 with what was typed and what is wrong."""
    if form.is_valid():
        return _do(request, step, act, bound=form)
    if _is_htmx(request):
        return render_step(request, step, opened=True, bound=form, status=422)
    context = {
        "form": form,
        "step": step,
        "line": {"url": step.get_absolute_url()},
        "workflow": step.workflow,
    }
    return render(request, "workflows/remedy_page.html", context, status=422)


def _do(
    request: HttpRequest, step: Step, act: Callable[[], Any], bound: RemedyForm | None = None
) -> HttpResponseBase:
    """Act, then show the step as it is now; what the state does not allow is 409, and what was typed comes back."""
    try:
        act()
    except services.Refused as error:
        return _refuse_step(request, step, str(error), bound)
    if not _is_htmx(request):
        return redirect(f"{step.workflow.get_absolute_url()}#{step.dom_id}")
    return render_step(request, _again(request, step), opened=True)


def _refuse_step(request: HttpRequest, step: Step, sentence: str, bound: RemedyForm | None) -> HttpResponse:
    if _is_htmx(request):
        return render_step(
            request, _again(request, step), opened=True, refused=sentence, bound=bound, status=409
        )
    back = f"{step.workflow.get_absolute_url()}#{step.dom_id}"
    return render(request, "refused.html", {"sentence": sentence, "back": back}, status=409)


def _again(request: HttpRequest, step: Step) -> Step:
    return get_step(request, step.workflow_id, step.pk)
