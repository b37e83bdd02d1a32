"""What attempts of every app have alike: their outcome, what a call has cost, tries, back-off, and the way to write
what was paid for. Nothing here knows what an attempt is about."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce

from nyxcore import sweep
from nyxcore.calls import storable
from nyxcore.llm import is_practice
from nyxcore.llm import models as registry
from nyxcore.llm.base import Completion, LLMError, Usage, classify
from nyxcore.models import Cause, PaidAttempt
from nyxcore.pulse import ring
from nyxcore.states import Reason, Status, transition

log = logging.getLogger(__name__)
S = Status
T = TypeVar("T")

TRIES = 4  # new attempts by back-off since the last one that a person caused
HANDOVERS = 3
RING_AFTER = 15.0  # s until a doorbell is rung again for an attempt that nobody has claimed
RING_AT_MOST = 300.0
NAME = 120  # characters of a provider's names that the columns take
PERSON_CAUSES = (Cause.START, Cause.RETRY, Cause.RERUN, Cause.EDIT)


@dataclass(frozen=True)
class Result:
    """What one attempt came to, ready to be written. `facts` are columns that hold what was paid for."""

    status: Status
    reason: str = ""
    error: str = ""
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] | None = None  # to be stored with the end, where it was not stored before
    retryable: bool = False
    retry_after: float | None = None
    look_again: float | None = None


# --- what a call came to and what it cost ---


def facts_of(completion: Completion, text: str) -> dict[str, Any]:
    """The columns that hold a complete or cut answer."""
    return {
        "output": storable(text),
        "stop_reason": completion.stop_reason,
        "model": storable(completion.model)[:NAME],
        "request_id": storable(completion.request_id)[:NAME],
        **_usage_facts(completion.model, completion.usage),
    }


def facts_of_error(error: LLMError, request: dict[str, Any], text: str) -> dict[str, Any]:
    """What a failed or stopped call leaves: its text, and what it probably cost."""
    facts: dict[str, Any] = {"request_id": storable(error.request_id)[:NAME]}
    if text:
        facts["output"] = storable(text)
    if error.usage is not None:
        facts |= _usage_facts(str(request.get("model", "")), error.usage)
    return facts


def _usage_facts(model: str, usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "thinking_tokens": usage.thinking_tokens,
        "usage": dict(usage.raw),
        "cost": registry.cost(model, usage),
        "cost_estimated": usage.estimated,
    }


def estimate_cost(attempt: PaidAttempt, prompt_tokens: int) -> None:
    """A lost call counts with the prompt it sent and the text that arrived; the vendor's total never came."""
    if attempt.cost is not None or not prompt_tokens:
        return
    usage = Usage(
        input_tokens=prompt_tokens,
        output_tokens=registry.estimate_tokens(attempt.output) if attempt.output else 0,
        raw={"practice": True} if is_practice() else {},
        estimated=True,
    )
    type(attempt)._default_manager.filter(pk=attempt.pk).update(
        **_usage_facts(str(attempt.request.get("model", "")), usage)
    )


def worst_case(model: str, prompt_tokens: int, max_tokens: int) -> Decimal:
    """USD that a call may cost at most; LLMError (reason "budget") where nobody knows its price."""
    worst = registry.worst_case(model, prompt_tokens, max_tokens)
    if worst is None:
        raise LLMError(
            f"The price of {model} is unknown, so the budget cannot be kept. Choose another model or "
            "remove the budget.",
            reason=Reason.BUDGET,
        )
    return worst


def left_of(budget: Decimal | None, attempts: QuerySet[Any]) -> Decimal:
    """USD: the budget less what was spent (estimates included) and what open attempts have reserved."""
    open_ = Q(status__in=(S.PENDING, S.RUNNING, S.WAITING))
    found = attempts.aggregate(spent=Sum("cost", filter=~open_), reserved=Sum("reserved", filter=open_))
    return Decimal(budget or 0) - (found["spent"] or Decimal(0)) - (found["reserved"] or Decimal(0))


def result_from_row(attempt: PaidAttempt) -> Result:
    """The Result of an attempt whose answer was stored before its worker was lost."""
    completion = Completion(attempt.output, attempt.stop_reason, attempt.model, Usage())
    status, reason = classify(completion)
    return Result(Status(status), reason, text=attempt.output)


def failure(error: LLMError, facts: dict[str, Any]) -> Result:
    """The Result of a call that gave no usable answer."""
    return Result(
        S.FAILED,
        error.reason,
        error.message,
        facts=facts,
        retryable=error.retryable,
        retry_after=error.retry_after,
    )


def internal(error: Exception, text: str) -> Result:
    """A mistake of ours ends the attempt; the text so far is kept."""
    detail = "".join(traceback.format_exception_only(error)).strip()
    facts = {"output": text} if text else {}
    return Result(S.FAILED, Reason.INTERNAL, error=storable(detail)[:4000], facts=facts)


# --- tries ---


def tries(attempts: QuerySet[Any], cause: str) -> int:
    """How many of these attempts have that cause since the last one that a person caused."""
    by_person = attempts.filter(Q(cause__in=PERSON_CAUSES) | Q(caused_by__isnull=False))
    last = Subquery(by_person.order_by("-number").values("number")[:1])
    return attempts.filter(cause=cause, number__gt=Coalesce(last, 0)).count()


def backoff(tries: int, retry_after: float | None) -> float:
    """Seconds to wait before the next try: what the vendor asks for, else 2, 8, 32, 120."""
    return max(retry_after or 0.0, min(2.0 * float(4**tries), 120.0))


# --- writing ---


def end(attempt: PaidAttempt, result: Result, *, fence: dict[str, Any]) -> bool:
    """End a running attempt, or have it wait, as `result` says; False when somebody else was first."""
    from nyxcore.states import Later

    changes: dict[str, Any] = {"error": result.error}
    if result.request is not None:
        changes |= {"request": result.request, "output": result.text}
    if result.status != S.WAITING:
        changes["reserved"] = None
    else:  # what it waits for may spend what was reserved
        changes |= {"worker": "", "due_at": Later(result.look_again or RING_AT_MOST), "deadline_at": None}
    return transition(attempt, S.RUNNING, result.status, reason=result.reason, fence=fence, **changes)


def store_request(model: type[PaidAttempt], pk: int, worker: str, request: dict[str, Any]) -> bool:
    """Keep what is asked with the attempt before anything is sent; False when it is not ours any more."""
    return _set(model, pk, worker, {"request": request}, "=")


def write_facts(model: type[PaidAttempt], pk: int, worker: str, facts: dict[str, Any]) -> tuple[bool, bool]:
    """Keep what was paid for; (the attempt is ours still, a row has changed).

    The former holder of an ended attempt may still add text, usage and cost, never why it ended.
    """
    if not facts:
        return True, False
    if _set(model, pk, worker, facts, "="):
        return True, True
    late = {name: value for name, value in facts.items() if name != "stop_reason"}
    return False, bool(late) and _set(model, pk, worker, late, "<>")


def _set(model: type[PaidAttempt], pk: int, worker: str, values: dict[str, Any], running: str) -> bool:
    """Set columns of an attempt that `worker` holds ("=") or held ("<>"); each call to a model does this twice."""
    fields: list[Any] = [model._meta.get_field(name) for name in values]
    saved = [field.get_db_prep_save(values[field.name], connection) for field in fields]
    sets = ", ".join(f'"{field.column}" = %s' for field in fields)
    query = f"UPDATE {model._meta.db_table} SET {sets} WHERE id = %s AND worker = %s AND status {running} %s"
    with connection.cursor() as cursor:
        cursor.execute(query, [*saved, pk, worker, S.RUNNING.value])
        return bool(cursor.rowcount)


def claimed_by(model: type[PaidAttempt], worker: str) -> int | None:
    """An attempt that this thread of a worker holds and has not begun: it was claimed, and the reply was lost."""
    held = model._default_manager.filter(status=S.RUNNING, worker=worker, request={}, stop_reason="")
    return held.values_list("pk", flat=True).first()


def by_status(rows: QuerySet[Any]) -> dict[Status, list[int]]:
    """The primary keys of rows, for each status that they have."""
    found: dict[Status, list[int]] = {}
    for pk, status in rows.values_list("pk", "status"):
        found.setdefault(Status(status), []).append(pk)
    return found


# --- what the sweep needs ---


REDELIVER = """
UPDATE {table} SET due_at = clock_timestamp() + make_interval(secs => least(greatest(
           extract(epoch FROM clock_timestamp() - queued_at), %(after)s), %(most)s))
 WHERE id IN (SELECT id FROM {table}
               WHERE id = ANY(%(pks)s) AND status = 'pending' AND due_at < clock_timestamp() FOR UPDATE SKIP LOCKED)
"""


def redeliver(model: type[PaidAttempt], pks: list[int]) -> str:
    """Ring for pending attempts; the next alarm comes after twice the time, at most five minutes."""
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"pks": pks, "after": RING_AFTER, "most": RING_AT_MOST}
        cursor.execute(REDELIVER.format(table=model._meta.db_table), values)
        rung = cursor.rowcount
    ring(rung)
    return "rung for a worker"


def overdue(model: type[PaidAttempt], pk: int, status: Status, of: str, *, lock: bool = False) -> Any:
    """The attempt, with the row `of` which it is, if it is overdue still; read afresh."""
    rows = model._default_manager.filter(sweep.overdue_condition(sweep.Scope()), pk=pk, status=status)
    if lock:
        rows = rows.select_for_update(of=("self",))
    return sweep.judged(rows).defer(None).select_related(of).first()


def last_sign(attempt: PaidAttempt) -> str:
    """Who held it, and when it was last heard of."""
    sign = attempt.heartbeat_at or attempt.started_at
    return f"Worker {attempt.worker} gave its last sign of life at {sign:%Y-%m-%d %H:%M:%S} UTC."
