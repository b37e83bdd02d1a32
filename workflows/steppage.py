"""What an open step shows: its text, what went wrong and what helps, the prompt as sent, its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, F, IntegerField, Q, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce, Extract, Greatest, Now
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from nyxcore import ui
from nyxcore.llm import models as registry
from nyxcore.states import Reason, Status
from workflows import engine, forms, requests, services, stepfacts
from workflows.kinds import KINDS
from workflows.lines import StepLine
from workflows.models import Step, StepAttempt, Workflow

S = Status
ATTEMPTS_SHOWN = 50


@dataclass(frozen=True)
class Trouble:
    """Why a step does not go on by itself, the next action, and the vendor's words folded away."""

    cause: str
    next: str = ""
    detail: str = ""
    who: stepfacts.Deed | None = None  # brought it here


@dataclass
class StepPage:
    step: Step
    line: StepLine
    now: datetime
    newest: StepAttempt | None = None
    attempts: Sequence[StepAttempt] = ()
    parts: list[str] = field(default_factory=list)  # that the running attempt goes on from
    text: str = ""
    raw: bool = False
    needs: Sequence[Step] = ()
    trouble: Trouble | None = None
    forms: list[forms.RemedyForm] = field(default_factory=list)
    history: Sequence[stepfacts.Deed] = ()
    chain: list[str] = field(default_factory=list)  # the parts of a whole answer that was continued
    live: bool = False  # the workflow has not ended, so nothing can be run again from here

    @property
    def bar(self) -> stepfacts.CapBar | None:
        newest = self.newest
        if newest is None:
            return None
        cap = newest.request.get("max_tokens") or newest.max_tokens
        return stepfacts.cap_bar(newest.output_tokens, newest.thinking_tokens, cap)

    @property
    def waited(self) -> float | None:
        return stepfacts.wait_of(self.newest, self.now) if self.newest else None

    @property
    def ran(self) -> float | None:
        newest = self.newest
        return ui.seconds_between(newest.started_at, newest.finished_at) if newest else None

    @property
    def decided(self) -> stepfacts.Deed | None:
        return stepfacts.decided(self.history) if self.step.status in (S.COMPLETED, S.SKIPPED) else None

    @property
    def parts_left(self) -> int:
        """How many times a cut answer may still be continued."""
        return max(0, engine.PARTS - max(len(self.chain), 1))

    @property
    def may_rerun(self) -> bool:
        return not self.live and self.step.status not in (S.PENDING, S.RUNNING, S.WAITING)

    @property
    def compares(self) -> tuple[Sequence[StepAttempt], Sequence[StepAttempt]] | None:
        """The choices of a comparison, what is wanted most first: the last two attempts."""
        if len(self.attempts) < 2:
            return None
        newest_first = self.attempts[::-1]
        return [*newest_first[1:], newest_first[0]], newest_first

    @property
    def template(self) -> str:
        return f"workflows/kinds/_{self.step.kind}.html"

    @property
    def kind_label(self) -> str:
        return KINDS[self.step.kind].label if self.step.kind in KINDS else self.step.kind

    @property
    def request(self) -> dict[str, Any]:
        return self.newest.request if self.newest else {}

    @property
    def stream(self) -> StepAttempt | None:
        """The attempt whose text is being written."""
        return self.newest if self.newest and self.newest.status == S.RUNNING else None

    @property
    def instructions(self) -> str:
        return str(self.request.get("instructions", "")) if self.step.status == S.WAITING else ""

    @property
    def sizes(self) -> list[tuple[str, int]]:
        """The parts that were filled into the prompt, largest first."""
        sizes = self.request.get("sizes") or {}
        parts = [(name, size) for name, size in sizes.items() if name not in ("prompt", "system")]
        return sorted(parts, key=lambda item: -item[1])

    @property
    def prompt_tokens(self) -> int:
        """Of the whole prompt: as the vendor counted it, else as we guess."""
        newest = self.newest
        if newest is None:
            return 0
        counted = (newest.input_tokens, newest.cache_read_tokens, newest.cache_write_tokens)
        sent = f"{self.request.get('system') or ''}{self.request.get('prompt') or ''}"
        return sum(count or 0 for count in counted) or registry.estimate_tokens(sent)

    @property
    def template_prompt(self) -> str:
        return str(self.step.config.get("prompt", ""))

    @property
    def words(self) -> int:
        return len(self.text.split())

    @property
    def partial(self) -> str:
        """What kind of text this is, where it is not a whole answer."""
        if self.step.status == S.CUT_OFF:
            return "Cut off, not used by later steps:"
        if self.step.status in (S.FAILED, S.CANCELLED):
            return "Written before it ended:"
        if self.step.status == S.SKIPPED:
            return "Text in place of the skipped step:"
        return ""

    @property
    def last_error(self) -> str:
        ended = [attempt for attempt in self.attempts if attempt.error]
        return ended[-1].error if ended else ""


def load(step: Step, line: StepLine, *, now: datetime, raw: bool = False) -> StepPage:
    """Read what the open step needs: three or four queries, whatever the size of its history."""
    page = StepPage(step, line, now, raw=raw)
    page.attempts = _attempts(step)
    page.newest = StepAttempt.objects.filter(step=step, branch="").order_by("-number").first()
    if step.needs:
        needs = Step.objects.filter(workflow_id=step.workflow_id, key__in=step.needs)
        page.needs = list(needs.only("pk", "title", "workflow_id", "position").order_by("position"))
    if page.stream and page.stream.continues_id:
        before = requests.joined(page.stream, "")
        page.parts = [before] if before else []
    page.text = _text(step, page.newest)
    page.live = step.workflow.status not in services.CLOSED
    page.history = stepfacts.history(step)
    if page.newest and page.newest.continues_id and not page.stream:
        parts = requests.parts(page.newest)
        page.chain = parts if "".join(parts) == page.text else []
    page.trouble = _trouble(page)
    return page


def _attempts(step: Step) -> Sequence[StepAttempt]:
    """The history without its long columns; texts are fetched one by one when they are asked for."""
    rows = (
        StepAttempt.objects.filter(step=step)
        .select_related("caused_by")
        .defer("request", "output", "usage")
        .annotate(
            cap=Coalesce(
                Cast(KT("request__max_tokens"), IntegerField()), "max_tokens", output_field=IntegerField()
            ),
            asked_model=Coalesce(KT("request__model"), Value(""), output_field=TextField()),
            tokens_in=Coalesce("input_tokens", 0)
            + Coalesce("cache_read_tokens", 0)
            + Coalesce("cache_write_tokens", 0),
            # Seconds in the queue; a back-off is no queue.
            waited=Extract(Greatest(Coalesce("started_at", Now()) - F("queued_at"), timedelta()), "epoch"),
            no_text=ExpressionWrapper(Q(output=""), output_field=BooleanField()),
            thinned=ExpressionWrapper(Q(request__thinned__has_key="output"), output_field=BooleanField()),
        )
        .order_by("-number")[:ATTEMPTS_SHOWN]
    )
    return list(rows)[::-1]


def _text(step: Step, newest: StepAttempt | None) -> str:
    if step.status in (S.COMPLETED, S.SKIPPED):
        return step.output
    if newest is None or newest.status in (S.PENDING, S.RUNNING):
        return ""
    if step.status == S.WAITING:
        return str(newest.request.get("content", "")) or newest.output
    if step.status in (S.CUT_OFF, S.FAILED, S.CANCELLED):
        return requests.joined(newest, newest.output)
    return ""


def _trouble(page: StepPage) -> Trouble | None:
    step, newest = page.step, page.newest
    if step.status == S.WAITING:
        return Trouble(
            "A person decides here.", "Approve the text, edit it and approve, or send it back with a comment."
        )
    if step.status == S.CANCELLED:
        by = page.history[0] if page.history else None
        return Trouble("Cancelled.", "Resume the workflow to run this step, or retry it alone.", who=by)
    if step.status not in (S.FAILED, S.CUT_OFF):
        return None
    cause = ui.cause(step.reason) or "The step ended without a result."
    then = ui.helps(step.status, step.reason)
    if step.status == S.CUT_OFF and newest is not None:
        more = engine.more_room(newest) or 0
        cause, then = stepfacts.why_cut(step.reason, newest, more, page.parts_left)
    return Trouble(cause, then, _detail(newest))


def _detail(newest: StepAttempt | None) -> str:
    if newest is None:
        return ""
    facts = [
        newest.error,
        f"stop reason: {newest.stop_reason}" if newest.stop_reason else "",
        f"request id: {newest.request_id}" if newest.request_id else "",
        f"attempt {newest.number}, worker {newest.worker}" if newest.worker else "",
    ]
    return "\n".join(fact for fact in facts if fact)


def remedy_forms(page: StepPage, workflow: Workflow) -> list[forms.RemedyForm]:
    """The folds that fit the state of a step."""
    step = page.step
    if step.status == S.WAITING:
        return [
            forms.ApproveForm(initial={"text": page.text}, auto_id=f"id_approve_{step.pk}_%s"),
            _send_back(step),
        ]
    if step.status not in (S.FAILED, S.CUT_OFF, S.CANCELLED):
        return []
    found: list[forms.RemedyForm] = []
    if step.kind == "llm":
        retry = forms.RetryForm(step, workflow)
        # Where more room is no remedy the changes are what helps, so they stand open.
        retry.opened = step.status == S.CUT_OFF and step.reason in (Reason.CUT_THINKING, Reason.CUT_CONTEXT)
        found.append(retry)
    if step.status != S.CANCELLED:
        found.append(forms.SkipForm(auto_id=f"id_skip_{step.pk}_%s"))
    return found


def _send_back(step: Step) -> forms.SendBackForm:
    return forms.SendBackForm(auto_id=f"id_back_{step.pk}_%s")


def body(
    page: StepPage,
    workflow: Workflow,
    request: Any,
    *,
    refused: str = "",
    bound: forms.RemedyForm | None = None,
) -> SafeString:
    """The HTML below a step's line. `bound` is a form that came back with errors; it stands in for its empty one."""
    page.forms = remedy_forms(page, workflow)
    if bound is not None:
        page.forms = [bound if form.name == bound.name else form for form in page.forms]
        if bound not in page.forms:
            page.forms.insert(0, bound)
        page.trouble = page.trouble or Trouble("This step cannot be changed now.")
    context = {"page": page, "step": page.step, "line": page.line, "workflow": workflow, "refused": refused}
    return render_to_string("workflows/_body.html", context, request)
