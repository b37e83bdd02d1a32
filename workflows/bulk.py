"""What can be done to all workflows that match a filter."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from nyxcore.bulk_acts import Acts, Rule
from nyxcore.states import Status
from workflows import engine, services
from workflows.filters import Filter
from workflows.models import Step, Workflow

S = Status
CUT = "cut"  # failed, with an answer that was cut off: needs a decision, not another try

RULES = {
    "cancel": Rule(
        services.cancel_workflow,
        {
            S.RUNNING: "stopped now; what is written so far is kept, and it can be resumed",
            S.PAUSED: "ended; what is written so far is kept, and it can be resumed",
            S.PENDING: "cancelled before the first step",
        },
        dict.fromkeys((S.COMPLETED, S.FAILED, S.CANCELLED), "has ended already"),
    ),
    "retry": Rule(
        services.resume_workflow,
        {S.FAILED: "resumed: what failed runs again, what is completed is kept and not paid twice"},
        {
            CUT: "has an answer that was cut off; decide there between more room, continue and accept",
            **dict.fromkeys((S.RUNNING, S.PAUSED, S.PENDING, S.COMPLETED, S.CANCELLED), "has not failed"),
        },
    ),
    "delete": Rule(
        services.delete_workflow,
        dict.fromkeys(
            (S.FAILED, S.COMPLETED, S.CANCELLED, S.PENDING),
            "removed for good, with all prompts, answers, attempts and costs",
        ),
        dict.fromkeys((S.RUNNING, S.PAUSED), "is live; cancel it first"),
    ),
}
ACTS = Acts(
    "workflows", "workflow", "workflows", Workflow, engine.lock, Filter, "status, name, template or time", RULES,
    {CUT: (S.FAILED, Exists(Step.objects.filter(workflow=OuterRef("pk"), status=S.CUT_OFF)))},
)  # fmt: skip
SOURCE = ACTS.source("workflow")
