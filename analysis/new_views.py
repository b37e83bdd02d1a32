"""Beginning an analysis, and another one on the same source."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from analysis import services
from analysis.analyzers import MODEL_ANALYZERS, STATIC
from analysis.documents import DOCUMENTS
from analysis.forms import NewAnalysisForm, UploadForm
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
    posted = request.method == "POST"
    form = NewAnalysisForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and form.is_valid():
        made = _create(request, form)
        if made:
            return redirect(made)
    chosen = form["analyzers"].value() or []
    context: dict[str, Any] = {
        "form": form, "section": "analyses", "practice": llm.is_practice(), "static": STATIC,
        "analyzers": [(one, one.name in chosen, PURPOSES[one.name]) for one in MODEL_ANALYZERS.values()],
        "documents": [(one, one.slug in (form["documents"].value() or [])) for one in DOCUMENTS.values()],
    }  # fmt: skip
    return render(request, "analysis/new.html", context, status=422 if form.errors else 200)


def _create(request: HttpRequest, form: NewAnalysisForm) -> AnalysisRun | None:
    """The new analysis, started; None with what is wrong put into the form."""
    data, archive = form.cleaned_data, form.cleaned_data["archive"]
    try:
        with transaction.atomic():
            upload = _stored(request, archive) if archive else None
            run = services.create_analysis(
                owner=request.user,
                source_kind=SourceKind.UPLOAD if archive else SourceKind.GIT,
                location=data["location"], ref=data["ref"], sub_path=data["sub_path"], upload=upload,
                options=form.options(), name=data["name"], budget=data["budget"],
            )  # fmt: skip
        services.start_analysis(run, by=request.user)
    except services.Refused as error:
        form.add_error("budget" if "udget" in str(error) else None, str(error))
        return None
    return run


def _stored(request: HttpRequest, archive: Any) -> Upload:
    return services.store_upload(owner=request.user, name=archive.name, data=archive.read())


@signed_in
@require_http_methods(["GET", "HEAD", "POST"])
def analysis_again(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A new analysis of the same source; what has not changed costs nothing. An archive is asked for anew."""
    run = get_run(request, pk)
    uploads = run.source_kind == SourceKind.UPLOAD
    posted = request.method == "POST"
    form = UploadForm(request.POST if posted else None, request.FILES if posted else None)
    if posted and (not uploads or form.is_valid()):
        try:
            with transaction.atomic():
                upload = _stored(request, form.cleaned_data["archive"]) if uploads else None
                again = services.rescan_analysis(run, by=request.user, upload=upload)
            return redirect(again)
        except services.Refused as error:
            refused = {"sentence": str(error), "back": run.get_absolute_url(), "what": "analysis"}
            return render(request, "refused.html", refused, status=409)
    context: dict[str, Any] = {"run": run, "form": form if uploads else None, "section": "analyses"}
    return render(request, "analysis/again.html", context, status=422 if posted and uploads else 200)
