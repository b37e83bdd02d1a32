"""The state machine explored by a machine: random runs, workers, failures, sweeps and persons in any order, on the
real database; after every move all invariants, at the end every run ends or waits for a person, who can move it.

HYPOTHESIS_PROFILE=long searches for minutes, with new examples each time; see CONTRIBUTING.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from nyxcore import pulse, sweep
from nyxcore.llm import models as registry
from nyxcore.states import Status
from tests.factories import make_spec
from tests.workflows.machine_world import (
    EVERYTHING,
    KINDS_OF_END,
    LEASE,
    SWEEP_EVERY,
    Held,
    Worker,
    World,
    sql,
)
from workflows import operating, recovery, services
from workflows.models import Step, Workflow
from workflows.services import Refused

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres")]

S = Status
LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
MODEL = "claude-opus-5-5"
MANY = 10**6
INDEX = st.integers(0, 7)
WORKFLOWS_AT_MOST = 4
POLICIES = ["", "stop", "raise", "continue"]
VERBS = {"pause": ("running",), "cancel": ("running", "paused"), "resume": ("paused", "failed", "cancelled")}
SECONDS = [5, 20, 45, 61, 130, 700, 700, 4000]
OUTAGES = [15, 61, 61, 130, 700]
ROOMS = [None, 32_768, 100_000]
TEXTS = [None, "Edited.", " "]
BUDGETS = ["", "0.60", "5"]


@st.composite
def specs_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Steps with random needs; a gate shows one of its needs; some prompts name an earlier output."""
    steps: list[dict[str, Any]] = []
    for n in range(draw(st.sampled_from([3, 4, 2, 5, 1]))):
        least = draw(st.sampled_from([1, 1, 0])) if n else 0
        needed = draw(st.sets(st.integers(0, max(n - 1, 0)), min_size=least, max_size=3)) if n else set()
        needs = [f"s{m}" for m in sorted(needed)]
        config: dict[str, Any] = {}
        if needs and draw(st.sampled_from([False, False, False, True])):
            config["shows"] = needs[0]
            if draw(st.booleans()):
                config["timeout"] = 90
            steps.append({"key": f"s{n}", "kind": "gate", "needs": needs, "config": config})
            continue
        if needs and draw(st.booleans()):
            config["prompt"] = f"Go on from {{{{ steps.{needs[-1]}.content }}}}"
        if policy := draw(st.sampled_from(POLICIES)):
            config["on_cut_off"] = policy
        if draw(st.sampled_from([False, False, True])):
            config["deadline"] = 300
        steps.append({"key": f"s{n}", "needs": needs, "config": config})
    return steps


# What a plan does: (move, arguments made of one drawn index, way of ending and flag).
WORK: dict[str, Any] = {
    "claim": lambda m, i, kind, flag: m.claim(i, flag),
    "begin": lambda m, i, kind, flag: m.fill_the_prompt(i),
    "write": lambda m, i, kind, flag: m.write_text(i),
    "store": lambda m, i, kind, flag: m.commit_facts(i, kind),
    "finish": lambda m, i, kind, flag: m.finish(i, kind, flag, i % 2 == 0),
    "go on": lambda m, i, kind, flag: m.finish(i, "completed", flag, i % 2 == 0),
    "beat": lambda m, i, kind, flag: m.beat(i),
    "start": lambda m, i, kind, flag: m.start(i),
}
FAULTS: dict[str, Any] = {
    "die": lambda m, i, kind, flag: m.die(i),
    "freeze": lambda m, i, kind, flag: m.freeze(i),
    "wake": lambda m, i, kind, flag: m.wake(i),
    "late": lambda m, i, kind, flag: m.finish_late(i, kind, flag),
    "hand over": lambda m, i, kind, flag: m.hand_over_from_outside(i),
    "time": lambda m, i, kind, flag: m.time_passes(SECONDS[i % len(SECONDS)], flag),
    "outage": lambda m, i, kind, flag: m.database_is_away(OUTAGES[i % len(OUTAGES)]),
    "two outages": lambda m, i, kind, flag: (m.database_is_away(130), m.database_is_away(130)),
    "slow sweeper": lambda m, i, kind, flag: m.a_slow_sweeper_meets_a_woken_worker(i),
    "sweep": lambda m, i, kind, flag: m.sweep(flag),
    "page": lambda m, i, kind, flag: m.page_opens(i),
}
PERSONS: dict[str, Any] = {
    "pause": lambda m, i, kind, flag: m.on_a_run(i, "pause"),
    "resume": lambda m, i, kind, flag: m.on_a_run(i, "resume"),
    "cancel": lambda m, i, kind, flag: m.on_a_run(i, "cancel"),
    "retry": lambda m, i, kind, flag: m.retry(i, ROOMS[i % len(ROOMS)], flag and i % 2 == 0),
    "skip": lambda m, i, kind, flag: m.skip(i, "Mine." if flag else ""),
    "accept": lambda m, i, kind, flag: m.accept(i),
    "decide": lambda m, i, kind, flag: m.decide_at_a_gate(i, flag, TEXTS[i % len(TEXTS)]),
    "rerun": lambda m, i, kind, flag: m.rerun(i, flag, i % 2 == 0),
    "settings": lambda m, i, kind, flag: m.change_settings(i, POLICIES[1 + i % 3], BUDGETS[i % len(BUDGETS)]),
    "mark failed": lambda m, i, kind, flag: m.operate(i, "mark_failed"),
    "release": lambda m, i, kind, flag: m.operate(i, "release_workflow"),
}


OFTEN = {"retry": 4, "rerun": 4, "cancel": 2, "claim": 2, "finish": 2, "go on": 2}


def plan_of(*moves: dict[str, Any]) -> Any:
    """Some of these moves after each other."""
    words = st.sampled_from([word for some in moves for word in some for _ in range(OFTEN.get(word, 1))])
    move = st.tuples(words, INDEX, st.sampled_from(KINDS_OF_END), st.booleans())
    return st.lists(move, min_size=1, max_size=8)


class Machine(RuleBasedStateMachine):
    conn: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.conn)

    # --- choosing ---

    def workflow(self, index: int, *statuses: str) -> Workflow:
        """One in such a status; at times any other, so that refusals are met too."""
        rows = Workflow.objects.order_by("pk")
        found = list(rows.filter(status__in=statuses)) if index < 6 else []
        found = found or list(rows)
        return found[index % len(found)]

    def step(self, index: int, *statuses: str) -> Step:
        rows = Step.objects.select_related("workflow").order_by("pk")
        found = list(rows.filter(status__in=statuses)) if index < 6 else []
        found = found or list(rows)
        return found[index % len(found)]

    def holding(self, index: int, *, frozen: bool = False) -> tuple[Worker, Held] | None:
        """An attempt in some worker's hands."""
        if not frozen:
            self.busy()
        held = [
            (worker, one)
            for worker in self.world.workers.values()
            if worker.frozen == frozen
            for one in worker.held.values()
        ]
        return held[index % len(held)] if held else None

    def begun(self, index: int) -> tuple[Worker, Held] | None:
        """The same, with its prompt sent."""
        found = self.holding(index)
        if found and found[1].request is None:
            self.world.begin(*found)
        return found if found and found[1].job.attempt in found[0].held else None

    def there_is_work(self) -> bool:
        """Some awake worker holds an attempt, or could."""
        pending = any(row[1] == "pending" for row in self.world.history.values())
        return any(worker.held or pending for worker in self.world.awake())

    def busy(self) -> None:
        """A moment at which nobody works tests little: an idle worker looks first."""
        if not any(worker.held for worker in self.world.awake()) and self.world.awake():
            self.world.claim(self.world.awake()[0])

    # --- what happens ---

    def do(self, plan: list[tuple[str, int, str, bool]]) -> None:
        for word, index, kind, flag in plan:
            (WORK | FAULTS | PERSONS)[word](self, index, kind, flag)

    @rule(plan=plan_of(WORK))
    def work_goes_on(self, plan: list[tuple[str, int, str, bool]]) -> None:
        self.do(plan)

    @rule(plan=plan_of(WORK, PERSONS))
    def persons_act(self, plan: list[tuple[str, int, str, bool]]) -> None:
        self.do(plan)

    @rule(plan=plan_of(WORK, FAULTS))
    def things_break(self, plan: list[tuple[str, int, str, bool]]) -> None:
        self.do(plan)

    @rule(plan=plan_of(WORK, FAULTS, PERSONS))
    def everything_at_once(self, plan: list[tuple[str, int, str, bool]]) -> None:
        self.do(plan)

    # --- runs ---

    @initialize(steps=specs_of(), policy=st.sampled_from(POLICIES[1:]), budget=st.sampled_from(["", "0.60"]))
    def begin(self, steps: list[dict[str, Any]], policy: str, budget: str) -> None:
        self.create(steps, policy, budget, 0, True)

    @precondition(lambda self: Workflow.objects.count() < WORKFLOWS_AT_MOST)
    @rule(
        steps=specs_of(),
        policy=st.sampled_from(POLICIES[1:]),
        budget=st.sampled_from(["", "", "0.60", "1.30"]),
        owner=st.integers(0, 1),
        start=st.booleans(),
    )
    def create(self, steps: list[dict[str, Any]], policy: str, budget: str, owner: int, start: bool) -> None:
        who = self.world.owners[owner]
        money = Decimal(budget) if budget else None
        spec = make_spec(steps, on_cut_off=policy, budget=money, default_model=MODEL)
        workflow = services.create_workflow(owner=who, spec=spec, data={})
        if start:
            with self.world.sparing_the_living("the start"):
                services.start_workflow(workflow, by=who)
        self.world.check("create")

    def start(self, index: int) -> None:
        workflow = self.workflow(index, "pending")
        with self.world.sparing_the_living("the start"):
            try:
                services.start_workflow(workflow, by=workflow.owner)
            except Refused:
                assert workflow.status != "pending"
        self.world.check("start")

    # --- workers ---

    def claim(self, index: int, more: bool) -> None:
        awake = self.world.awake()
        for worker in awake[: 2 if more else 1] + awake[index % 3 :][:1]:
            self.world.claim(worker)
        self.world.check("claim")

    def fill_the_prompt(self, index: int) -> None:
        found = self.holding(index)
        if found and found[1].request is None:
            self.world.begin(*found)
        self.world.check("begin")

    def write_text(self, index: int) -> None:
        found = self.begun(index)
        if found and found[1].result is None:
            found[1].call.on_text("Some text. ")
            self.world.beat(found[0])
        self.world.check("text")

    def finish(self, index: int, kind: str, claim: bool, hot: bool) -> None:
        if found := self.holding(index):
            self.world.finish(*found, kind, claim=claim, hot=hot)
        self.world.check(f"finish {kind}")

    def commit_facts(self, index: int, kind: str) -> None:
        """The answer is stored, the finish not yet."""
        found = self.begun(index)
        if found and found[1].result is None:
            self.world.facts(*found, kind)
        self.world.check(f"facts of {kind}")

    def beat(self, index: int) -> None:
        for worker in self.world.awake()[index % 3 :][:1]:
            self.world.beat(worker)
        self.world.check("beat")

    def die(self, index: int) -> None:
        """And the supervisor starts another one."""
        self.busy()
        found = list(self.world.workers.values())
        self.world.bury(found[index % len(found)])
        self.world.bear()

    def freeze(self, index: int) -> None:
        if found := self.holding(index):
            found[0].frozen = True

    def wake(self, index: int) -> None:
        frozen = [worker for worker in self.world.workers.values() if worker.frozen]
        if frozen:
            frozen[index % len(frozen)].frozen = False

    def finish_late(self, index: int, kind: str, hot: bool) -> None:
        """A worker wakes and writes before its pulse can tell it anything."""
        if found := self.holding(index, frozen=True):
            found[0].frozen = False
            self.world.finish(*found, kind, claim=True, hot=hot)
        self.world.check(f"late finish {kind}")

    @precondition(there_is_work)
    @rule(
        index=INDEX,
        seconds=st.sampled_from([61, 700]),
        between=st.sampled_from(["nothing", "claimed", "finished", "cancelled"]),
        kind=st.sampled_from(KINDS_OF_END),
        stored=st.booleans(),
        hot=st.booleans(),
    )
    def sleep_past_the_lease_and_finish(
        self, index: int, seconds: int, between: str, kind: str, stored: bool, hot: bool
    ) -> None:
        """What single moves rarely meet: swept, taken over by another worker, and then the first one wakes."""
        found = self.holding(index)
        if not found:
            return
        worker, held = found
        if held.request is None:
            self.world.begin(worker, held)
        if stored and held.result is None and held.job.attempt in worker.held:
            self.world.facts(worker, held, kind)
        if held.job.attempt not in worker.held:
            return
        worker.frozen = True
        self.world.steady(seconds)
        self.sweep(False)
        if between == "cancelled":
            workflow = Workflow.objects.get(pk=held.job.workflow)
            self.world.verb("cancel", lambda: services.cancel_workflow(workflow, by=workflow.owner))
        elif between != "nothing":
            other = self.world.bear()
            self.world.claim(other)
            self.world.check("takeover")
            if between == "finished":
                for taken in list(other.held.values()):
                    self.world.finish(other, taken, "completed")
        self.world.check(f"takeover {between}")
        worker.frozen = False
        self.world.finish(worker, held, kind, claim=True, hot=hot)
        self.world.check(f"waking {kind}")

    def hand_over_from_outside(self, index: int) -> None:
        """A call ignores its stop signal while its worker has to go."""
        if found := self.holding(index):
            worker, held = found
            from workflows import runner

            runner.hand_over(held.job.attempt, worker.name)
            del worker.held[held.job.attempt]
        self.world.check("hand-over")

    # --- time and sweeps ---

    def time_passes(self, seconds: int, swept: bool) -> None:
        self.busy()
        self.world.steady(seconds)
        self.world.check("time")
        if swept:
            self.sweep(False)

    def database_is_away(self, seconds: int) -> None:
        """Nobody beats and nobody sweeps; then everything comes back in any order, here the sweep first."""
        self.busy()
        self.world.shift(seconds)
        self.sweep(True)
        if seconds < sweep.gap():  # no gap to the sweep; whoever misses a lease of such moments is lost
            for worker in self.world.awake():
                self.world.beat(worker)

    def sweep(self, whole: bool) -> None:
        with self.world.sparing_the_living("the sweep"):
            sweep.run_pass(scope=None if whole else sweep.Scope())
        self.world.check("sweep")

    @rule()
    def dry_run(self) -> None:
        before = sql(EVERYTHING)
        sweep.run_pass(dry_run=True, scope=sweep.Scope())
        assert sql(EVERYTHING) == before, "a dry run wrote something"

    def page_opens(self, index: int) -> None:
        with self.world.sparing_the_living("the page"):
            recovery.repair_run(self.workflow(index).pk)
        self.world.check("page")

    @precondition(lambda self: not self.world.stale)
    @rule()
    def a_second_sweeper_looks(self) -> None:
        """And is slow: what it has found it treats later, when much may have happened."""
        target = recovery.SWEPT
        overdue = list(sweep.judged(sweep._within(target, sweep.Scope())))
        if not sweep._would_guard():
            self.world.stale += [
                (target.expire, (a.pk, sweep.verdict(a))) for a in overdue if a.status == "running"
            ]
        self.world.stale += [(target.look, (a.pk,)) for a in overdue if a.status == "waiting"]
        self.world.stale += [(target.repair, (run.pk,)) for run in target.idle_runs(sweep.Scope())]

    @precondition(lambda self: self.world.stale)
    @rule()
    def a_second_sweeper_acts(self) -> None:
        for handler, found in self.world.stale:
            with self.world.sparing_the_living("a slow sweeper"):
                handler(*found)
            self.world.check(f"stale {handler.__name__}")
        self.world.stale = []

    def a_slow_sweeper_meets_a_woken_worker(self, index: int) -> None:
        """The row was overdue when it was found; its worker has renewed it since."""
        found = self.holding(index)
        if not found:
            return
        found[0].frozen = True
        self.world.steady(LEASE + 1)
        self.world.stale = []
        self.a_second_sweeper_looks()
        found[0].frozen = False
        self.world.beat(found[0])
        self.a_second_sweeper_acts()

    # --- persons ---

    def on_a_run(self, index: int, verb: str) -> None:
        self.busy()
        workflow = self.workflow(index, *VERBS[verb])
        action = getattr(services, f"{verb}_workflow")
        self.world.verb(verb, lambda: action(workflow, by=self.world.ada))
        self.world.check(verb)

    def retry(self, index: int, room: int | None, more: bool) -> None:
        step = self.step(index, "failed", "cancelled", "cut_off")
        room = None if more else room
        again = {"max_tokens": room, "continue_text": more}
        self.world.verb("retry", lambda: services.retry_step(step, by=self.world.ada, **again))
        self.world.check("retry")

    def skip(self, index: int, replacement: str) -> None:
        step = self.step(index, "pending", "failed", "cancelled", "cut_off")
        self.world.verb("skip", lambda: services.skip_step(step, by=self.world.ada, replacement=replacement))
        self.world.check("skip")

    def accept(self, index: int) -> None:
        step = self.step(index, "cut_off")
        self.world.verb("accept", lambda: services.accept_step(step, by=self.world.ada))
        self.world.check("accept")

    def decide_at_a_gate(self, index: int, back: bool, text: str | None) -> None:
        step = self.step(index, "waiting")
        if back:
            comment = text or ""
            self.world.verb(
                "send back", lambda: services.send_back_step(step, by=self.world.ada, comment=comment)
            )
        else:
            self.world.verb("approve", lambda: services.approve_step(step, by=self.world.ada, text=text))
        self.world.check("gate", again=back)

    def rerun(self, index: int, edit: bool, output: bool) -> None:
        steps = list(self.workflow(index, "completed", "failed", "cancelled").steps.order_by("position"))
        step = steps[index % len(steps)]
        config = {step.key: {"prompt": "Otherwise."}} if edit and step.kind == "llm" else None
        outputs = {step.needs[0]: "My own words."} if output and step.needs else None
        self.world.verb(
            "rerun",
            lambda: services.rerun_from(step, by=self.world.ada, config_edits=config, output_edits=outputs),
        )
        self.world.check("rerun", again=True)

    def change_settings(self, index: int, policy: str, budget: str) -> None:
        workflow = self.workflow(index)
        money = Decimal(budget) if budget else None
        self.world.verb(
            "settings",
            lambda: services.update_settings(workflow, by=self.world.ada, on_cut_off=policy, budget=money),
        )
        self.world.check("settings")

    def operate(self, index: int, verb: str) -> None:
        self.busy()
        workflow = self.workflow(index, "running", "paused")
        action = getattr(operating, verb)
        self.world.verb(verb, lambda: action(workflow, by=self.world.operator))
        self.world.check(verb)

    # --- the end ---

    def teardown(self) -> None:
        self.world.run_out()
        for workflow in Workflow.objects.exclude(status="pending"):
            self._bring_home(workflow)

    def _bring_home(self, workflow: Workflow) -> None:
        """Whatever has become of a run: a person's verbs bring it to its end."""
        for _ in range(12):
            workflow.refresh_from_db()
            if workflow.status == "completed":
                return
            self._help(workflow)
            self.world.check("help")
            self.world.run_out()
        raise AssertionError(f"no person could bring it home: {self.world.picture()}")

    def _help(self, workflow: Workflow) -> None:
        ada = self.world.ada
        if workflow.reason == "budget":
            services.update_settings(workflow, by=ada, budget=None)
        for step in Step.objects.filter(workflow=workflow, status__in=("cut_off", "waiting", "cancelled")):
            if step.status == "waiting":
                services.approve_step(step, by=ada)
            elif step.status == "cut_off" or services.base.cut_if_resumed(workflow, step):
                services.skip_step(step, by=ada, replacement="Without.")
        workflow.refresh_from_db()
        if workflow.status not in ("running", "completed"):
            services.resume_workflow(workflow, by=ada)


@pytest.fixture
def pulse_connection(settings: Any) -> Iterator[Any]:
    settings.NYXCORE_LEASE, settings.NYXCORE_SWEEP_EVERY = LEASE, SWEEP_EVERY
    registry.forget_rows()
    with pulse.connect() as conn:
        yield conn


@pytest.mark.timeout(0 if LONG else 600)
def test_every_path_keeps_the_invariants_and_ends(
    pulse_connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Machine, "conn", pulse_connection)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=int(os.environ.get("MACHINE_EXAMPLES", "1000")) if LONG else 60,
            stateful_step_count=25 if LONG else 15,
            derandomize=not LONG,
            deadline=None,
            database=None,
            phases=[Phase.generate] if LONG else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )
