"""Beginning an analysis, and another one on the same source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from analysis import services
from analysis.analyzers import MODEL_ANALYZERS, STATIC
from analysis.documents import DOCUMENTS
from analysis.forms import AgainForm, NewAnalysisForm, OptionsForm
from analysis.models import AnalysisRun, SourceKind, Upload
from analysis.views import get_run
from nyxcore import llm
from nyxcore.access import signed_in

PURPOSES = {
    "correctness": "Wrong results, wrong branches, values that are lost, crashes on input that will come.",
    "security": "Ways for somebody to read, change or run what they should not.",
    "errors": "Failures that are swallowed, misreported, or leave things half done.",
    "performance": "Work that grows faster than the data, and the same work done twice.",
    "concurrency": "Races, deadlocks, and files, locks or connections that are never given back.",
    "architecture": "Duplication, tangled dependencies, one idea in many places.",
    "testing": "Tests that cannot fail, test too little, or depend on chance.",
}
assert set(PURPOSES) == set(MODEL_ANALYZERS)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def analysis_new(request: HttpRequest) -> HttpResponseBase:
    """Where the source is and what is asked about it; the source is then read, which costs nothing."""
    form = NewAnalysisForm(request.POST, request.FILES) if request.method == "POST" else NewAnalysisForm()
    made = _tried(form, lambda: _create(request, form)) if form.is_bound and form.is_valid() else None
    return redirect(made) if made else _ask(request, "analysis/new.html", form)


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def analysis_again(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A new analysis of the same source; what has not changed costs nothing."""
    run = get_run(request, pk)
    form = AgainForm(run, request.POST, request.FILES) if request.method == "POST" else AgainForm(run)
    made = (
        _tried(form, lambda: _create_again(request, run, form)) if form.is_bound and form.is_valid() else None
    )
    return redirect(made) if made else _ask(request, "analysis/again.html", form, run=run)


def _ask(request: HttpRequest, template: str, form: OptionsForm, **more: Any) -> HttpResponse:
    """The form with what was typed, and what is wrong in its place."""
    analyzers, documents = form["analyzers"].value() or [], form["documents"].value() or []
    context: dict[str, Any] = {
        "form": form, "section": "analyses", "practice": llm.is_practice(), "static": STATIC,
        "analyzers": [(one, one.name in analyzers, PURPOSES[one.name]) for one in MODEL_ANALYZERS.values()],
        "documents": [(one, one.slug in documents) for one in DOCUMENTS.values()],
    }  # fmt: skip
    return render(request, template, context | more, status=422 if form.errors else 200)


def _tried(form: OptionsForm, make: Callable[[], AnalysisRun]) -> AnalysisRun | None:
    """The new analysis, started; None with what is wrong put into the form."""
    try:
        return make()
    except services.Refused as error:
        form.add_error("budget" if "udget" in str(error) else None, str(error))
        return None


def _create(request: HttpRequest, form: NewAnalysisForm) -> AnalysisRun:
    data, archive = form.cleaned_data, form.cleaned_data["archive"]
    with transaction.atomic():
        upload = _stored(request, archive) if archive else None
        run = services.create_analysis(
            owner=request.user,
            source_kind=SourceKind.UPLOAD if archive else SourceKind.GIT,
            location=data["location"], ref=data["ref"], sub_path=data["sub_path"], upload=upload,
            options=form.options(), name=data["name"], budget=data["budget"],
        )  # fmt: skip
    services.start_analysis(run, by=request.user)
    return run


def _create_again(request: HttpRequest, run: AnalysisRun, form: AgainForm) -> AnalysisRun:
    data = form.cleaned_data
    with transaction.atomic():
        upload = _stored(request, data["archive"]) if "archive" in data else None
        return services.rescan_analysis(
            run, by=request.user, options=form.options(), upload=upload, budget=data["budget"]
        )


def _stored(request: HttpRequest, archive: Any) -> Upload:
    return services.store_upload(owner=request.user, name=archive.name, data=archive.read())
