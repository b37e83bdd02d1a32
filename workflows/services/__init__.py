"""What a person asks for. Each verb is one transaction, checks the state under the lock, and is audited.

A verb that the state does not allow raises Refused with a sentence for the person; nothing has changed then.
"""

from workflows.services.base import CLOSED, TABLE, Refused, check_needs, open_again, open_now, verb
from workflows.services.definition import edit_configs, edited_spec, spec_of
from workflows.services.gates import approve_step, send_back_step
from workflows.services.reruns import RerunPlan, plan_rerun, refuse_rerun, rerun_from
from workflows.services.runs import (
    UNCHANGED,
    cancel_workflow,
    create_workflow,
    delete_workflow,
    pause_workflow,
    resume_workflow,
    start_workflow,
    update_settings,
)
from workflows.services.steps import accept_step, retry_step, skip_step

__all__ = [
    "CLOSED",
    "TABLE",
    "UNCHANGED",
    "Refused",
    "RerunPlan",
    "accept_step",
    "approve_step",
    "cancel_workflow",
    "check_needs",
    "create_workflow",
    "delete_workflow",
    "edit_configs",
    "edited_spec",
    "open_again",
    "open_now",
    "pause_workflow",
    "plan_rerun",
    "refuse_rerun",
    "rerun_from",
    "resume_workflow",
    "retry_step",
    "send_back_step",
    "skip_step",
    "spec_of",
    "start_workflow",
    "update_settings",
    "verb",
]
