"""The table of cells: every moment with every fault, what has to come of it, and why some pairs make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.faults.faults import FAULTS, Fault
from tests.faults.moments import (
    MOMENTS,
    Answered,
    Cancelling,
    Claimed,
    Committed,
    FirstToken,
    MidStream,
    Migrating,
    Moment,
    Paused,
    Rung,
    StartUp,
    Stored,
    Sweeping,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Mapping

STREAMING = (Claimed.name, FirstToken.name, MidStream.name, Cancelling.name, Paused.name)
OF_MODEL = ("model down", "model cuts its answer", "model overloaded", "model slow", "model silent")
OF_PROCESS = tuple(name for name, fault in FAULTS.items() if fault.one_worker)

# --- pairs that make no sense, each with its reason ------------------------------------------------

LEFT_OUT: Mapping[tuple[str, str], str] = {
    **{
        (moment.name, fault): reason
        for fault in OF_MODEL
        for moment, reason in {
            Committed: "no call is made yet; once claimed it is the same as before the first token",
            Rung: "no call is made yet; once claimed it is the same as before the first token",
            Answered: "the call is over",
            Stored: "the call is over",
            Sweeping: "the call of a lost attempt is nobody's any more; the next one is as any other",
            Cancelling: "the cancel itself cuts the call",
            StartUp: "no call is made yet; once claimed it is the same as before the first token",
            Migrating: "the model and the schema do not meet",
        }.items()
    },
    (MidStream.name, "model overloaded"): "an answer that has begun cannot be refused; it is cut",
    (Paused.name, "model overloaded"): "an answer that has begun cannot be refused; it is cut",
    **{
        (moment.name, "sweep against the finish"): reason
        for moment, reason in {
            Committed: "nothing finishes",
            Rung: "nothing finishes",
            Claimed: "nothing finishes",
            Answered: "its row is locked by the worker's own write; C33 races the two",
            Stored: "its row is locked by the finish itself; C33 races the two",
            Sweeping: "the sweep is in it already",
            Cancelling: "the cancel ends it",
            StartUp: "nothing finishes",
            Migrating: "nothing finishes",
        }.items()
    },
    (StartUp.name, "process told to end, in time"): "nothing runs that could end in time; it is as out of time",
    (StartUp.name, "process frozen for a moment"): "it holds no lease yet",
    (StartUp.name, "clocks off by two hours"): "both workers start with wrong clocks in that fault anyway",
    (StartUp.name, "process cut off from PostgreSQL"): "it holds nothing yet; the fault is a longer start",
    (Rung.name, "process frozen for a moment"): "the workers are frozen at this moment anyway",
    (Rung.name, "process told to end, in time"): "it holds nothing; it is as out of time",
    (Rung.name, "clocks off by two hours"): "it holds nothing, and no clock is read",
    (Rung.name, "process cut off from PostgreSQL"): "the workers are frozen at this moment anyway",
    (Sweeping.name, "clocks off by two hours"): "the sweep is one SQL statement by the database's clock; C35",
    (Migrating.name, "clocks off by two hours"): "a migration reads no clock",
    (Migrating.name, "process told to end, in time"): "a migration has no time to end in; it ends at once",
    (Migrating.name, "process told to end, out of time"): "a migration is not asked to hand over; it is killed",
    (Migrating.name, "process cut off from PostgreSQL"): "a migration holds no lease; as frozen",
}  # fmt: skip


def pairs() -> Iterator[tuple[type[Moment], Fault]]:
    """Every pair that makes sense."""
    for moment in MOMENTS.values():
        for fault in FAULTS.values():
            if (moment.name, fault.name) not in LEFT_OUT:
                yield moment, fault


def rounds() -> Iterator[tuple[Fault, list[type[Moment]]]]:
    """The same in as few rounds as possible: moments that can stand side by side share a fault."""
    found = list(pairs())
    for fault in FAULTS.values():
        together = [moment for moment, other in found if other is fault and not moment.alone]
        if together:
            # Those whose row is locked while they are held come last: a lock must not outlast a lease.
            yield fault, sorted(together, key=lambda moment: moment in (Claimed, Answered, Stored))
    for moment in MOMENTS.values():
        if moment.alone:
            yield from ((fault, [moment]) for other, fault in found if other is moment)


# With an analysis under test: its chunks are calls as any others, so only what an app does by code of its own.
ANALYSIS_MOMENTS = (MidStream, Cancelling, Answered, Stored)
ANALYSIS_FAULTS = (
    "process killed", "process told to end, out of time", "process frozen past its lease", "machine off and on",
    "Valkey killed", "PostgreSQL restarted", "two sweeps at once",
)  # fmt: skip


def analysis_rounds() -> Iterator[tuple[Fault, list[type[Moment]]]]:
    """The rounds that are played with analyses, too."""
    for name in ANALYSIS_FAULTS:
        yield FAULTS[name], [one for one in ANALYSIS_MOMENTS if (one.name, name) not in LEFT_OUT]


# --- expected ends --------------------------------------------------------------------------------

# How the first step's attempts follow one another, by the kind of the fault. What is not named costs nothing.
LOST, HANDOVER = ("lost",), ("handover",)
COSTS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "kill": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name, Answered.name, Migrating.name), LOST),
    "power": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name, Answered.name, Migrating.name), LOST),
    # A frozen or cut-off process has already sent what it stores: the statement is done without it.
    "freeze": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name), LOST),
    "forced": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name), HANDOVER),
    "model": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name), ("backoff",)),
    "deadline": dict.fromkeys((Claimed.name, FirstToken.name, MidStream.name, Paused.name), ("deadline",)),
    "race": {},
    "calm": {},
}  # fmt: skip
# Causes that further attempts may have at all, in either step.
POSSIBLE: Mapping[str, set[str]] = {
    "kill": {"lost"},
    "power": {"lost"},
    "freeze": {"lost"},
    "forced": {"handover"},
    "model": {"backoff"},
    "deadline": {"retry", "start", "rerun"},
    "race": {"lost"},
    "calm": set(),
}
FAILS_AS = {
    "lost": ("failed", "lost"),
    "handover": ("cancelled", "handover"),
    "deadline": ("failed", "deadline"),
}
FREE = (Paused.name, Cancelling.name)  # a person is at work too: what is taken back and opened again is free


def costs(fault: Fault, moment: str) -> tuple[str, ...] | None:
    """Causes of the further attempts of the first step; None where several ends are right."""
    if moment == Sweeping.name:
        return LOST
    if fault.kind == "race" or (moment in FREE and fault.kind not in ("calm", "deadline")):
        return None
    # The harmed process is the one that migrates; the worker goes on.
    if moment == Migrating.name and fault.one_worker:
        return ()
    return COSTS[fault.kind].get(moment, ())


def expected(fault: Fault, moment: str) -> str:
    """The expected end in words."""
    end = "cancelled if that was confirmed, else completed" if moment == Cancelling.name else "completed"
    found = costs(fault, moment)
    if found is None:
        return f"{end}; further attempts only as {', '.join(sorted(POSSIBLE[fault.kind])) or 'none'}"
    words = {
        (): "by its first attempt, asked of the model once",
        LOST: "after one attempt ended as lost by the sweep",
        HANDOVER: "after one attempt was handed over, at no cost to its tries",
        ("backoff",): "after one counted retry, by the engine",
        ("deadline",): "after its deadline failed the step and a person resumed",
    }
    return f"{end}, {words[found]}"


def judge(fault: Fault, moment: Moment, *, strict: bool) -> list[str]:
    """What differs from the expected end."""
    run, found = moment.run, []
    status = run.status()
    right = ("completed", "cancelled") if moment.name == Cancelling.name else ("completed",)
    if status not in right:
        found.append(f"ended as {status}: {run.story('one')} {run.story('two')}")
    exact = costs(fault, moment.name)
    if strict and exact is not None and status == "completed" and not _fits(run.story("one"), exact):
        found.append(f"expected {expected(fault, moment.name)}, and came {run.story('one')}")
    possible = POSSIBLE[fault.kind] | {"start"} | ({"lost"} if moment.name == Sweeping.name else set())
    if moment.name in FREE:
        possible |= {"retry", "rerun"}
    for key in ("one", "two"):
        strange = {cause for cause, _, _ in run.story(key)} - possible
        if strange:
            found.append(f"{key} was tried again as {', '.join(sorted(strange))}: {run.story(key)}")
    return found


def _fits(story: list[tuple[str, str, str]], causes: tuple[str, ...]) -> bool:
    if len(story) != len(causes) + 1 or story[-1][1:] != ("completed", ""):
        return False
    for (_, status, reason), (cause, _, _), expected_cause in zip(story, story[1:], causes, strict=False):
        if expected_cause in FAILS_AS and (status, reason) != FAILS_AS[expected_cause]:
            return False
        if expected_cause != "deadline" and cause != expected_cause:
            return False
    return True
