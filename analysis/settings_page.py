"""What a run was told: source, options, budget; and what can be taken along or removed."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from analysis.documents import DOCUMENTS
from analysis.forms import BudgetForm
from analysis.models import AnalysisRun
from analysis.pages import Page
from analysis.plan import model_of
from analysis.rows import options_of
from analysis.summary import asked


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run, options = page.run, options_of(page.run)
    earlier = AnalysisRun.objects.visible_to(request.user).filter(
        owner=run.owner_id, source_key=run.source_key
    )
    return {
        "options": options, "asked": asked(run), "model": model_of(run, "chunk"),
        "verify_model": model_of(run, "verify"),
        "titles": [DOCUMENTS[slug].title for slug in options.documents if slug in DOCUMENTS],
        "budget_form": BudgetForm(initial={"budget": run.budget.normalize() if run.budget else None}),
        "others": earlier.exclude(pk=run.pk).only("name", "status", "created_at", "commit").order_by("-pk")[:10],
    }  # fmt: skip
