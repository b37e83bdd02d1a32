"""What the program decides: opening attempts, ending them, what follows. One transaction, Workflow row first."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max

from nyxcore import attempts
from nyxcore.attempts import HANDOVERS, RING_AFTER, TRIES, Result, backoff
from nyxcore.attempts import RING_AT_MOST as RING_AT_MOST
from nyxcore.dbtime import Clock, later
from nyxcore.llm import models as registry
from nyxcore.llm.base import LLMError
from nyxcore.pulse import ring
from nyxcore.states import ENDED, Reason, Status, current_actor, touch, transition, transition_all
from workflows import again, requests
from workflows.decide import Decision, StepState, decide
from workflows.kinds import KINDS
from workflows.models import Cause, OnCutOff, Step, StepAttempt, Workflow

log = logging.getLogger(__name__)
S = Status

PARTS = 3  # of one answer that is continued
LARGE = ("input", "inputs", "description")


def lock(workflow_pk: int) -> Workflow:
    """The workflow's row, locked until the transaction ends. Always the first lock, in a statement of its own."""
    return Workflow.objects.select_for_update().defer(*LARGE).get(pk=workflow_pk)


def lock_all_free(pks: Sequence[int]) -> dict[int, Workflow]:
    """The same for those of many that nobody else holds: for those who come back anyway."""
    rows = Workflow.objects.select_for_update(skip_locked=True).defer(*LARGE)
    return {workflow.pk: workflow for workflow in rows.filter(pk__in=pks).order_by("pk")}


# --- what comes next ---


def settle(
    workflow: Workflow, *, claim_as: str = "", rerun: bool = False, steps: Sequence[StepState] | None = None
) -> int | None:
    """Decide what is next in a locked workflow and do it; the only place that does.

    Opens what is ready, takes back what must not start, and moves the workflow. With `claim_as` the first attempt
    opened is claimed for that worker at once, and its primary key returned; doorbells go out for the others.
    `rerun`: what opens starts afresh, whatever its earlier attempts were asked for. `steps`: as they have been read
    under the lock, by who settles many.
    """
    if workflow.status not in (S.RUNNING, S.PAUSED):
        return None
    held = workflow.is_held
    over_budget = False
    opened: list[int] = []
    while True:
        known, steps = load([workflow.pk])[workflow.pk] if steps is None else steps, None
        decision = decide(known, held=held, over_budget=over_budget)
        if not _park(decision.park, Reason.USER if held else ""):
            continue  # a claim takes no lock of the workflow: decide again with what it has left
        now, over_now, failed = _open_ready(workflow, decision.open, "" if opened else claim_as, rerun)
        opened += now
        if not failed and (now or not decision.open):
            break
        if not (over_now or failed):
            raise AssertionError(f"workflow {workflow.pk}: ready steps that neither open nor fail")
        # After a failure: decide again, what was opened beside it may have to be taken back.
        over_budget = over_now
    _move(workflow, decision)
    waiting = opened[1:] if claim_as else opened
    if waiting:
        transaction.on_commit(lambda: ring(len(waiting)))
    return opened[0] if claim_as and opened else None


def load(workflows: Sequence[int]) -> dict[int, list[StepState]]:
    """For each of these workflows its steps as `decide` needs them, in order."""
    found: dict[int, list[StepState]] = {pk: [] for pk in workflows}
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT s.workflow_id, s.id, s.key, s.status, s.needs, s.reason, a.status,
                      coalesce(a.cause IN ('retry', 'continue', 'rerun') AND a.caused_by_id IS NOT NULL, false)
                 FROM workflows_step s
                 LEFT JOIN workflows_stepattempt a
                   ON a.step_id = s.id AND a.status IN ('pending', 'running', 'waiting')
                WHERE s.workflow_id = ANY(%s) ORDER BY s.position""",
            [list(workflows)],
        )
        for workflow, pk, key, status, needs, reason, attempt, asked in cursor.fetchall():
            at = Status(attempt) if attempt else None
            found[workflow].append(StepState(pk, key, Status(status), tuple(needs), reason, at, asked))
    return found


def _park(steps: Sequence[StepState], reason: str) -> bool:
    """Take back the attempts that nobody has claimed yet; False when a worker was faster, which keeps its one."""
    if not steps:
        return True
    pending = StepAttempt.objects.filter(step__in=[s.pk for s in steps], status=S.PENDING)
    transition_all(
        StepAttempt, list(pending.values_list("pk", flat=True)), S.PENDING, S.CANCELLED, reason=reason
    )
    claimed = StepAttempt.objects.filter(step__in=[s.pk for s in steps], status=S.RUNNING).values_list(
        "step", flat=True
    )
    idle = {s.pk for s in steps} - set(claimed)
    transition_all(Step, sorted(idle), S.RUNNING, S.PENDING)
    return len(idle) == len(steps)


def _open_ready(
    workflow: Workflow, ready: Sequence[StepState], claim_as: str, rerun: bool
) -> tuple[list[int], bool, bool]:
    """(attempts opened, stopped by the budget, a step failed because its prompt cannot be filled)."""
    opened: list[int] = []
    failed = False
    if not ready:
        return opened, False, False
    for step in Step.objects.filter(pk__in=[s.pk for s in ready]).order_by("position"):
        before = None if rerun else again.standing(step)
        cause = again.cause(step, before, rerun=rerun)
        try:
            attempt = open_attempt(
                workflow, step, cause=cause, claim_as="" if opened else claim_as, **again.asked(before)
            )
        except OverBudget:
            return opened, True, failed
        except LLMError as error:
            fail_step(step, cause, error)
            failed = True
        else:
            opened.append(attempt.pk)
    return opened, False, failed


def fail_step(step: Step, cause: str, error: LLMError) -> None:
    """Fail a step before its next attempt ran; an attempt that never started tells why."""
    attempt = _insert(
        step,
        cause=cause,
        status=S.FAILED,
        reason=error.reason,
        error=error.message,
        finished_at=Clock(),
    )
    log.info("step %s fails before its attempt %s starts: %s", step.pk, attempt.pk, error.reason)
    transition(step, Status(step.status), S.FAILED, reason=error.reason)


def _move(workflow: Workflow, decision: Decision) -> None:
    """Bring the workflow to the status that was decided; closing writes the steps before the workflow."""
    if decision.drop:
        pks = [step.pk for step in decision.drop]
        waiting = StepAttempt.objects.filter(step__in=pks, status=S.WAITING).values_list("pk", flat=True)
        let_go(transition_all(StepAttempt, list(waiting), S.WAITING, S.CANCELLED, reason=decision.reason))
        transition_all(Step, pks, S.WAITING, S.CANCELLED, reason=decision.reason)
    if decision.detail:
        log.warning("workflow %s: %s", workflow.pk, decision.detail)
    if workflow.status != decision.status:
        ended = {"held_by": None} if decision.status in ENDED else {}  # a hold ends with the run that it held
        transition(workflow, Status(workflow.status), decision.status, reason=decision.reason, **ended)
    elif workflow.reason != decision.reason:
        workflow.reason = decision.reason
        workflow.save(update_fields=["reason"])
        touch(Workflow, [workflow.pk])


def let_go(attempt_pks: Sequence[int]) -> None:
    """These attempts wait no more: end what they have waited for, and keep what it has cost."""
    for attempt in StepAttempt.objects.filter(pk__in=attempt_pks):
        KINDS[attempt.kind].abandon(attempt.request)
        keep_spent(attempt)


def keep_spent(attempt: StepAttempt) -> None:
    """What a waiting attempt has spent elsewhere is its cost."""
    spent = KINDS[attempt.kind].spent(attempt.request)
    if spent is not None:
        cost, estimated = spent
        StepAttempt.objects.filter(pk=attempt.pk).update(cost=cost, cost_estimated=estimated)


# --- opening ---


class OverBudget(Exception):
    """The worst case of the next call does not fit into what is left of the budget."""


def open_attempt(
    workflow: Workflow,
    step: Step,
    *,
    cause: str,
    after: StepAttempt | None = None,
    delay: float = 0.0,
    claim_as: str = "",
    **fields: Any,
) -> StepAttempt:
    """Open the next attempt of a step whose workflow is locked, and move the step to running.

    `after` is the attempt it follows by the engine's own decision: what a person asked for there (comment,
    max_tokens, the text it continues) holds on. `delay` (s) is a back-off. Raises OverBudget or
    LLMError (the prompt cannot be filled) before anything is written.
    """
    if after is not None:
        fields = _taken_over(after) | fields
    if workflow.budget is not None:
        fields["reserved"] = _reserve(workflow, step, fields)
    if claim_as:
        deadline = float(step.config.get("deadline") or settings.NYXCORE_STEP_DEADLINE)
        fields |= {
            "status": S.RUNNING, "worker": claim_as, "started_at": Clock(), "heartbeat_at": Clock(),
            "due_at": later(settings.NYXCORE_LEASE), "deadline_at": later(deadline), "version": 1,
        }  # fmt: skip
    else:
        fields |= {"due_at": later(delay or RING_AFTER), "queued_at": later(delay)}
    attempt = _insert(step, cause=cause, **fields)
    if step.status == S.RUNNING:
        touch(Step, [step.pk])
    else:
        transition(step, Status(step.status), S.RUNNING)
    return attempt


def record_edit(step: Step, output: str) -> None:
    """A person's text in place of a stored output: an attempt of its own, so that the earlier one stays."""
    _insert(
        step,
        cause=Cause.EDIT,
        kind="edit",
        status=S.COMPLETED,
        output=output,
        started_at=Clock(),
        finished_at=Clock(),
    )
    Step.objects.filter(pk=step.pk).update(output=output)
    touch(Step, [step.pk])


def open_after_loss(lost: Sequence[StepAttempt], numbers: Mapping[int, int]) -> None:
    """What `open_attempt` does after each of these lost attempts, in two statements for all: their steps run, none
    of their workflows has a budget, and `numbers` has the last number of each step."""
    waits: dict[str, Any] = {"cause": Cause.LOST, "due_at": later(RING_AFTER), "queued_at": later(0.0)}
    StepAttempt.objects.bulk_create(
        StepAttempt(
            step=attempt.step,
            number=numbers[attempt.step_id] + 1,
            kind=attempt.step.kind,
            **_taken_over(attempt),
            **waits,
        )
        for attempt in lost
    )
    touch(Step, [attempt.step_id for attempt in lost])
    transaction.on_commit(lambda: ring(len(lost)))


def _taken_over(attempt: StepAttempt) -> dict[str, Any]:
    """What a person asked for there, and the text that it went on from."""
    return {
        "comment": attempt.comment,
        "max_tokens": attempt.max_tokens,
        "continues_id": attempt.continues_id,
    }


def _insert(step: Step, *, cause: str, **fields: Any) -> StepAttempt:
    number = StepAttempt.objects.filter(step=step, branch="").aggregate(last=Max("number"))["last"] or 0
    actor = current_actor()
    fields.setdefault("kind", step.kind)
    if actor and actor.user_id:
        fields.setdefault("caused_by_id", actor.user_id)
    return StepAttempt.objects.create(step=step, number=number + 1, cause=cause, **fields)


def _reserve(workflow: Workflow, step: Step, fields: dict[str, Any]) -> Decimal:
    """USD that the next call may cost at most; raises OverBudget when that does not fit."""
    if KINDS[step.kind].for_owner:
        share = requests.share(step, left_of_budget(workflow))
        if share <= 0:
            raise OverBudget
        return share
    worst = requests.worst_case(
        workflow,
        step,
        max_tokens=fields.get("max_tokens"),
        continues=fields.get("continues_id"),
        comment=fields.get("comment", ""),
    )
    if worst and worst > left_of_budget(workflow):
        raise OverBudget
    return worst


def left_of_budget(workflow: Workflow) -> Decimal:
    """USD: the budget less what was spent (estimates included) and what open attempts have reserved."""
    return attempts.left_of(workflow.budget, StepAttempt.objects.filter(step__workflow=workflow))


# --- ending ---


def write_facts(attempt_pk: int, worker: str, facts: dict[str, Any]) -> bool:
    """Keep what was paid for, committed on its own before anything is decided; False when the attempt has ended.

    The former holder of an ended attempt may still add text, usage and cost, never why it ended.
    """
    ours, changed = attempts.write_facts(StepAttempt, attempt_pk, worker, facts)
    if changed and not ours:
        touch(Step, list(StepAttempt.objects.filter(pk=attempt_pk).values_list("step", flat=True)))
    return ours


def finish(attempt: StepAttempt, result: Result, worker: str, *, claim: bool) -> int | None:
    """End an attempt that `worker` holds, move its step, settle; the primary key of the next one claimed, if any.

    A lost race writes nothing. A repeated call after a lost reply finds its own work done and returns the attempt
    that it had claimed then.
    """
    with transaction.atomic():
        workflow = lock(attempt.step.workflow_id)
        if not attempts.end(attempt, result, fence={"worker": worker}):
            return claimed_by(worker)
        follow(workflow, attempt, result)
        return settle(workflow, claim_as=worker if claim else "")


def claimed_by(worker: str) -> int | None:
    """An attempt that this thread of a worker holds and has not begun: it was claimed, and the reply was lost."""
    return attempts.claimed_by(StepAttempt, worker)


def end_for(workflow: Workflow, attempt: StepAttempt, result: Result) -> None:
    """The sweep's finish: end a locked attempt for a worker that cannot, and move its step. The caller settles."""
    if attempts.end(attempt, result, fence={}):
        follow(workflow, attempt, result)


def follow(workflow: Workflow, attempt: StepAttempt, result: Result) -> None:
    """Move the step after its attempt has ended, or open its next attempt. Its workflow is locked."""
    step = attempt.step
    if result.status == S.COMPLETED:
        text = requests.joined(attempt, result.text)
        transition(step, S.RUNNING, S.COMPLETED, output=text)
    elif result.status == S.WAITING:
        transition(step, S.RUNNING, S.WAITING, reason=result.reason or Reason.WAITING)
    elif result.status == S.CUT_OFF:
        _after_cut(workflow, step, attempt, result)
    elif result.status == S.CANCELLED:  # handed over
        _again(workflow, step, attempt, result, Cause.HANDOVER, HANDOVERS)
    elif result.reason == Reason.LOST:
        _again(workflow, step, attempt, result, Cause.LOST, settings.NYXCORE_LOST_RETRIES)
    elif result.retryable:
        _again(workflow, step, attempt, result, Cause.BACKOFF, TRIES)
    else:
        transition(step, S.RUNNING, S.FAILED, reason=result.reason)


def _again(
    workflow: Workflow, step: Step, attempt: StepAttempt, result: Result, cause: str, at_most: int
) -> None:
    """Open a further attempt for an engine's cause, unless there were enough since a person's last one."""
    tries = again.tries(step, cause)
    if tries >= at_most:
        transition(step, S.RUNNING, S.FAILED, reason=result.reason)
        return
    delay = backoff(tries, result.retry_after) if cause == Cause.BACKOFF else 0.0
    if not _open_next(workflow, step, cause=cause, after=attempt, delay=delay):
        transition(step, S.RUNNING, S.PENDING)  # in line again; settling pauses the run


def _open_next(workflow: Workflow, step: Step, *, cause: str, delay: float = 0.0, **kwargs: Any) -> bool:
    """Open a follow-up attempt; where it cannot be filled the step fails. False, and nothing done, over budget."""
    try:
        open_attempt(workflow, step, cause=cause, delay=delay, **kwargs)
    except OverBudget:
        return False
    except LLMError as error:
        fail_step(step, cause, error)
    else:
        if not delay:
            transaction.on_commit(ring)
    return True


def _after_cut(workflow: Workflow, step: Step, attempt: StepAttempt, result: Result) -> None:
    """A cut answer: as the step's or the workflow's `on_cut_off` says, where that can help; else stop and ask.

    Beyond the budget it stops too: the answer with the same room, which may fit, would only be cut again.
    """
    policy = step.config.get("on_cut_off") or workflow.on_cut_off
    follow: dict[str, Any] = {}
    if result.reason == Reason.CUT_MAX_TOKENS:
        if policy == OnCutOff.RAISE and (more := more_room(attempt)):
            follow = {"cause": Cause.RAISE, "max_tokens": more}
        elif policy == OnCutOff.CONTINUE and requests.part_number(attempt) < PARTS:
            follow = {"cause": Cause.CONTINUE, "continues_id": attempt.pk}
    if not (follow and _open_next(workflow, step, after=attempt, **follow)):
        transition(step, S.RUNNING, S.CUT_OFF, reason=result.reason)


def more_room(attempt: StepAttempt) -> int | None:
    """Twice the tokens, at most the model's limit; None when the limit is reached already."""
    used = int(attempt.request.get("max_tokens") or settings.NYXCORE_DEFAULT_MAX_TOKENS)
    more = registry.clamp_max_tokens(str(attempt.request.get("model", "")), used * 2)
    return more if more > used else None
