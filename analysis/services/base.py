"""What all verbs share: one audited transaction under the lock, refusals, and checks of what a person chose."""

from __future__ import annotations

from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

from analysis import engine
from analysis.analyzers import MODEL_ANALYZERS
from analysis.documents import DOCUMENTS
from analysis.models import AnalysisRun, UnitAttempt
from analysis.plain import Options
from nyxcore import verbs
from nyxcore.llm import models as registry
from nyxcore.states import Status
from nyxcore.verbs import Refused as Refused

S = Status
LIVE = engine.LIVE
CLOSED = engine.CLOSED
TABLE = UnitAttempt._meta.db_table
UNCHANGED: Any = object()


def verb(
    run_pk: int, by: Any, action: str, *, kind: str = "person", detail: str = ""
) -> AbstractContextManager[AnalysisRun]:
    """One audited transaction of a person on a locked run."""
    return verbs.verb(engine.lock, run_pk, by, action, kind=kind, detail=detail)


def word(run: AnalysisRun) -> str:
    """Its status as people say it."""
    if run.status == S.WAITING:
        return "waiting for confirmation"
    return str(Status(run.status).label).lower()


def check_options(options: Options) -> None:
    """Refuse what no analysis can do."""
    for chosen, known, noun in (
        (options.analyzers, MODEL_ANALYZERS, "analyzer"),
        (options.documents, DOCUMENTS, "document"),
    ):
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise Refused(f"There is no {noun} {unknown[0]}. There are: {', '.join(known)}.")
    if options.max_tokens_read < 1:
        raise Refused("The token budget of files must be above 0.")


def check_budget(options: Options, budget: Decimal | None) -> None:
    """A budget holds only where every price is known."""
    if budget is None:
        return
    if budget <= 0:
        raise Refused("A budget must be above 0.")
    model = options.model or registry.default_model()
    for name in {model, options.verify_model or model}:
        if registry.worst_case(name, 1, 1) is None:
            raise Refused(
                f"The price of {name} is unknown, so a budget cannot be kept. Choose another model or no budget."
            )
