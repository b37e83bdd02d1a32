"""What a person asks for. Each verb is one transaction, checks the state under the lock, and is audited.

A verb that the state does not allow raises Refused with a sentence for the person; nothing has changed then.
"""

from analysis.plain import Options
from analysis.services.base import CLOSED, LIVE, UNCHANGED, Refused, check_options
from analysis.services.create import create_analysis, rescan_analysis, source_key, store_upload
from analysis.services.findings import accept_finding, dismiss_finding, reopen_finding
from analysis.services.handing import Handed, abandon, begin_for, look_at, repository, spent
from analysis.services.runs import (
    allow_secret,
    cancel_analysis,
    confirm_analysis,
    delete_analysis,
    pause_analysis,
    resume_analysis,
    retry_gaps,
    set_budget,
    set_options,
    start_analysis,
)

__all__ = [
    "CLOSED",
    "LIVE",
    "UNCHANGED",
    "Handed",
    "Options",
    "Refused",
    "abandon",
    "accept_finding",
    "allow_secret",
    "begin_for",
    "cancel_analysis",
    "check_options",
    "confirm_analysis",
    "create_analysis",
    "delete_analysis",
    "dismiss_finding",
    "look_at",
    "pause_analysis",
    "reopen_finding",
    "repository",
    "rescan_analysis",
    "resume_analysis",
    "retry_gaps",
    "set_budget",
    "set_options",
    "source_key",
    "spent",
    "start_analysis",
    "store_upload",
]
