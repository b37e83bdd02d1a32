"""A document: one page at a time, older versions, and all of it as Markdown."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from analysis import document_pages
from analysis.models import AnalysisRun, Document
from analysis.views import get_run
from nyxcore.access import signed_in


def _get(request: HttpRequest, run: AnalysisRun, slug: str) -> Document:
    """The version that is asked for, else the newest complete one, else the newest."""
    rows = Document.objects.visible_to(request.user).filter(
        owner=run.owner_id, source_key=run.source_key, slug=slug
    )
    asked = request.GET.get("version", "")
    if asked:
        number = int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 8 else 0
        found = rows.filter(version=number).first()
    else:
        found = rows.order_by("-complete", "-version").first()
    if found is None:
        raise Http404("No such document.")
    return found


@signed_in
@require_GET
@never_cache
def document(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    """One page of a document, beside the list of its pages."""
    run = get_run(request, pk)
    found = _get(request, run, slug)
    pages = list(found.pages.all())
    asked = request.GET.get("page", "")
    here = next((page for page in pages if page.slug == asked), pages[0] if pages and not asked else None)
    if here is None:
        raise Http404("No such page.")
    versions = Document.objects.filter(owner=run.owner_id, source_key=run.source_key, slug=slug)
    context = {
        "run": run, "document": found, "pages": pages, "here": here, "html": document_pages.html(run, here),
        "stale": document_pages.stale_files(run, here), "versions": versions.order_by("-version")[:20],
        "missing": [one["path"] for one in here.citations if not one["found"]], "section": "analyses",
        "asked_version": request.GET.get("version", ""),
    }  # fmt: skip
    return render(request, "analysis/document.html", context)


@signed_in
@require_GET
@never_cache
def download(request: HttpRequest, pk: int, slug: str) -> HttpResponse:
    """The whole document as Markdown."""
    run = get_run(request, pk)
    found = _get(request, run, slug)
    answer = HttpResponse(document_pages.as_markdown(found), content_type="text/markdown; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{found.slug}-v{found.version}.md"'
    return answer
