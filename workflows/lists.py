"""The list of workflows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from nyxcore import lists
from nyxcore.access import signed_in
from nyxcore.states import Status
from workflows import bulk
from workflows.filters import Filter
from workflows.models import Workflow
from workflows.querysets import WorkflowQuerySet


@signed_in
@require_GET
@vary_on_headers("HX-Request")
def workflow_list(request: HttpRequest) -> HttpResponse:
    """The runs that the person may see and the filter lets through."""
    visible = Workflow.objects.visible_to(request.user)
    return lists.show(request, LISTING, visible, lambda: _choices(visible))


def _choices(visible: WorkflowQuerySet) -> dict[str, Any]:
    """What only this list's filter form offers."""
    slugs = (
        visible.exclude(template_slug="").order_by("template_slug").values_list("template_slug", flat=True)
    )
    return {
        "filter_fields": "workflows/_filter_fields.html", "templates": list(slugs.distinct()[:200]),
        "today": datetime.now(UTC).date(),
    }  # fmt: skip


def _whole(pks: list[int]) -> Mapping[int, Workflow]:
    full = Workflow.objects.filter(pk__in=pks).with_progress().with_cost().select_related("owner")
    return full.defer("input", "inputs", "description").in_bulk()


LISTING = lists.Listing(
    "workflows", bulk.SOURCE, Filter, "steps__attempts__cost", (Status.RUNNING.value,), _whole
)
