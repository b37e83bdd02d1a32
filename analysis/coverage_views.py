"""Deciding on the coverage: folders, the estimate anew, confirming; and the lines that a citation names."""

from __future__ import annotations

import time
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from analysis import code, coverage, pages, services
from analysis.forms import CoverageForm
from analysis.models import AnalysisRun, SourceFile
from analysis.plain import Options, lines_of
from analysis.rows import estimate_of, options_of
from analysis.views import get_run, show
from nyxcore.access import signed_in
from nyxcore.states import Status

MOST_LINES = 400  # of a file that are shown at once
AROUND = 10


@signed_in
@require_GET
@never_cache
def files(request: HttpRequest, pk: int) -> HttpResponse:
    """What lies in one folder, as lines of the tree."""
    run = get_run(request, pk)
    folder = request.GET.get("folder", "").replace("\x00", "")[:2_000].strip("/")
    entries, more = coverage.children(run, f"{folder}/" if folder else "")
    if not entries:
        raise Http404("No such folder.")
    context = {
        "run": run, "entries": entries, "more": more, "choosing": run.status == Status.WAITING,
        "files_url": reverse("analysis:files", args=[run.pk]), "folder": f"{folder}/",
    }  # fmt: skip
    return render(request, "analysis/_files.html", context)


@signed_in
@require_POST
def confirm(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Go on with the analysis, or (`do=update`) only change what is read and see the estimate anew."""
    asked_at = time.time()
    run = get_run(request, pk)
    form = CoverageForm(run, request.POST)
    if not form.is_valid():
        return _again(request, run, asked_at, {"form": form}, 422)
    before = options_of(run)
    options = form.options(before)
    try:
        said = _act(request, run, options, before, form.cleaned_data["budget"])
    except services.Refused as error:
        return _again(request, run, asked_at, {"refused": str(error)}, 409)
    if said:
        messages.info(request, said)
    return redirect(f"{run.get_absolute_url()}?tab=coverage" if said else run.get_absolute_url())


def _act(request: HttpRequest, run: AnalysisRun, options: Options, before: Options, budget: Any) -> str:
    """Confirm, or change the options; what may cost more than was shown is never confirmed unseen."""
    if request.POST.get("do") == "update" or _may_cost_more(run, options, before):
        services.set_options(run, by=request.user, options=options, budget=budget)
        if request.POST.get("do") == "update":
            return "The source is read again with your choice. The estimate will be new."
        return "Your choice may cost more than was shown, so nothing was confirmed. Look at the new estimate first."
    services.confirm_analysis(run, by=request.user, options=options, budget=budget)
    return ""


def _may_cost_more(run: AnalysisRun, options: Options, before: Options) -> bool:
    """Whether anything but further exclusions, or a smaller token budget, was chosen; or whether these cost, too.

    Where files are beyond the token budget, what is left out makes room for them; and a chunk that was answered in an
    earlier run is asked anew where a file of it is left out.
    """
    fewer = set(before.exclude) <= set(options.exclude) and options.max_tokens_read <= before.max_tokens_read
    same = (options.include, options.allow_secrets, options.model) == (
        before.include,
        before.allow_secrets,
        before.model,
    )
    if not (fewer and same):
        return True
    told = estimate_of(run)
    room = run.coverage.get("skipped", {}).get("budget", 0)
    return options != before and bool(room or (told and told.reused))


def _again(
    request: HttpRequest, run: AnalysisRun, asked_at: float, more: dict[str, Any], status: int
) -> HttpResponse:
    page = pages.load(get_run(request, run.pk))
    return show(request, page, asked_at, tab="coverage", more=more, status=status)


@signed_in
@require_GET
@never_cache
def source_lines(request: HttpRequest, pk: int) -> HttpResponse:
    """The lines of a file that a document cites, as far as its text is kept; else what is known of the file."""
    run = get_run(request, pk)
    path = request.GET.get("path", "").replace("\x00", "")
    file = SourceFile.objects.filter(run=run, path=path).first()
    if file is None:
        raise Http404("No such file in this analysis.")
    start, end = (_number(request.GET.get(name, ""), 1) for name in ("start", "end"))
    context: dict[str, Any] = {
        "run": run, "file": file, "section": "analyses", "start": start, "end": max(start, end),
        "entry": coverage.Entry(file.path, file.path, file.tokens, int(file.read), 1, file.reason, file.detail),
    }  # fmt: skip
    if file.content is not None:
        first = max(1, start - AROUND)
        shown = lines_of(file.content)[first - 1 : min(max(start, end) + AROUND, first + MOST_LINES)]
        marked = range(start, max(start, end) + 1)
        context["code"] = code.block("\n".join(shown), file.language, file.path, first, marked)
    return render(request, "analysis/source.html", context)


def _number(word: str, default: int) -> int:
    return int(word) if word.isascii() and word.isdecimal() and 0 < len(word) < 8 else default
