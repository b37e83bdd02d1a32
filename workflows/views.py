"""The pages of workflows and the fragments and JSON that keep them fresh. What changes something is in actions.py."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import (
    HttpRequest,
    HttpResponse,
    JsonResponse,
)
from django.middleware.csrf import get_token
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from nyxcore import health, llm
from nyxcore.access import signed_in
from nyxcore.live_views import text_since, whole_number
from nyxcore.llm import models as registry
from nyxcore.states import Status
from workflows import drawing, find, lines, pages, recovery, rows, steppage, timeline
from workflows.compare import show as show_comparison
from workflows.cutpanel import CutLine, CutPanel, cut_panel
from workflows.explain import explain
from workflows.forms import RemedyForm
from workflows.models import Step, StepAttempt, Workflow


def _of(request: HttpRequest) -> QuerySet[Workflow]:
    return Workflow.objects.visible_to(request.user)


def user_pk(request: HttpRequest) -> int:
    pk = request.user.pk
    assert pk is not None  # signed_in
    return int(pk)


def get_workflow(request: HttpRequest, pk: int) -> Workflow:
    """A workflow that the person may see; else 404, as if it did not exist."""
    return get_object_or_404(_of(request).select_related("owner", "held_by"), pk=pk)


def get_step(request: HttpRequest, pk: int, step_pk: int) -> Step:
    steps = Step.objects.visible_to(request.user).select_related("workflow__owner", "workflow__held_by")
    return get_object_or_404(steps, pk=step_pk, workflow=pk)


# --- one workflow ---------------------------------------------------------------------------------------------


@signed_in
@require_GET
@never_cache
def workflow_why(request: HttpRequest, pk: int) -> HttpResponse:
    """What `manage.py explain` says: why the run is where it is, and what would move it."""
    workflow = get_workflow(request, pk)
    context = {"row": workflow, "sentences": explain(workflow), "section": "workflows"}
    return render(request, "why.html", context)


def load_run(workflow: Workflow) -> pages.Run:
    now = timezone.now()
    return pages.Run(workflow, lines.step_lines(workflow.pk, now=now), now)


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def workflow_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The page of a run; `part` is one of its fragments.

    run: header and banner; nav: the bar; pipeline: drawing and steps; drawing (`view`: graph, timeline, words);
    find: how often `q` occurs in each step, as JSON. `open` names the steps that come open.
    """
    asked_at = time.time()
    workflow = get_workflow(request, pk)
    part = request.GET.get("part", "")
    if not part:
        recovery.repair_run(workflow.pk)
        workflow = get_workflow(request, pk)
    run = load_run(workflow)
    if part == "run":
        return render_run(request, run)
    context = run_context(run)
    if part == "nav":
        return render(request, "workflows/_nav.html", context)
    if part == "find":
        return JsonResponse({"hits": find.hits(workflow.pk, request.GET.get("q", ""))})
    context["drawing"] = drawn(request, run)
    if part == "drawing":
        return render(request, "workflows/_drawing.html", context)
    context["articles"] = articles(request, run, opened=_asked_open(request, run))
    if part == "pipeline":
        return render(request, "workflows/_pipeline.html", context)
    return render(
        request, "workflows/workflow_detail.html", context | live_context(request, workflow, asked_at)
    )


NAMED_AT_MOST = 20  # steps whose bodies come with a page that names them
STEP_FILTERS = (
    ("", "All steps"), ("needs", "Needs attention"), ("left", "Left to do"),
    *((status.value, status.label) for status in Status if status != Status.PAUSED),
)  # fmt: skip
VIEWS = (("graph", "Graph"), ("timeline", "Timeline"), ("words", "Words"))


def drawn(request: HttpRequest, run: pages.Run) -> dict[str, Any]:
    """The drawing in the form that the address asks for."""
    view_asked = request.GET.get("view", "")
    view = view_asked if view_asked in dict(VIEWS) else "graph"
    made: dict[str, Any] = {"view": view, "views": VIEWS}
    if view == "words":
        made["words"] = drawing.describe(run.lines)
    elif view == "timeline":
        made["svg"] = timeline.draw(run.workflow.pk, run.lines, run.now)
    elif not request.GET.get("part") and not view_asked and len(run.lines) > drawing.LATER_OVER:
        made["later"] = True
    else:
        graph = drawing.drawn(run.lines)
        return made | {"svg": graph.svg, "caption": graph.caption}
    return made | {"caption": drawing.drawn(run.lines).caption}


def run_context(run: pages.Run, refused: str = "") -> dict[str, Any]:
    """What header and banner need. Whether a worker lives matters only while something waits for one."""
    return {
        "run": run, "section": "workflows", "practice": llm.is_practice(), "refused": refused,
        "no_worker": health.no_worker_since() if run.queued else None,
        "default_model": registry.default_model() or "none", "step_filters": STEP_FILTERS,
        "cut": _cut_panel(run),
    }  # fmt: skip


def _cut_panel(run: pages.Run) -> CutPanel | None:
    """What mends all cut steps at once, while the whole run waits for that."""
    if run.workflow.status not in (Status.PAUSED, Status.FAILED):
        return None
    cut = [line for line in run.lines if line.status == Status.CUT_OFF]
    return cut_panel(
        run.workflow, [CutLine(line.attempt_pk, line.position, line.title, line.reason) for line in cut]
    )


def render_run(request: HttpRequest, run: pages.Run, refused: str = "", status: int = 200) -> HttpResponse:
    """Header, buttons and banner, as one fragment."""
    return render(request, "workflows/_run.html", run_context(run, refused), status=status)


def live_context(request: HttpRequest, workflow: Workflow, asked_at: float) -> dict[str, Any]:
    """What live.js finds on <main id="live">. `asked_at`: before access was checked."""
    from nyxcore.live_tokens import make_token

    return {
        "token": make_token(user_pk(request), [workflow.channel], issued_at=asked_at),
        "token_url": f"{reverse('events-token')}?{urlencode({'channel': workflow.channel})}",
    }


def _asked_open(request: HttpRequest, run: pages.Run) -> set[int]:
    """The steps to open: those that the address names (or the page when it is refreshed), else those worth a look."""
    asked = request.GET.get("open")
    if asked is None:
        return run.opened()
    named = {int(word) for word in re.split("[.,]", asked) if word.isascii() and word.isdecimal()}
    found = [line.pk for line in run.lines if line.pk in named]
    # What a script opens comes as it is seen; a page whose bodies are there already wants them all back.
    return set(found if request.GET.get("part") else found[:NAMED_AT_MOST])


def articles(request: HttpRequest, run: pages.Run, opened: set[int]) -> SafeString:
    """The steps of a page; only the few open ones are read and rendered whole."""
    csrf = get_token(request)
    full = Step.objects.select_related("workflow").in_bulk(list(opened)) if opened else {}
    made: list[str] = []
    for line in run.lines:
        if line.pk in full:
            page = steppage.load(full[line.pk], line, now=run.now)
            body = steppage.body(page, run.workflow, request)
            remedies = rows.remedies(line, csrf) if line.needs_a_person else ""
            made.append(rows.article(line, body=body, remedies=remedies, opened=True))
        elif line.needs_a_person:
            made.append(rows.article(line, remedies=rows.remedies(line, csrf)))
        else:
            made.append(line.html or rows.closed(line))
    return mark_safe("".join(made))


@signed_in
@require_GET
@never_cache
def workflow_state(request: HttpRequest, pk: int) -> JsonResponse:
    """Versions and states of all rows of the run (with `step`, of that one and the run): what pages compare."""
    workflow = get_object_or_404(_of(request).only("pk", "version", "status"), pk=pk)
    live = lines.live_rows(workflow)
    only = request.GET.get("step")
    if only:
        live = {name: row for name, row in live.items() if name in (workflow.dom_id, f"step-{only}")}
    return JsonResponse(
        {"rows": live, "open": workflow.status in (Status.PENDING, Status.RUNNING, Status.PAUSED)}
    )


# --- one step -------------------------------------------------------------------------------------------------


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def step(request: HttpRequest, pk: int, step_pk: int) -> HttpResponse:
    """A step as a fragment, or as a page of its own without htmx.

    `open` gives the fragment its body (`open=at-work` only where an attempt runs); `part=body` gives the body
    alone, `part=plain` the text as it is, `attempt` the text of one attempt, `compare` the difference of two (see
    compare.py).
    """
    asked_at = time.time()
    row = get_step(request, pk, step_pk)
    if "attempt" in request.GET:
        return _attempt_text(request, row)
    if "compare" in request.GET:
        return show_comparison(request, row)
    part = request.GET.get("part", "")
    if part == "plain":
        return HttpResponse(row.output or _newest_text(row), content_type="text/plain; charset=utf-8")
    if part == "body":
        _line, body, _now = _body(request, row)
        return HttpResponse(body)
    if request.htmx:  # type: ignore[attr-defined]
        asked = request.GET.get("open", "")
        return render_step(request, row, opened=bool(asked), if_at_work=asked == "at-work")
    line, body, now = _body(request, row)
    article = rows.article(line, body=body, opened=True)
    context = {
        "workflow": row.workflow, "step": row, "line": line, "article": article, "now": now, "section": "workflows",
    } | live_context(request, row.workflow, asked_at)  # fmt: skip
    return render(request, "workflows/step_page.html", context)


def render_step(
    request: HttpRequest,
    row: Step,
    *,
    opened: bool,
    if_at_work: bool = False,
    refused: str = "",
    bound: RemedyForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """A step's fragment, with what was refused or the form that came back."""
    now = timezone.now()
    line = lines.step_line(row.workflow_id, row.pk, now=now)
    body: str = ""
    opened = opened and (line.is_at_work or not if_at_work)
    if opened:
        page = steppage.load(row, line, now=now)
        body = steppage.body(page, row.workflow, request, refused=refused, bound=bound)
    remedies = rows.remedies(line, get_token(request)) if line.needs_a_person else ""
    return HttpResponse(rows.article(line, body=body, remedies=remedies, opened=opened), status=status)


def _body(request: HttpRequest, row: Step) -> tuple[lines.StepLine, SafeString, datetime]:
    now = timezone.now()
    line = lines.step_line(row.workflow_id, row.pk, now=now)
    page = steppage.load(row, line, now=now, raw="raw" in request.GET)
    return line, steppage.body(page, row.workflow, request), now


def _newest_text(row: Step) -> str:
    newest = row.attempts.order_by("-number").values_list("output", flat=True).first()
    return newest or ""


def _attempt_text(request: HttpRequest, row: Step) -> HttpResponse:
    attempt = get_object_or_404(row.attempts, pk=whole_number(request.GET["attempt"]))
    name = "_attempt_text" if request.htmx else "attempt_page"  # type: ignore[attr-defined]
    context = {"attempt": attempt, "step": row, "workflow": row.workflow, "section": "workflows"}
    return render(request, f"workflows/{name}.html", context)


@signed_in
@require_GET
@never_cache
def step_text(request: HttpRequest, pk: int, step_pk: int) -> HttpResponse:
    """What an attempt has written from `offset` (code points) on, as far as it is stored."""
    rows = StepAttempt.objects.visible_to(request.user).filter(step=step_pk, step__workflow=pk)
    return text_since(request, rows)
