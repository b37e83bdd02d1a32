"""Analyses on behalf of somebody else's run: begun once, looked at until they end, and handed over as texts."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.contrib.auth import get_user_model
from django.contrib.postgres.aggregates import BoolOr
from django.db.models import Sum

from analysis import exports
from analysis.models import AnalysisRun, Document, Unit, UnitAttempt, UnitKind
from analysis.plain import Options
from analysis.services.base import LIVE
from analysis.services.create import create_analysis
from analysis.services.runs import cancel_analysis, start_analysis
from nyxcore.states import NEXT_ACTION, Reason, Status

S = Status
OPERATOR = "operator"


@dataclass(frozen=True)
class Handed:
    """What has become of an analysis: `failed` says why there is no result, `said` what it waits for."""

    done: bool = False
    failed: str = ""
    said: str = ""
    findings: str = ""
    documents: str = ""


def begin_for(
    origin: str,
    *,
    owner: int,
    location: str,
    ref: str,
    sub_path: str,
    options: Options,
    budget: Decimal | None,
) -> int:
    """The analysis for `origin` (a step), begun unless it is under way already; its primary key."""
    begun = AnalysisRun.objects.filter(owner=owner, origin=origin, status__in=(S.PENDING, *LIVE)).first()
    user = get_user_model().objects.get(pk=owner)
    if begun is None:
        begun = create_analysis(
            owner=user,
            source_kind="git",
            location=location,
            ref=ref,
            sub_path=sub_path,
            options=options,
            budget=budget,
            origin=origin,
        )
    if begun.status == S.PENDING:
        start_analysis(begun, by=user, kind=OPERATOR)
    return int(begun.pk)


def look_at(pk: int) -> Handed:
    """What has become of it; findings and documents as Markdown once it is completed."""
    run = AnalysisRun.objects.filter(pk=pk).first()
    if run is None:
        return Handed(failed="The analysis was deleted.")
    if run.status == S.COMPLETED:
        return Handed(done=True, findings=exports.as_markdown(run), documents=documents_of(run))
    label = str(Reason(run.reason).label) if run.reason in Reason.values else ""
    if run.status in (S.FAILED, S.CANCELLED):
        return Handed(failed=f"The analysis {run.pk} is {Status(run.status).label.lower()}. {label}".strip())
    return Handed(said=f"{label} {NEXT_ACTION.get(run.reason, '')}".strip())


def spent(pk: int) -> tuple[Decimal, bool]:
    """USD that it has cost so far, and whether a part of that is estimated."""
    rows = UnitAttempt.objects.filter(unit__run=pk, cost__isnull=False)
    found = rows.aggregate(sum=Sum("cost"), estimated=BoolOr("cost_estimated"))
    return found["sum"] or Decimal(0), bool(found["estimated"])


def documents_of(run: AnalysisRun) -> str:
    """The documents of a run, page after page."""
    parts = []
    for document in Document.objects.filter(run=run).prefetch_related("pages").order_by("slug"):
        parts.append(f"# {document.title}")
        parts += [f"## {page.title}\n\n{page.text}" for page in document.pages.all() if page.text]
    return "\n\n".join(parts)


def repository(pk: int) -> tuple[str, str]:
    """(tree with the names that matter most, the repository's own guidance) of an analysed source."""
    source = Unit.objects.filter(run=pk, kind=UnitKind.SOURCE).first()
    result = source.result if source else {}
    return str(result.get("map", "")), str(result.get("guide", ""))


def abandon(pk: int) -> None:
    """Cancel it where nobody waits for it any more."""
    run = AnalysisRun.objects.filter(pk=pk, status__in=(S.PENDING, *LIVE)).select_related("owner").first()
    if run is not None:
        cancel_analysis(run, by=run.owner, kind=OPERATOR)
