"""What a worker does: claim an attempt by SQL, run its kind, write the answer, go on with what comes next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection

from nyxcore import events
from nyxcore.attempts import failure, internal, store_request
from nyxcore.calls import CALLS, Call, storable
from nyxcore.claim import Queue
from nyxcore.contact import with_contact
from nyxcore.llm.base import LLMError, Stopped
from nyxcore.models import Hint
from nyxcore.places import PLACES, place
from nyxcore.states import Reason, Status
from workflows import engine, hotpath, requests
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome, StepInput
from workflows.models import Step, StepAttempt, Workflow, live_version
from workflows.work import Job, Result

log = logging.getLogger(__name__)
S = Status
TABLE = StepAttempt._meta.db_table
TURN = 2.0  # s after which a thread looks for work of other apps, too

QUEUE = Queue(
    attempts=TABLE, items=Step._meta.db_table, item="step", runs=Workflow._meta.db_table, run="workflow",
    ready="r.status = 'running' AND (%(paid)s OR a.kind = ANY(%(free)s))",
    seconds="coalesce((i.config->>'deadline')::float8, %(deadline)s)",
)  # fmt: skip


def work(worker: str, wake: Callable[[], None] | None = None) -> bool:
    """Run attempts until nothing is left that this worker may claim, or its turn is over (then True).

    `wake` is called once after a first claim, so that one idle thread which found work wakes the next.
    """
    end = time.monotonic() + TURN
    job = next_job(worker)
    if job is not None and wake:
        wake()
    while job is not None:
        job = run_job(job, worker)
        if job is None:
            if time.monotonic() > end:
                return True
            job = next_job(worker)
    return False


def next_job(worker: str) -> Job | None:
    """Take the next attempt, with all that is needed to run it; after a lost reply the one that was taken then."""
    return with_contact(
        lambda: _job(claim(worker)), again=lambda: _job(engine.claimed_by(worker) or claim(worker))
    )


def _job(pk: int | None) -> Job | None:
    return hotpath.load_job(pk) if pk is not None else None


def claim(worker: str) -> int | None:
    """Take the next attempt for this worker; its primary key, or None when nothing is due or the worker is stopping."""
    if CALLS.draining:
        return None
    free = [name for name, kind in KINDS.items() if not kind.paid]
    claimed = QUEUE.claim(worker, paid=not PLACES.paused, free=free)
    if claimed is None:
        return None
    log.info("stepattempt %s pending>running %s", claimed.attempt, worker)
    version = live_version(claimed.item_version, claimed.version)
    events.publish(Hint(f"step-{claimed.item}", f"workflow-{claimed.run}", version, S.RUNNING))
    return claimed.attempt


def run_job(job: Job, worker: str) -> Job | None:
    """Run one claimed attempt to its end; the next job, if its finish has claimed one."""
    deadline = float(job.config.get("deadline") or settings.NYXCORE_STEP_DEADLINE)
    call = Call(
        (TABLE, job.attempt),
        f"workflow-{job.workflow}",
        f"step-{job.step}",
        worker,
        time.monotonic() + deadline,
    )
    with CALLS.holding(call):
        result = _perform(job, call, worker)
        call.announce()
        if result is None:
            return None
        try:
            return _keep(job, result, worker)
        except Exception as error:
            log.exception("stepattempt %s: its result cannot be written", job.attempt)
            return _keep(job, internal(error, call.text()), worker)


def _keep(job: Job, result: Result, worker: str) -> Job | None:
    """Write what the attempt came to: what was paid for on its own first, then all that follows."""
    if not with_contact(lambda: engine.write_facts(job.attempt, worker, result.facts)):
        log.info("stepattempt %s was ended by somebody else; its facts are kept", job.attempt)
        return None
    return with_contact(lambda: _finish(job, result, worker))


def _finish(job: Job, result: Result, worker: str) -> Job | None:
    """End the attempt: by the hot path where it applies, else by the engine."""
    claim_next = not (CALLS.draining or PLACES.paused)
    if result.status == S.COMPLETED and job.continues is None:
        done = hotpath.go_on(job, result.text, result.request, worker, claim=claim_next)
        if done is not False:
            return done if isinstance(done, Job) else None
    attempt = StepAttempt.objects.select_related("step__workflow").get(pk=job.attempt)
    return _job(engine.finish(attempt, result, worker, claim=claim_next))


def _perform(job: Job, call: Call, worker: str) -> Result | None:
    """Run the kind and turn whatever happens into a Result; None when the attempt is no longer ours."""
    request: dict[str, Any] = {}
    try:
        request = with_contact(lambda: requests.build_for(job))
        if KINDS[job.kind].paid and not with_contact(
            lambda: store_request(StepAttempt, job.attempt, worker, request)
        ):
            return None
        outcome = _run(job, request, call)
        return _result(job, request, outcome)
    except Stopped as error:
        return _stopped(job, request, call, worker, error)
    except LLMError as error:
        facts = requests.facts_of_error(error, request, error.partial or call.text())
        return failure(error, facts)
    except Exception as error:  # the outermost handler: a step must never stay running
        log.exception("stepattempt %s: %s", job.attempt, type(error).__name__)
        return internal(error, call.text())


def _run(job: Job, request: dict[str, Any], call: Call) -> Outcome:
    """Run the kind without holding a database connection; paid calls wait for one of the provider's places."""
    kind = KINDS[job.kind]
    owner, budget = with_contact(lambda: _behalf(job)) if kind.for_owner else (0, None)
    step_input = StepInput(
        config=kind.Config.model_validate(job.config),
        request=request,
        number=job.number,
        cause=job.cause,
        earlier_text=with_contact(lambda: requests.chain_text(job.continues)),
        on_text=call.on_text,
        stop=call.stop,
        dom_id=call.dom_id,
        owner=owner,
        budget=budget,
    )
    if not kind.paid:
        return kind.run(step_input)
    connection.close()
    with place(step_input.stop):
        return kind.run(step_input)


def _behalf(job: Job) -> tuple[int, Decimal | None]:
    """On whose behalf a job acts, and what it may spend."""
    return StepAttempt.objects.values_list("step__workflow__owner", "reserved").get(pk=job.attempt)


def _result(job: Job, request: dict[str, Any], outcome: Outcome) -> Result:
    """A paid answer brings facts that are committed on their own first; a free one is written with its end."""
    status = Status(outcome.status)
    if outcome.completion:
        facts = requests.facts_of(outcome.completion, outcome.text)
        return Result(status, outcome.reason, text=facts["output"], facts=facts)
    text = storable(outcome.text)
    if status == S.COMPLETED:
        return Result(status, text=text, request=request)
    return Result(
        status,
        outcome.reason,
        text=text,
        facts={"output": text, "request": {**request, **outcome.keep}},
        look_again=outcome.look_again,
    )


def _stopped(job: Job, request: dict[str, Any], call: Call, worker: str, error: Stopped) -> Result | None:
    """A call that was told to end: by its deadline, by a shut-down, or because the row was ended elsewhere."""
    facts = requests.facts_of_error(error, request, error.partial or call.text())
    if call.stop.cause == "deadline":
        return Result(S.FAILED, Reason.DEADLINE, "The step was stopped at its deadline.", facts=facts)
    if call.stop.cause == "handover":
        return Result(S.CANCELLED, Reason.HANDOVER, facts=facts)
    with_contact(lambda: engine.write_facts(job.attempt, worker, facts))
    return None


def hand_over(pk: int, worker: str) -> None:
    """For a call that ignores its stop signal while the worker has to go: end its attempt from outside."""
    attempt = StepAttempt.objects.select_related("step__workflow").get(pk=pk)
    requests.estimate_cost(attempt)
    engine.finish(attempt, Result(S.CANCELLED, Reason.HANDOVER), worker, claim=False)
