"""What can be done to all analyses that match a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import QueryDict

from analysis import engine, services
from analysis.filters import Filter
from analysis.models import AnalysisRun
from nyxcore.bulk import Skipped, Source, Verb

VERBS: dict[str, tuple[Callable[..., None], tuple[str, str, str]]] = {
    "cancel": (services.cancel_analysis, ("Cancel", "Cancelling", "cancelled")),
    "retry": (services.resume_analysis, ("Retry failed", "Retrying", "resumed")),
    "delete": (services.delete_analysis, ("Delete", "Deleting", "deleted")),
}


def _act(service: Callable[..., None]) -> Callable[[int, Any, str], None]:
    def act(pk: int, by: Any, query: str) -> None:
        """Under the run's lock: does it match still? Then the service decides."""
        try:
            run = engine.lock(pk)
        except AnalysisRun.DoesNotExist:
            raise Skipped("It is gone.") from None
        mine = AnalysisRun.objects.filter(pk=pk).visible_to(by)
        if not Filter.read(QueryDict(query), by).apply(mine).exists():
            raise Skipped("It does not match the filter any more.")
        try:
            service(run, by=by)
        except services.Refused as refusal:
            raise Skipped(str(refusal)) from None

    return act


def list_url(query: str) -> str:
    return f"/analysis/?{query}" if query else "/analysis/"


SOURCE = Source(
    "analysis",
    "analysis",
    "analyses",
    {name: Verb(name, *labels, _act(service)) for name, (service, labels) in VERBS.items()},
    list_url,
    lambda pk: f"/analysis/{pk}/",
)
