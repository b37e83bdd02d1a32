"""Named reads of analyses, their units and what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps
from django.db import models
from django.db.models import Count, OuterRef, Q, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from nyxcore.states import Status

if TYPE_CHECKING:
    from analysis.models import AnalysisRun, Finding  # noqa: F401

S = Status
ACTIVE = (S.SCANNING, S.ANALYZING, S.GENERATING, S.WAITING, S.PAUSED)
DONE = (S.COMPLETED, S.SKIPPED)
SEVERITIES = ("critical", "high", "medium", "low")
M = TypeVar("M", bound=models.Model)


class OwnedQuerySet(models.QuerySet[M]):
    """Rows that belong to somebody, directly or through their run."""

    owner_path = "run__owner"

    def visible_to(self, user: Any) -> OwnedQuerySet[M]:
        """Staff see every row, others those of their own analyses."""
        if not user.is_authenticated:
            return self.none()
        return self if user.is_staff else self.filter(**{self.owner_path: user})


class OfOwnerQuerySet(OwnedQuerySet[M]):
    owner_path = "owner"


class AttemptQuerySet(OwnedQuerySet[M]):
    owner_path = "unit__run__owner"

    def open(self) -> AttemptQuerySet[M]:
        return self.filter(status__in=(S.PENDING, S.RUNNING, S.WAITING))


class RunQuerySet(OfOwnerQuerySet["AnalysisRun"]):
    def with_progress(self) -> RunQuerySet:
        """Adds units_total, units_done, units_failed, units_reused."""
        units = apps.get_model("analysis", "Unit").objects.filter(run=OuterRef("pk")).order_by().values("run")

        def count(condition: Q) -> Coalesce:
            counted = units.filter(condition).annotate(n=Count("pk")).values("n")
            return Coalesce(Subquery(counted), Value(0))

        return self.annotate(
            units_total=count(Q()),
            units_done=count(Q(status__in=DONE)),
            units_failed=count(Q(status=S.FAILED)),
            units_reused=count(Q(reused_from__isnull=False)),
        )

    def with_cost(self) -> RunQuerySet:
        """Adds cost_total (USD) and tokens_total over all attempts."""
        attempts = (
            apps.get_model("analysis", "UnitAttempt")
            .objects.filter(unit__run=OuterRef("pk"))
            .order_by()
            .values("unit__run")
        )
        tokens = Sum(Coalesce("input_tokens", 0) + Coalesce("output_tokens", 0))
        return self.annotate(
            cost_total=Subquery(attempts.annotate(sum=Sum("cost")).values("sum")),
            tokens_total=Subquery(attempts.annotate(sum=tokens).values("sum")),
        )


class FindingQuerySet(OwnedQuerySet["Finding"]):
    def kept(self) -> FindingQuerySet:
        """Without those that another finding of the run stands for."""
        return self.filter(kept_as=None)

    def credible(self) -> FindingQuerySet:
        """Without those that the second look refuted."""
        return self.exclude(verdict__verdict="refuted")
