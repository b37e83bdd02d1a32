"""What a worker does: claim an attempt by SQL, run its kind, write the answer, go on with what comes next."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from nyxcore import events
from nyxcore.calls import CALLS, Call
from nyxcore.llm.base import LLMError, Stopped, StopSignal
from nyxcore.models import Hint
from nyxcore.states import Reason, Status
from workflows import engine, requests
from workflows.kinds import KINDS
from workflows.kinds.base import Outcome, StepInput
from workflows.models import StepAttempt, live_version

log = logging.getLogger(__name__)
S = Status
TABLE = StepAttempt._meta.db_table
T = TypeVar("T")

# Fair: the owner with the fewest running attempts first, then the oldest. SKIP LOCKED: two claims never meet.
CLAIM = """
WITH served AS (
    SELECT w.owner_id, count(*) AS n FROM workflows_stepattempt a
      JOIN workflows_step s ON s.id = a.step_id JOIN workflows_workflow w ON w.id = s.workflow_id
     WHERE a.status = 'running' GROUP BY w.owner_id
), next AS (
    SELECT a.id, s.id AS step, s.version, w.id AS run, coalesce((s.config->>'deadline')::float8, %(deadline)s) AS deadline
      FROM workflows_stepattempt a
      JOIN workflows_step s ON s.id = a.step_id JOIN workflows_workflow w ON w.id = s.workflow_id
      LEFT JOIN served ON served.owner_id = w.owner_id
     WHERE a.status = 'pending' AND (a.queued_at <= clock_timestamp() OR a.due_at <= clock_timestamp())
       AND w.held_by_id IS NULL AND w.status = 'running'
     ORDER BY coalesce(served.n, 0), a.queued_at, a.id
     LIMIT 1 FOR UPDATE OF a SKIP LOCKED
)
UPDATE workflows_stepattempt a
   SET status = 'running', reason = '', version = a.version + 1, worker = %(worker)s, status_changed_at = clock_timestamp(),
       started_at = clock_timestamp(), heartbeat_at = clock_timestamp(),
       due_at = clock_timestamp() + make_interval(secs => %(lease)s),
       deadline_at = clock_timestamp() + make_interval(secs => next.deadline)
  FROM next WHERE a.id = next.id AND a.status = 'pending'
RETURNING a.id, next.step, next.version, a.version, next.run
"""


def work(worker: str, wake: Callable[[], None] | None = None) -> None:
    """Run attempts until nothing is left that this worker may claim. `wake` is called once after a first claim,
    so that one idle thread which found work wakes the next."""
    pk = with_contact(lambda: claim(worker))
    if pk is not None and wake:
        wake()
    while pk is not None:
        pk = run_attempt(pk, worker)
        if pk is None:
            pk = with_contact(lambda: claim(worker))


def claim(worker: str) -> int | None:
    """Take the next attempt for this worker; its primary key, or None when nothing is due or the worker is stopping."""
    if CALLS.draining:
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            CLAIM,
            {"worker": worker, "lease": settings.NYXCORE_LEASE, "deadline": settings.NYXCORE_STEP_DEADLINE},
        )
        row = cursor.fetchone()
    if row is None:
        return None
    pk, step, step_version, version, run = row
    log.info("stepattempt %s pending>running %s", pk, worker)
    events.publish(Hint(f"step-{step}", f"workflow-{run}", live_version(step_version, version), S.RUNNING))
    return int(pk)


def run_attempt(pk: int, worker: str) -> int | None:
    """Run one claimed attempt to its end; the primary key of the next one, if its finish has claimed it."""
    attempt = with_contact(lambda: StepAttempt.objects.select_related("step__workflow").get(pk=pk))
    deadline = float(attempt.step.config.get("deadline") or settings.NYXCORE_STEP_DEADLINE)
    call = Call((TABLE, pk), attempt.step.channel, attempt.step.dom_id, time.monotonic() + deadline)
    with CALLS.holding(call):
        result = _perform(attempt, call, worker)
        call.announce()
        if result is None:
            return None
        if not with_contact(lambda: engine.write_facts(attempt, worker, result.facts)):
            log.info("stepattempt %s was ended by somebody else; its facts are kept", pk)
            return None
        return with_contact(lambda: engine.finish(attempt, result, worker, claim=not CALLS.draining))


def _perform(attempt: StepAttempt, call: Call, worker: str) -> engine.Result | None:
    """Run the kind and turn whatever happens into a Result; None when the attempt is no longer ours."""
    try:
        step_input = _prepare(attempt, call, worker)
        if step_input is None:
            return None
        outcome = _run(attempt, step_input)
        return _result(attempt, outcome)
    except Stopped as error:
        return _stopped(attempt, call, worker, error)
    except LLMError as error:
        facts = requests.facts_of_error(error, attempt, error.partial or call.text())
        return engine.Result(
            S.FAILED,
            error.reason,
            error.message,
            facts=facts,
            retryable=error.retryable,
            retry_after=error.retry_after,
        )
    except (OperationalError, InterfaceError) as error:
        # Before the call: nothing is paid yet, so the attempt is simply tried again.
        log.warning("stepattempt %s: no contact to PostgreSQL before its call: %s", attempt.pk, error)
        return engine.Result(S.FAILED, Reason.INTERNAL, "PostgreSQL did not answer.", retryable=True)
    except Exception as error:
        log.exception("stepattempt %s: %s", attempt.pk, type(error).__name__)
        detail = "".join(traceback.format_exception_only(error)).strip()
        facts = {"output": call.text()} if call.text() else {}
        return engine.Result(S.FAILED, Reason.INTERNAL, error=detail[:4000], facts=facts)


def _prepare(attempt: StepAttempt, call: Call, worker: str) -> StepInput[Any] | None:
    """Fill the prompt and store it with the attempt before anything is sent."""
    step = attempt.step
    kind = KINDS[step.kind]
    attempt.request = with_contact(
        lambda: requests.build(
            step.workflow,
            step,
            max_tokens=attempt.max_tokens,
            continues=attempt.continues_id,
            comment=attempt.comment,
        )
    )
    held = StepAttempt.objects.filter(pk=attempt.pk, status=S.RUNNING, worker=worker)
    if not with_contact(lambda: held.update(request=attempt.request)):
        return None
    return StepInput(
        config=kind.Config.model_validate(step.config),
        request=attempt.request,
        number=attempt.number,
        cause=attempt.cause,
        earlier_text=requests.earlier_text(attempt),
        on_text=call.on_text,
        stop=call.stop,
    )


def _run(attempt: StepAttempt, step_input: StepInput[Any]) -> Outcome:
    """Run the kind without holding a database connection; paid calls wait for one of the provider's places."""
    kind = KINDS[attempt.step.kind]
    if not kind.paid:
        return kind.run(step_input)
    connection.close()
    with _place(step_input.stop):
        return kind.run(step_input)


_places = threading.BoundedSemaphore(settings.NYXCORE_PROVIDER_PARALLEL)


@contextmanager
def _place(stop: StopSignal) -> Iterator[None]:
    """One of NYXCORE_PROVIDER_PARALLEL calls of this process; a stop ends the wait too."""
    while not _places.acquire(timeout=0.5):
        if stop.is_set():
            raise Stopped("The step was stopped before its call began.", reason=stop.cause)
    try:
        yield
    finally:
        _places.release()


def _result(attempt: StepAttempt, outcome: Outcome) -> engine.Result:
    facts: dict[str, Any] = {}
    if outcome.completion:
        facts = requests.facts_of(outcome.completion, outcome.text)
    elif outcome.text:
        facts = {"output": outcome.text}
    return engine.Result(
        Status(outcome.status), outcome.reason, text=outcome.text, facts=facts, look_again=outcome.look_again
    )


def _stopped(attempt: StepAttempt, call: Call, worker: str, error: Stopped) -> engine.Result | None:
    """A call that was told to end: by its deadline, by a shut-down, or because the row was ended elsewhere."""
    facts = requests.facts_of_error(error, attempt, error.partial or call.text())
    if call.stop.cause == "deadline":
        return engine.Result(S.FAILED, Reason.DEADLINE, "The step was stopped at its deadline.", facts=facts)
    if call.stop.cause == "handover":
        return engine.Result(S.CANCELLED, Reason.HANDOVER, facts=facts)
    with_contact(lambda: engine.write_facts(attempt, worker, facts))
    return None


def hand_over(pk: int, worker: str) -> None:
    """For a call that ignores its stop signal while the worker has to go: end its attempt from outside."""
    attempt = StepAttempt.objects.select_related("step__workflow").get(pk=pk)
    engine.finish(attempt, engine.Result(S.CANCELLED, Reason.HANDOVER), worker, claim=False)


def with_contact(action: Callable[[], T]) -> T:
    """Do `action`, again and again while PostgreSQL is away; a paid answer waits in memory for the first contact."""
    pause = 0.2
    while True:
        try:
            return action()
        except (OperationalError, InterfaceError) as error:
            connection.close()
            log.warning("no contact to PostgreSQL (%s); trying again in %.1f s", str(error).strip(), pause)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
