"""Acts on all workflows that match a filter: asked first, with the count; and the deletion of one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from nyxcore.access import signed_in
from nyxcore.bulk_confirm import confirm
from workflows import bulk, services
from workflows.models import StepAttempt, Workflow
from workflows.views import get_workflow


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_confirm(request: HttpRequest, verb: str) -> HttpResponseBase:
    """Ask before something is done to all workflows that match."""
    return confirm(request, bulk.ACTS, bulk.SOURCE, verb)


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def workflow_delete(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Say what is lost, then remove one workflow."""
    workflow = get_workflow(request, pk)
    if request.method == "POST":
        try:
            services.delete_workflow(workflow, by=request.user)
        except services.Refused as refusal:
            context = {"sentence": str(refusal), "back": workflow.get_absolute_url()}
            return render(request, "refused.html", context, status=409)
        except Workflow.DoesNotExist:
            raise Http404("It is gone already.") from None
        messages.success(request, f"Deleted: {workflow.name}")
        return redirect("workflows:list")
    whole = Workflow.objects.with_progress().with_cost().get(pk=pk)
    lost: dict[str, Any] = {
        "workflow": workflow, "whole": whole, "section": "workflows",
        "attempts": StepAttempt.objects.filter(step__workflow=pk).count(),
        "live": workflow.status not in bulk.RULES["delete"].does,
    }  # fmt: skip
    return render(request, "workflows/workflow_delete.html", lost)
