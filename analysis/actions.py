"""What people do to an analysis: each POST calls one service and answers with the head of the run as it is now.

A state that does not allow it is 409 with the service's sentence. Without htmx the answer is a redirect to the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from analysis import pages, services
from analysis.forms import BudgetForm
from analysis.models import AnalysisRun, Document, Finding, Unit
from analysis.views import get_run, head_context, show
from nyxcore.access import signed_in

VERBS: dict[str, Callable[..., None]] = {
    "start": services.start_analysis,
    "pause": services.pause_analysis,
    "resume": services.resume_analysis,
    "cancel": services.cancel_analysis,
    "retry": services.retry_gaps,
}


@signed_in
@require_POST
def analysis_verb(request: HttpRequest, pk: int, verb: str) -> HttpResponseBase:
    """Start, pause, resume or cancel a run, or retry its gaps."""
    run = get_run(request, pk)
    refused = ""
    try:
        VERBS[verb](run, by=request.user)
    except services.Refused as error:
        refused = str(error)
    if request.htmx:  # type: ignore[attr-defined]
        context = head_context(pages.load(get_run(request, pk)), refused)
        return render(request, "analysis/_run.html", context, status=409 if refused else 200)
    return _refuse(request, run, refused) if refused else redirect(run)


def _refuse(request: HttpRequest, run: AnalysisRun, sentence: str) -> HttpResponse:
    context = {"sentence": sentence, "back": run.get_absolute_url(), "what": "analysis"}
    return render(request, "refused.html", context, status=409)


@signed_in
@require_POST
def budget(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Change the budget, at any time."""
    asked_at = time.time()
    run = get_run(request, pk)
    form = BudgetForm(request.POST)
    if form.is_valid():
        try:
            services.set_budget(run, by=request.user, budget=form.cleaned_data["budget"])
        except services.Refused as error:
            form.add_error("budget", str(error))
    if form.errors:
        return show(
            request, pages.load(run), asked_at, tab="settings", more={"budget_form": form}, status=422
        )
    messages.success(request, "Budget saved.")
    return redirect(f"{run.get_absolute_url()}?tab=settings")


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def analysis_delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Say what is lost, then remove one analysis."""
    run = get_run(request, pk)
    if request.method == "POST":
        try:
            services.delete_analysis(run, by=request.user)
        except services.Refused as refusal:
            return _refuse(request, run, str(refusal))
        except AnalysisRun.DoesNotExist:
            raise Http404("It is gone already.") from None
        messages.success(request, f"Deleted: {run.name}")
        return redirect("analysis:list")
    page = pages.load(run)
    lost: dict[str, Any] = {
        "run": run, "page": page, "section": "analyses", "live": run.status in services.LIVE,
        "findings": Finding.objects.filter(run=run).count(), "units": Unit.objects.filter(run=run).count(),
        "documents": Document.objects.filter(run=run).count(),
        "others": AnalysisRun.objects.filter(owner=run.owner_id, source_key=run.source_key).count() - 1,
    }  # fmt: skip
    return render(request, "analysis/delete.html", lost)
