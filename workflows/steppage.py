"""What an open step shows: its text, what went wrong and what helps, the prompt as sent, its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, IntegerField, Q, TextField, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, Coalesce
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from nyxcore.states import NEXT_ACTION, Reason, Status
from workflows import forms, requests
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
    page.trouble = _trouble(step, line, page.newest)
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
            no_text=ExpressionWrapper(Q(output=""), output_field=BooleanField()),
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


def _trouble(step: Step, line: StepLine, newest: StepAttempt | None) -> Trouble | None:
    if step.status == S.WAITING:
        return Trouble(
            "A person decides here.", "Approve the text, edit it and approve, or send it back with a comment."
        )
    if step.status == S.CANCELLED:
        return Trouble("Cancelled.", "Resume the workflow to run this step, or retry it alone.")
    if step.status not in (S.FAILED, S.CUT_OFF):
        return None
    cause = (
        str(Reason(step.reason).label) if step.reason in Reason.values else "The step ended without a result."
    )
    then = NEXT_ACTION.get(step.reason, "")
    if step.reason == Reason.CUT_MAX_TOKENS:
        cause = f"The answer reached its limit of {line.cap:,} tokens before it was finished."
        if not line.more_room:
            then = f"{line.model} allows no more than {line.cap:,} tokens: continue the answer, or accept it as it is."
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
        found.append(forms.RetryForm(step, workflow))
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
