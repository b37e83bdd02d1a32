"""What a worker does: claim an attempt at a unit, ask or do, write what came of it, go on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connection

from analysis import engine, hotpath, plan
from analysis.errors import SourceError
from analysis.models import UnitAttempt
from analysis.plain import Ask
from analysis.prompting import BadAnswer
from analysis.units import FREE, WORKS
from analysis.units.base import Digest
from nyxcore import attempts, llm
from nyxcore.attempts import Result
from nyxcore.calls import CALLS, Call
from nyxcore.contact import with_contact
from nyxcore.llm import models as registry
from nyxcore.llm.base import Completion, LLMError, Message, Request, Stopped, classify
from nyxcore.places import PLACES, place_if_free
from nyxcore.states import Reason, Status

log = logging.getLogger(__name__)
S = Status
TABLE = UnitAttempt._meta.db_table
TURN = 2.0  # s after which a thread looks for work of other apps, too


def work(worker: str, wake: Callable[[], None] | None = None) -> bool:
    """Run attempts until nothing is left that this worker may claim, or its turn is over (then True).

    A paid attempt is claimed only with one of the provider's places in hand: what waits for a place holds no thread.
    `wake` is called once after a first claim, so that one idle thread which found work wakes the next.
    """
    end = time.monotonic() + TURN
    while time.monotonic() < end:
        with place_if_free() as free:
            attempt = next_attempt(worker, paid=free)
            if attempt is None:
                return False
            if wake:
                wake()
                wake = None
            while attempt is not None:
                attempt = run_attempt(attempt, worker, until=end)
    return True


def next_attempt(worker: str, *, paid: bool = True) -> UnitAttempt | None:
    """Take the next attempt; after a lost reply the one that was taken then. None when the worker is stopping."""

    def take() -> UnitAttempt | None:
        return None if CALLS.draining else hotpath.claim(worker, paid=paid, free=list(FREE))

    return with_contact(take, again=lambda: taken(worker) or take())


def taken(worker: str) -> UnitAttempt | None:
    """What this thread of a worker has claimed and not begun."""
    pk = attempts.claimed_by(UnitAttempt, worker)
    return None if pk is None else hotpath.load(pk)


def run_attempt(attempt: UnitAttempt, worker: str, *, until: float = 0.0) -> UnitAttempt | None:
    """Run one claimed attempt to its end; the next one if its finish has claimed one, as it may before `until`."""
    unit = attempt.unit
    deadline = time.monotonic() + settings.NYXCORE_STEP_DEADLINE
    shown = WORKS[unit.kind].shown
    call = Call((TABLE, attempt.pk), unit.channel, unit.dom_id, worker, deadline, shown=shown)
    with CALLS.holding(call):
        done = _perform(attempt, call, worker)
        call.announce()
        if done is None:
            return None
        try:
            return _keep(attempt, *done, worker, until)
        except Exception as error:
            log.exception("unitattempt %s: its result cannot be written", attempt.pk)
            _keep(attempt, attempts.internal(error, call.text()), None, worker, 0.0)
            return taken(worker)


def _keep(
    attempt: UnitAttempt, result: Result, digest: Digest | None, worker: str, until: float
) -> UnitAttempt | None:
    """Write what the attempt came to: what was paid for on its own first, then all that follows."""

    def finish() -> UnitAttempt | None:
        going_on = time.monotonic() < until and PLACES.enough and not CALLS.draining
        return engine.finish(attempt, result, digest, worker, claim=going_on)

    def again() -> UnitAttempt | None:
        engine.finish(attempt, result, digest, worker)
        return taken(worker)  # the claim may have come through, and its reply was lost

    if with_contact(lambda: engine.write_facts(attempt.pk, worker, result.facts)):
        return with_contact(finish, again=again)
    log.info("unitattempt %s was ended by somebody else; its facts are kept", attempt.pk)
    return None


def _perform(attempt: UnitAttempt, call: Call, worker: str) -> tuple[Result, Digest | None] | None:
    """Do the unit and turn whatever happens into a Result; None when the attempt is no longer ours."""
    run, unit = attempt.unit.run, attempt.unit
    work = WORKS[unit.kind]
    request: dict[str, Any] = {}
    try:
        if not work.paid:
            return Result(S.COMPLETED), with_contact(lambda: work.do(run, unit, call.stop))
        ask = with_contact(lambda: work.ask(run, unit))
        request = request_of(attempt, ask)
        if not with_contact(lambda: attempts.store_request(UnitAttempt, attempt.pk, worker, request)):
            return None
        return judge(attempt, _asked(ask, request, call))
    except Stopped as error:
        stopped = _stopped(attempt, request, call, worker, error)
        return (stopped, None) if stopped else None
    except LLMError as error:
        facts = attempts.facts_of_error(error, request, error.partial or call.text())
        return attempts.failure(error, facts), None
    except SourceError as error:
        retry = Result(S.FAILED, Reason.SOURCE, error.message, retryable=error.retryable)
        return retry, None
    except Exception as error:  # the outermost handler: a unit must never stay running
        log.exception("unitattempt %s: %s", attempt.pk, type(error).__name__)
        return attempts.internal(error, call.text()), None


def request_of(attempt: UnitAttempt, ask: Ask) -> dict[str, Any]:
    """What is stored of a question: all but the texts of the source, which are in its rows or gone on purpose."""
    model = plan.model_of(attempt.unit.run, attempt.unit.kind)
    sent = (ask.system, ask.shared, ask.prompt)
    return {
        "model": model,
        "max_tokens": registry.clamp_max_tokens(model, attempt.max_tokens or ask.max_tokens),
        "effort": ask.effort or None,
        "sizes": dict(zip(("system", "shared", "prompt"), map(len, sent), strict=True)),
        "prompt_tokens": sum(map(registry.estimate_tokens, sent)),
    }


def _asked(ask: Ask, request: dict[str, Any], call: Call) -> Completion:
    """The call itself, which holds no database connection."""
    connection.close()
    return llm.complete(
        Request(
            model=request["model"],
            messages=(Message("user", ask.prompt),),
            shared=ask.shared,
            max_tokens=request["max_tokens"],
            system=ask.system,
            schema=ask.schema,
            effort=request["effort"],
        ),
        on_text=call.on_text,
        stop=call.stop,
    )


def judge(attempt: UnitAttempt, completion: Completion) -> tuple[Result, Digest | None]:
    """What a whole or cut answer comes to."""
    facts = attempts.facts_of(completion, completion.text)
    status, reason = classify(completion)
    return judged(attempt, Result(Status(status), reason, text=facts["output"], facts=facts))


def judged(attempt: UnitAttempt, result: Result) -> tuple[Result, Digest | None]:
    """Make sense of a complete answer; one that does not fit its form is a failure that was paid for."""
    if result.status != S.COMPLETED:
        return result, None
    unit = attempt.unit
    if not WORKS[unit.kind].paid:
        return Result(S.FAILED, Reason.LOST), None
    try:
        return result, with_contact(lambda: WORKS[unit.kind].read(unit.run, unit, result.text))
    except BadAnswer as error:
        return Result(S.FAILED, Reason.BAD_ANSWER, str(error), facts=result.facts), None


def _stopped(
    attempt: UnitAttempt, request: dict[str, Any], call: Call, worker: str, error: Stopped
) -> Result | None:
    """A call that was told to end: by its deadline, by a shut-down, or because the row was ended elsewhere."""
    facts = attempts.facts_of_error(error, request, error.partial or call.text())
    if call.stop.cause == "deadline":
        return Result(S.FAILED, Reason.DEADLINE, "The unit was stopped at its deadline.", facts=facts)
    if call.stop.cause == "handover":
        return Result(S.CANCELLED, Reason.HANDOVER, facts=facts)
    with_contact(lambda: engine.write_facts(attempt.pk, worker, facts))
    return None


def hand_over(pk: int, worker: str) -> None:
    """For a call that ignores its stop signal while the worker has to go: end its attempt from outside."""
    attempt = hotpath.load(pk)
    estimate_cost(attempt)
    engine.finish(attempt, Result(S.CANCELLED, Reason.HANDOVER), None, worker)


def estimate_cost(attempt: UnitAttempt) -> None:
    """A lost or stopped call counts with the prompt it sent and the text that arrived."""
    attempts.estimate_cost(attempt, int(attempt.request.get("prompt_tokens") or 0))
