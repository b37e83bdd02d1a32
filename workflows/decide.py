"""What comes next in a workflow: a pure function of the state of its steps. `engine.settle` applies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nyxcore.states import Reason, Status

S = Status
DONE = frozenset({S.COMPLETED, S.SKIPPED})


@dataclass(frozen=True)
class StepState:
    """One step as `decide` sees it; `attempt` is the status of its open attempt, if it has one."""

    pk: int
    key: str
    status: Status
    needs: tuple[str, ...] = ()
    reason: str = ""
    attempt: Status | None = None
    asked: bool = False  # a person asked for this very attempt


@dataclass(frozen=True)
class Decision:
    """`status` and `reason` are the workflow's next ones, unless `open` turns out to hold something that can run."""

    status: Status
    reason: str = ""
    detail: str = ""
    open: tuple[StepState, ...] = ()  # ready: their attempts may be opened
    park: tuple[StepState, ...] = ()  # their pending attempt is cancelled, they wait for better times
    drop: tuple[StepState, ...] = ()  # waiting steps that cannot stay below a failed run


def decide(steps: Sequence[StepState], *, held: bool, over_budget: bool = False) -> Decision:
    """The next status of a workflow whose phase is open, and what to open or park. The first line that fits wins.

    After a failure, a hold, a budget stop or a cut-off answer nothing new opens and attempts not yet claimed are
    taken back, but for those that a person asked for: whoever retries one of two failed steps means this one. Siblings
    that stream end normally and keep the workflow open until then.
    """
    status_of = {step.key: step.status for step in steps}
    failed = [step for step in steps if step.status == S.FAILED]
    cut = [step for step in steps if step.status == S.CUT_OFF]
    waiting = [step for step in steps if step.status == S.WAITING]
    blocked = bool(failed or cut or held or over_budget)

    park = tuple(
        s
        for s in steps
        if s.status == S.RUNNING
        and (s.attempt is None or (s.attempt == S.PENDING and (held or (blocked and not s.asked))))
    )
    parked = {step.pk for step in park}
    ready = (
        ()
        if blocked
        else tuple(
            step
            for step in steps
            if (step.status == S.PENDING or step.pk in parked)
            and all(status_of.get(need) in DONE for need in step.needs)
        )
    )
    at_work = any(step.attempt in (S.PENDING, S.RUNNING) and step.pk not in parked for step in steps)

    if at_work:
        return Decision(S.PAUSED if held else S.RUNNING, Reason.USER if held else "", open=ready, park=park)
    if failed:
        return Decision(S.FAILED, failed[0].reason, park=park, drop=tuple(waiting))
    if ready:
        return Decision(S.RUNNING, open=ready, park=park)
    if all(step.status in DONE for step in steps):
        return Decision(S.COMPLETED)
    if held:
        return Decision(S.PAUSED, Reason.USER, park=park)
    if over_budget:
        return Decision(S.PAUSED, Reason.BUDGET, park=park)
    if cut:
        return Decision(S.PAUSED, cut[0].reason, park=park)
    if waiting:
        return Decision(S.PAUSED, waiting[0].reason or Reason.WAITING, park=park)
    return Decision(S.FAILED, Reason.STUCK, detail=_unmet(steps, status_of), park=park)


def _unmet(steps: Sequence[StepState], status_of: dict[str, Status]) -> str:
    """One sentence that names the steps that cannot start, and what they wait for."""
    blocked = [
        f"{step.key} needs {', '.join(need for need in step.needs if status_of.get(need) not in DONE)}"
        for step in steps
        if step.status == S.PENDING
    ]
    return (
        "Nothing can go on: " + "; ".join(blocked) + "."
        if blocked
        else "No step is open, yet not all are done."
    )
