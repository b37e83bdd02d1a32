"""The progress of a bulk action, and its abort."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from nyxcore import bulk, health, undo
from nyxcore.access import signed_in
from nyxcore.models import BulkAction
from nyxcore.states import Status

OPEN = (Status.PENDING, Status.RUNNING)


def _get(request: HttpRequest, pk: int) -> BulkAction:
    rows = BulkAction.objects.visible_to(request.user).defer("rows").select_related("owner")
    return get_object_or_404(rows, pk=pk)


@signed_in
@require_GET
@never_cache
def bulk_page(request: HttpRequest, pk: int) -> HttpResponse:
    """How far it is. With `part=progress` the fragment alone; 204 if `v` is its version still."""
    action = _get(request, pk)
    part = request.GET.get("part") == "progress"
    if part and request.GET.get("v") == _version(action):
        return HttpResponse(status=204)
    return _show(request, action, part=part)


def _version(action: BulkAction) -> str:
    return f"{action.version}-{action.status}"


def _show(request: HttpRequest, action: BulkAction, *, part: bool, status: int = 200) -> HttpResponse:
    source = bulk.SOURCES.get(action.target)
    verb = source.verbs.get(action.verb) if source else None
    is_open = action.status in OPEN
    staff = bool(getattr(request.user, "is_staff", False))
    hidden = action.target == undo.SOURCE.name and not staff  # its rows have pages in the administration only
    way = "" if is_open or action.target == undo.SOURCE.name else undo.way_of_all(action)
    context: dict[str, Any] = {
        "action": action, "verb": verb, "is_open": is_open, "version": _version(action),
        "counted": source.count(action.total) if source else f"{action.total:,}",
        "remarks": [("" if hidden or not source else source.row_url(row), row, said) for row, said in action.remarks],
        "untold": action.skipped + action.failed - len(action.remarks),
        "left": action.total - action.treated,
        "back": source.list_url(action.filter) if source and not hidden else "/",
        "way": way if isinstance(way, undo.Way) else None, "no_way": way if isinstance(way, str) else "",
        "no_worker": health.no_worker_since() if is_open else None, "now": timezone.now(),
        "section": source.nouns if source else "", "refused": status == 409,
    }  # fmt: skip
    return render(request, "_bulk_progress.html" if part else "bulk.html", context, status=status)


@signed_in
@require_POST
def bulk_abort(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Stop it after the row that is being done."""
    action = _get(request, pk)
    stopped = bulk.abort(action, by=request.user)
    htmx: Any = request.htmx  # type: ignore[attr-defined]
    if not htmx and stopped:
        return redirect("bulk", pk=pk)
    return _show(request, _get(request, pk), part=bool(htmx), status=200 if stopped else 409)


@signed_in
@require_POST
def bulk_undo(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Begin to undo what it has done."""
    action = _get(request, pk)
    if action.status in OPEN or not isinstance(undo.way_of_all(action), undo.Way):
        return _show(request, action, part=False, status=409)
    return redirect("bulk", pk=undo.undo_all(action, request.user).pk)
