"""What is run in the laboratory. A subject starts runs and says what stands in their rows; cells know no more of it.

Another kind of run joins by a class with the same methods, and an entry in SUBJECTS.
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

from django.test import Client

from analysis import services as analyses
from analysis.models import AnalysisRun, UnitAttempt
from analysis.plain import Options
from nyxcore import events, pulse
from tests.analysis.engine_helpers import module, write
from tests.factories import attempts_of, make_user, make_workflow
from tests.faults.person import Answer, Person
from tests.faults.system import System
from workflows import services
from workflows.models import StepAttempt, Workflow

LINES = 40  # of code in a chunk: two do not fit into one call
_numbers = itertools.count(1)
ACCEPTED: set[int] = set()  # runs whose start was confirmed: each has to be one run
Story = list[tuple[str, str, str]]  # (cause, status, reason) of each attempt


class Run(Protocol):
    """One run under test."""

    pk: int

    def mark(self, key: str) -> str:
        """How the model server knows the calls of one step."""
        ...

    def start(self, *, ring: bool = True) -> None: ...
    def resume(self) -> None: ...
    def cancel(self) -> None: ...
    def status(self) -> str: ...
    def story(self, key: str) -> Story: ...


class WorkflowRun:
    """A workflow of a person of its own, so that no verb on one run sweeps another."""

    def __init__(self, system: System, keys: list[str], *, parallel: bool = False, **config: Any) -> None:
        number = next(_numbers)
        self._name = f"r{number}"
        self.user = make_user(f"lab-{number}")
        client = Client()
        client.force_login(self.user)
        self.person = Person(system, self.user, client.cookies["sessionid"].value)
        steps = [{"key": key, "config": {"prompt": f"[{self.mark(key)}] Write.", **config}} for key in keys]
        if parallel:
            steps = [step | {"needs": []} for step in steps]
        self.workflow = make_workflow(steps, owner=self.user)
        self.pk, self.keys = self.workflow.pk, keys
        self.path = f"/workflows/{self.pk}/"

    def mark(self, key: str) -> str:
        return f"{self._name}.{key}"

    def start(self, *, ring: bool = True) -> None:
        """As the web process does it; without `ring` the doorbell never leaves."""
        services.start_workflow(self.workflow, by=self.user)
        ACCEPTED.add(self.pk)
        if ring:
            pulse.drain()
        events.queue.clear()

    def post(self, verb: str) -> Answer:
        """As a person does it, by the web process."""
        answer = self.person.post(f"{self.path}{verb}/")
        if verb == "start" and answer.status == 302:
            ACCEPTED.add(self.pk)
        return answer

    def resume(self) -> None:
        services.resume_workflow(self.workflow, by=self.user)

    def cancel(self) -> None:
        services.cancel_workflow(self.workflow, by=self.user)

    def status(self) -> str:
        return str(Workflow.objects.values_list("status", flat=True).get(pk=self.pk))

    def attempts(self, **where: Any) -> Any:
        return StepAttempt.objects.filter(step__workflow=self.pk, **where)

    def attempt(self, key: str = "one") -> StepAttempt:
        """The newest one of a step."""
        return attempts_of(self.workflow, key)[-1]

    def story(self, key: str = "one") -> Story:
        return [(a.cause, a.status, a.reason) for a in attempts_of(self.workflow, key)]


class Analysis:
    """An analysis of a folder with one small chunk for each key, which bears its mark."""

    def __init__(self, system: System, keys: list[str], **config: Any) -> None:
        number = next(_numbers)
        self._name, self.keys = f"r{number}", keys
        self.user = make_user(f"lab-{number}")
        client = Client()
        client.force_login(self.user)
        self.person = Person(system, self.user, client.cookies["sessionid"].value)
        folder = write(
            system.sources / self._name,
            {f"{key}/code.py": f"# [{self.mark(key)}]\n{module(key, lines=LINES)}" for key in keys},
        )
        options = Options(analyzers=("correctness",), confirm=False)
        self.analysis = analyses.create_analysis(
            owner=self.user,
            source_kind="path",
            location=str(folder),
            options=options,
            name=self._name,
            kind="operator",
        )
        self.pk = self.analysis.pk
        self.path = f"/analysis/{self.pk}/"

    def mark(self, key: str) -> str:
        return f"{self._name}.{key}"

    def start(self, *, ring: bool = True) -> None:
        analyses.start_analysis(self.analysis, by=self.user)
        if ring:
            pulse.drain()
        events.queue.clear()

    def resume(self) -> None:
        analyses.resume_analysis(self.analysis, by=self.user)

    def cancel(self) -> None:
        analyses.cancel_analysis(self.analysis, by=self.user)

    def status(self) -> str:
        return str(AnalysisRun.objects.values_list("status", flat=True).get(pk=self.pk))

    def attempts(self, **where: Any) -> Any:
        return UnitAttempt.objects.filter(unit__run=self.pk, **where)

    def story(self, key: str = "one") -> Story:
        chunk = self.attempts(unit__kind="chunk", unit__chunk__pieces__0__0=f"{key}/code.py").order_by(
            "number"
        )
        return [(a.cause, a.status, a.reason) for a in chunk]


SUBJECTS: dict[str, type[Any]] = {"workflow": WorkflowRun, "analysis": Analysis}
