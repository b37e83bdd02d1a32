"""Acts on all workflows that match a filter: asked first, with the count; and the deletion of one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from nyxcore import bulk as kernel
from nyxcore.access import signed_in
from nyxcore.models import BulkAction
from workflows import bulk, services
from workflows.filters import Filter
from workflows.models import StepAttempt, Workflow
from workflows.views import get_workflow

EXAMPLES = 8  # names on the page that asks


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_confirm(request: HttpRequest, verb: str) -> HttpResponseBase:
    """Ask with the exact count; a POST that names this count begins, any other is asked again."""
    if verb not in bulk.RULES:
        raise Http404("No such action.")
    posted = request.method == "POST"
    asked: QueryDict = request.POST if posted else request.GET
    chosen = Filter.read(asked, request.user)
    plan = bulk.plan(verb, chosen.apply(Workflow.objects.visible_to(request.user)))
    refused = _refusal(verb, chosen, plan)
    if refused:
        return _ask(request, verb, chosen, plan, refused=refused, status=422)
    if not posted:
        return _ask(request, verb, chosen, plan)
    changed = _changed(asked, plan)
    if changed:
        return _ask(request, verb, chosen, plan, again=changed, status=409)
    return redirect("bulk", pk=_begin(request, verb, chosen, plan).pk)


def _refusal(verb: str, chosen: Filter, plan: bulk.Plan) -> str:
    """Why this cannot be asked for at all; "" when it can."""
    label = bulk.LABELS[verb][0].lower()
    if chosen.wrong:
        return " ".join(chosen.wrong.values())
    if chosen.is_empty:
        return (
            f"This would {label} every workflow there is. Narrow the list first, by status, name, template or time; "
            "the action is then for what matches."
        )
    if plan.total > kernel.AT_MOST:
        return f"{plan.total:,} workflows match; at most {kernel.AT_MOST:,} go at once. Narrow the filter."
    if not plan.total:
        return "No workflow matches this filter, so there is nothing to do."
    if not plan.changed:
        return f"None of the {kernel_count(plan.total)} that match can be {bulk.LABELS[verb][2]} now."
    return ""


def kernel_count(number: int) -> str:
    return bulk.SOURCE.count(number)


def _changed(posted: QueryDict, plan: bulk.Plan) -> str:
    """What is different from what was confirmed; "" when nothing is."""
    total, changed = posted.get("count", "")[:12], posted.get("changed", str(plan.changed))[:12]
    if not (total.isdecimal() and changed.isdecimal() and (total + changed).isascii()):
        return "Confirm the number first."
    if int(total) != plan.total:
        return f"{int(total):,} matched when you were asked; now {plan.total:,} do. Nothing was done yet."
    if int(changed) < plan.changed:
        return f"{int(changed):,} could be changed when you were asked; now {plan.changed:,} can. Nothing was done yet."
    return ""


def _ask(
    request: HttpRequest,
    verb: str,
    chosen: Filter,
    plan: bulk.Plan,
    *,
    refused: str = "",
    again: str = "",
    status: int = 200,
) -> HttpResponse:
    examples = Workflow.objects.filter(pk__in=plan.pks[-EXAMPLES:]).order_by("-pk").only("name", "status")
    context: dict[str, Any] = {
        "verb": bulk.SOURCE.verbs[verb], "plan": plan, "filter": chosen, "refused": refused, "again": again,
        "counted": kernel_count(plan.changed), "back": bulk.list_url(chosen.query()), "section": "workflows",
        "examples": examples if not refused else [], "unnamed": plan.total - EXAMPLES,
    }  # fmt: skip
    return render(request, "workflows/bulk_confirm.html", context, status=status)


def _begin(request: HttpRequest, verb: str, chosen: Filter, plan: bulk.Plan) -> BulkAction:
    """A new bulk action; the one that is under way where the same was asked for twice."""
    query = chosen.query()
    same = BulkAction.objects.open().filter(
        owner=request.user.pk, target=bulk.SOURCE.name, verb=verb, filter=query
    )
    return same.first() or kernel.begin(
        by=request.user, source=bulk.SOURCE, verb=bulk.SOURCE.verbs[verb], query=query, said=chosen.said,
        rows=plan.pks,
    )  # fmt: skip


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
