"""One finding with everything that speaks for and against it, and what a person says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from analysis import code, findings, services
from analysis.analyzers import ANALYZERS, RULES
from analysis.forms import DismissForm
from analysis.models import Dismissal, Finding, TrackedFinding
from nyxcore.access import signed_in

VERBS = ("accept", "dismiss", "undo")
NOT_YET = "Findings can be judged when the run has put them together. Wait until it has; this takes no action of yours."


def _get(request: HttpRequest, pk: int, finding_pk: int) -> Finding:
    rows = Finding.objects.visible_to(request.user).select_related(
        "run__owner", "tracked__decided_by", "tracked__first_seen", "verdict", "kept_as"
    )
    return get_object_or_404(rows, pk=finding_pk, run=pk)


@signed_in
@require_GET
@never_cache
@vary_on_headers("HX-Request")
def finding(request: HttpRequest, pk: int, finding_pk: int) -> HttpResponse:
    """A finding: its body alone for a script, else a page of its own."""
    row = _get(request, pk, finding_pk)
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponse(_body(request, row))
    return _page(request, row)


def _page(
    request: HttpRequest,
    row: Finding,
    *,
    form: DismissForm | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    context = _context(row, form) | {"section": "analyses", "refused": refused, "own_page": True}
    return render(request, "analysis/finding.html", context, status=status)


def _body(request: HttpRequest, row: Finding, form: DismissForm | None = None) -> str:
    return render_to_string("analysis/_finding.html", _context(row, form), request)


def _context(row: Finding, form: DismissForm | None) -> dict[str, Any]:
    marked = range(row.start_line, row.end_line + 1)
    shown = row.context or row.excerpt
    first = row.context_line if row.context else row.start_line
    others = list(row.merged.all()) if row.kept_as_id is None else []
    places = [(one.path, one.start_line, one.end_line) for one in others] + [
        tuple(one) for one in row.locations
    ]
    analyzer = ANALYZERS.get(row.analyzer)
    return {
        "run": row.run, "finding": row, "tracked": row.tracked, "form": form or DismissForm(),
        "verdict": getattr(row, "verdict", None), "rule": RULES.get(row.rule_id),
        "analyzer": analyzer.label if analyzer else row.analyzer,
        "code": code.block(shown, row.language, row.path, first, marked) if shown else "",
        "evidence": [(path, excerpt, line) for path, excerpt, line in row.evidence],
        "places": list(dict.fromkeys(places)), "reasons": Dismissal.choices, "not_yet": NOT_YET,
        "mark": findings.severity_mark(row.severity), "percent": round(100 * row.confidence),
        "score": round(100 * row.score),
    }  # fmt: skip


@signed_in
@require_POST
def triage(request: HttpRequest, pk: int, finding_pk: int, verb: str) -> HttpResponseBase:
    """Accept, dismiss with a reason, or take that back. It holds in every later run of the source."""
    row = _get(request, pk, finding_pk)
    if row.tracked is None:
        return _refuse(request, row, NOT_YET)
    form = DismissForm(request.POST) if verb == "dismiss" else None
    if form is not None and not form.is_valid():
        if request.htmx:  # type: ignore[attr-defined]
            return _line(request, row, form=form, status=422)
        return _page(request, row, form=form, status=422)
    try:
        _act(verb, row.tracked, request, form)
    except services.Refused as error:
        return _refuse(request, row, str(error))
    if request.htmx:  # type: ignore[attr-defined]
        return _line(request, _get(request, pk, finding_pk))
    return redirect(_back(request, row))


def _act(verb: str, tracked: TrackedFinding, request: HttpRequest, form: DismissForm | None) -> None:
    if form is not None:
        services.dismiss_finding(
            tracked, by=request.user, why=form.cleaned_data["why"], note=form.cleaned_data["note"]
        )
        return
    service: Callable[..., None] = services.accept_finding if verb == "accept" else services.reopen_finding
    service(tracked, by=request.user)


def _back(request: HttpRequest, row: Finding) -> str:
    """To where the form stood, if that is a page of ours; else to the finding."""
    asked = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(asked, {request.get_host()}, require_https=request.is_secure()):
        return asked
    return reverse("analysis:finding", args=[row.run_id, row.pk])


def _line(
    request: HttpRequest,
    row: Finding,
    *,
    form: DismissForm | None = None,
    refused: str = "",
    status: int = 200,
) -> HttpResponse:
    """The finding as a line of the list; with its body where something in it has to be mended."""
    (line,) = findings.lines(row.run_id, pk=row.pk)
    body = _body(request, row, form) if form is not None or request.POST.get("open") else ""
    base = reverse("analysis:detail", args=[row.run_id])
    by_rule = request.POST.get("group") == "rule"
    return HttpResponse(findings.row(line, base, by_rule=by_rule, body=body, refused=refused), status=status)


def _refuse(request: HttpRequest, row: Finding, sentence: str) -> HttpResponse:
    if request.htmx:  # type: ignore[attr-defined]
        return _line(request, row, refused=sentence, status=409)
    return _page(request, row, refused=sentence, status=409)
