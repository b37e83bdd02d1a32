"""Named reads of workflows and their steps."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models
from django.db.models import Count, Q, Sum
from django.db.models.functions import Coalesce

from nyxcore.states import Status

if TYPE_CHECKING:
    from workflows.models import Step, StepAttempt, Workflow, WorkflowTemplate  # noqa: F401

DONE = (Status.COMPLETED, Status.SKIPPED)


class WorkflowQuerySet(models.QuerySet["Workflow"]):
    def visible_to(self, user: Any) -> WorkflowQuerySet:
        """Staff see every workflow, others their own."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(owner=user)

    def with_progress(self) -> WorkflowQuerySet:
        """Adds steps_total, steps_done."""
        return self.annotate(
            steps_total=Count("steps", distinct=True),
            steps_done=Count("steps", filter=Q(steps__status__in=DONE), distinct=True),
        )

    def with_cost(self) -> WorkflowQuerySet:
        """Adds cost_total (USD) and tokens_total over all attempts, each in a sub-query of its own."""
        attempts = (
            apps.get_model("workflows", "StepAttempt")
            .objects.filter(step__workflow=models.OuterRef("pk"))
            .values("step__workflow")
        )
        money = attempts.annotate(sum=Sum("cost")).values("sum")
        tokens = attempts.annotate(
            sum=Sum(Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0))
        ).values("sum")
        return self.annotate(cost_total=models.Subquery(money), tokens_total=models.Subquery(tokens))

    def spent_over(self, amount: Decimal) -> WorkflowQuerySet:
        """Those whose attempts have cost more than that (USD)."""
        attempts = apps.get_model("workflows", "StepAttempt").objects.values("step__workflow")
        return self.filter(
            pk__in=attempts.annotate(sum=Sum("cost")).filter(sum__gt=amount).values("step__workflow")
        )


class StepQuerySet(models.QuerySet["Step"]):
    def visible_to(self, user: Any) -> StepQuerySet:
        """The steps of the workflows that `user` may see."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(workflow__owner=user)


class StepAttemptQuerySet(models.QuerySet["StepAttempt"]):
    def visible_to(self, user: Any) -> StepAttemptQuerySet:
        """The attempts of the workflows that `user` may see."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(step__workflow__owner=user)

    def open(self) -> StepAttemptQuerySet:
        return self.filter(status__in=(Status.PENDING, Status.RUNNING, Status.WAITING))


class WorkflowTemplateQuerySet(models.QuerySet["WorkflowTemplate"]):
    def visible_to(self, user: Any) -> WorkflowTemplateQuerySet:
        """Staff see every saved template, others their own."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(owner=user)
