"""Driving analyses in a test without a worker process: sources in a folder, a model that answers by script, and
units that are claimed and run in this thread."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import runner, services
from analysis.models import AnalysisRun, Finding, Unit, UnitAttempt
from analysis.plain import Options
from nyxcore import llm
from nyxcore.dbtime import ago
from nyxcore.llm.base import Completion, LLMError, Request, StopSignal, Usage
from tests.factories import make_user

WORKER = "test:1"
RULES = {"correctness": "correctness/off-by-one", "security": "security/injection"}
KINDS = {
    "You describe a repository": "overview",
    "You review source code": "chunk",
    "Another reviewer claims": "verify",
    "You plan a document": "plan",
    "You write one page": "page",
}
Answer = Callable[[Request], str]


class Scripted:
    """A provider that finds a fault in every line that says BUG. `replies` overrides what it says, by kind."""

    name = "scripted"

    def __init__(self) -> None:
        self.calls: list[tuple[str, Request]] = []
        self.replies: dict[str, Callable[[Request], Any]] = {}
        self.page_path = "app.py"  # that a planned page rests on

    def complete(self, request: Request, *, on_text: Callable[[str], None], stop: StopSignal) -> Completion:
        kind = next(kind for begin, kind in KINDS.items() if request.system.startswith(begin))
        self.calls.append((kind, request))
        said = self.replies.get(kind, lambda request: None)(request)
        if isinstance(said, LLMError):
            raise said
        if isinstance(said, Completion):
            return said
        text = said if isinstance(said, str) else getattr(self, f"_{kind}")(request)
        on_text(text)
        return completion(text)

    def kinds(self) -> list[str]:
        return [kind for kind, _request in self.calls]

    def asked(self, kind: str) -> list[Request]:
        return [request for asked, request in self.calls if asked == kind]

    def _overview(self, request: Request) -> str:
        return json.dumps({"summary": "A shop.", "stack": ["Python"], "layout": "", "conventions": ""})

    def _chunk(self, request: Request) -> str:
        assert request.schema is not None
        rules = request.schema["properties"]["findings"]["items"]["properties"]["rule_id"]["enum"]
        return json.dumps({"findings": [finding(rules[0], *one) for one in bugs(request)]})

    def _verify(self, request: Request) -> str:
        return json.dumps({"reason": "Went through it.", "verdict": "confirmed"})

    def _plan(self, request: Request) -> str:
        page = {"title": "Parts", "purpose": "What there is.", "paths": [self.page_path]}
        return json.dumps({"pages": [page]})

    def _page(self, request: Request) -> str:
        return f"It begins in `{self.page_path}:1-2`."

    def list_models(self) -> list[Any]:
        return []


def completion(text: str, stop_reason: str = "end_turn") -> Completion:
    return Completion(text, stop_reason, "practice", Usage(input_tokens=100, output_tokens=10))


def cut(text: str = '{"findings": [') -> Completion:
    return completion(text, "max_tokens")


def bugs(request: Request) -> Iterator[tuple[str, int, str]]:
    """(path, line, text) of the numbered lines that say BUG."""
    path = ""
    for line in request.messages[0].content.split("\n"):
        named = re.match(r'\[\w+ path="([^"]+)"', line)
        path = named[1] if named else path
        code = re.match(r" *(\d+)\| (.*BUG.*)", line)
        if code:
            yield path, int(code[1]), code[2]


def paths_in(request: Request) -> list[str]:
    """The files that a chunk shows."""
    return re.findall(r'^\[\w+ path="([^"]+)"', request.messages[0].content, re.M)


def finding(rule: str, path: str, line: int, excerpt: str, **fields: Any) -> dict[str, Any]:
    return {
        "rule_id": rule,
        "title": "A fault",
        "message": "It breaks when called.",
        "severity": "high",
        "confidence": 0.9,
        "path": path,
        "excerpt": excerpt,
        "start_line": line,
        "suggestion": "",
        "evidence": [],
    } | fields


@pytest.fixture
def model(settings: Any) -> Iterator[Scripted]:
    """The provider of this test."""
    scripted = Scripted()
    llm.reset_providers()
    llm._providers[llm.provider_name()] = scripted
    yield scripted
    llm.reset_providers()


@pytest.fixture
def root(tmp_path: Path, settings: Any) -> Path:
    """A folder below which sources may be analysed."""
    settings.NYXCORE_ANALYSIS_ROOT = str(tmp_path)
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def module(name: str, *, bug: bool = False, lines: int = 12) -> str:
    """A small module; with a fault where `bug`."""
    body = [f"def {name}(value):", "    total = 0", "    for item in value:", "        total += item"]
    body += [f"    total += {number}" for number in range(lines)]
    if bug:
        body.append(f"    total = value[len(value)]  # BUG {name}")
    return "\n".join([*body, "    return total", ""])


def begin(
    folder: Path, *, owner: Any = None, start: bool = True, budget: Any = None, **options: Any
) -> AnalysisRun:
    """An analysis of a folder by one analyzer, started; it asks nobody to confirm unless told to."""
    options = {"analyzers": ("correctness",), "confirm": False} | options
    run = services.create_analysis(
        owner=owner or make_user(),
        source_kind="path",
        location=str(folder),
        options=Options(**options),
        budget=budget,
        kind="operator",
    )
    if start:
        services.start_analysis(run, by=run.owner)
        run.refresh_from_db()
    return run


def run_all(worker: str = WORKER) -> None:
    """Run everything that is due, as a worker would."""
    while runner.work(worker):
        pass


def done(folder: Path, **options: Any) -> AnalysisRun:
    """An analysis that has run to its end."""
    run = begin(folder, **options)
    run_all()
    run.refresh_from_db()
    return run


def take(worker: str = WORKER) -> UnitAttempt:
    """Claim the next attempt and leave it running, as a worker that is in the middle of its call."""
    attempt = runner.next_attempt(worker)
    assert attempt is not None, "nothing to claim"
    return attempt


def silence(attempt: UnitAttempt, seconds: float) -> None:
    """Move the attempt's signs of life into the past, as if its worker had died then."""
    UnitAttempt.objects.filter(pk=attempt.pk).update(
        due_at=ago(seconds), heartbeat_at=ago(seconds), started_at=ago(seconds + 1)
    )


def due_now(run: AnalysisRun) -> None:
    """End every back-off."""
    UnitAttempt.objects.filter(unit__run=run, status="pending").update(queued_at=ago(1), due_at=ago(1))


def units(run: AnalysisRun, kind: str) -> list[Unit]:
    return list(Unit.objects.filter(run=run, kind=kind).order_by("position", "pk"))


def found(run: AnalysisRun) -> list[str]:
    """Where the findings stand that are kept and no program made by itself."""
    rows = (
        Finding.objects.filter(run=run, kept_as=None)
        .exclude(analyzer="static")
        .order_by("path", "start_line")
    )
    return [f"{row.path}:{row.start_line}" for row in rows]
