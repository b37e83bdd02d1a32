"""Workflows, steps and attempts in the Django admin: rows to look at, and the verbs of an operator."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from nyxcore.admin import (
    AgeFilter,
    Explained,
    ReadOnlyAdmin,
    ReasonFilter,
    StatusFilter,
    row_link,
)
from nyxcore.admin_acts import OperatedAdmin
from nyxcore.admin_audit import audited
from nyxcore.dbtime import ago
from nyxcore.models import Worker
from nyxcore.states import Status
from workflows import explain, operated
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow, WorkflowTemplate

WORKERS_LISTED = 50

audited([Workflow, Step, StepAttempt])


class WorkerFilter(admin.SimpleListFilter):
    """Rows with an attempt that runs on a worker; `gone`: on one whose lease has passed."""

    title, parameter_name = "worker", "worker"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.path = model_admin.attempt_path
        names = Worker.objects.order_by("-seen_at").values_list("name", flat=True)[:WORKERS_LISTED]
        return [("gone", "lease has passed"), *((name, name) for name in names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        held = Q(due_at__lt=ago(0)) if self.value() == "gone" else Q(worker=self.value())
        if not self.path:
            return queryset.filter(held, status=Status.RUNNING)
        running = StepAttempt.objects.filter(held, status=Status.RUNNING, **{self.path: OuterRef("pk")})
        return queryset.filter(Exists(running))


class Operated(Explained, OperatedAdmin):
    """Such rows with the verbs of an operator."""


@admin.register(Workflow)
class WorkflowAdmin(Operated):
    source = operated.WORKFLOWS
    attempt_path = "step__workflow"
    list_display = (
        "id",
        "name",
        "owner",
        "status_word",
        "reason",
        "progress",
        "status_changed_at",
        "template_slug",
    )
    list_display_links = ("id", "name")
    list_filter = (StatusFilter, ReasonFilter, WorkerFilter, AgeFilter, "template_slug")
    list_select_related = ("owner",)
    search_fields = ("name", "owner__username", "id__exact")
    readonly_fields = ("explanation", "related")
    explain = staticmethod(explain.explain)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        steps = Step.objects.filter(workflow=OuterRef("pk")).order_by().values("workflow")
        total = steps.annotate(n=Count("pk")).values("n")
        done = steps.filter(status__in=DONE).annotate(n=Count("pk")).values("n")
        rows = super().get_queryset(request).select_related("owner", "held_by", "copied_from")
        found: QuerySet[Any] = rows.annotate(steps_total=Subquery(total), steps_done=Subquery(done))
        return found

    def view_on_site(self, obj: Workflow) -> str:
        return obj.get_absolute_url()

    @admin.display(description="progress")
    def progress(self, workflow: Any) -> str:
        return f"{workflow.steps_done or 0} of {workflow.steps_total or 0}"

    @admin.display(description="more")
    def related(self, workflow: Workflow) -> SafeString:
        return _links(
            ("workflows_step", "steps", {"workflow__id__exact": workflow.pk}),
            ("workflows_stepattempt", "attempts", {"step__workflow__id__exact": workflow.pk}),
            ("nyxcore_auditentry", "audit entries", {"model__exact": "workflow", "row": workflow.pk}),
        )


@admin.register(Step)
class StepAdmin(Operated):
    source = operated.STEPS
    attempt_path = "step"
    list_display = ("id", "run", "position", "title", "kind", "status_word", "reason", "status_changed_at")
    list_display_links = ("id", "title")
    list_filter = (StatusFilter, ReasonFilter, WorkerFilter, AgeFilter, "kind")
    list_select_related = ("workflow",)
    search_fields = ("title", "key", "workflow__name", "id__exact")
    readonly_fields = ("explanation", "related")
    explain = staticmethod(explain.explain_step)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows = super().get_queryset(request).select_related("workflow__owner", "workflow__held_by")
        return rows.defer("workflow__input", "workflow__inputs", "workflow__description")

    def view_on_site(self, obj: Step) -> str:
        return obj.get_absolute_url()

    @admin.display(description="workflow", ordering="workflow")
    def run(self, step: Step) -> SafeString | str:
        return row_link(Workflow, step.workflow_id, f"{step.workflow_id} {step.workflow.name}")

    @admin.display(description="more")
    def related(self, step: Step) -> SafeString:
        return _links(
            ("workflows_stepattempt", "attempts", {"step__id__exact": step.pk}),
            ("nyxcore_auditentry", "audit entries", {"model__exact": "step", "row": step.pk}),
        )


@admin.register(StepAttempt)
class StepAttemptAdmin(Operated):
    source = operated.ATTEMPTS
    attempt_path = ""
    explain = staticmethod(explain.explain_attempt)
    list_display = (
        "id",
        "of_step",
        "number",
        "cause_word",
        "status_word",
        "reason",
        "worker",
        "heartbeat_at",
        "due_at",
    )
    list_filter = (StatusFilter, ReasonFilter, WorkerFilter, AgeFilter, "cause", "kind")
    list_select_related = ("step",)
    search_fields = ("step__title", "step__key", "worker", "request_id", "id__exact")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """The list is reached from a workflow too."""
        allowed = super().lookup_allowed(lookup, value, request)  # type: ignore[arg-type]
        return allowed or lookup == "step__workflow__id__exact"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        related = ("step__workflow__owner", "step__workflow__held_by", "caused_by")
        rows = super().get_queryset(request).select_related(*related)
        unused = ("input", "inputs", "description")
        return rows.defer("step__output", "step__config", *(f"step__workflow__{name}" for name in unused))

    def view_on_site(self, obj: StepAttempt) -> str:
        return obj.step.get_absolute_url()

    @admin.display(description="cause", ordering="cause")
    def cause_word(self, attempt: StepAttempt) -> str:
        return attempt.cause

    @admin.display(description="step", ordering="step")
    def of_step(self, attempt: StepAttempt) -> SafeString | str:
        return row_link(Step, attempt.step_id, f"{attempt.step.workflow_id} / {attempt.step.title}")


@admin.register(WorkflowTemplate)
class WorkflowTemplateAdmin(ReadOnlyAdmin):
    list_select_related = ("owner",)


def _links(*places: tuple[str, str, dict[str, Any]]) -> SafeString:
    """Links to lists of other rows."""
    made = ((reverse(f"admin:{name}_changelist"), urlencode(query), text) for name, text, query in places)
    return format_html_join(" · ", '<a href="{}?{}">{}</a>', made)
