"""The documents of a source: their versions, how far they are written, and whether they are out of date."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse
from django.utils.safestring import SafeString

from analysis import documents
from analysis.models import AnalysisRun, Document, DocumentPage, SourceFile, Unit, UnitKind
from analysis.pages import Page
from analysis.plain import Citation
from analysis.rows import options_of
from nyxcore.states import Status


@dataclass(frozen=True)
class Shown:
    """One document as the list shows it: its current version, and a newer one that is being written."""

    slug: str
    title: str
    aim: str
    current: Document | None
    written: int = 0
    planned: int = 0
    stale: int = 0  # pages
    coming: Document | None = None
    coming_written: int = 0
    coming_planned: int = 0


def context(request: HttpRequest, page: Page) -> dict[str, Any]:
    run = page.run
    chosen = options_of(run).documents
    shown = [_shown(run, slug, rows) for slug, rows in _versions(run).items()]
    have = {one.slug for one in shown}
    planned = [
        documents.DOCUMENTS[slug] for slug in chosen if slug in documents.DOCUMENTS and slug not in have
    ]
    writing = Unit.objects.filter(
        run=run, kind=UnitKind.DOCUMENT, parent__isnull=False, status=Status.RUNNING
    )
    return {
        "shown_documents": shown, "planned": planned,
        "writing": writing.only("run", "analyzer", "title").order_by("position", "pk"),
    }  # fmt: skip


def _versions(run: AnalysisRun) -> dict[str, list[Document]]:
    """Every document of the source by slug, the newest version first."""
    rows = Document.objects.filter(owner=run.owner_id, source_key=run.source_key).prefetch_related("pages")
    found: dict[str, list[Document]] = {}
    for row in rows.order_by("slug", "-version"):
        found.setdefault(row.slug, []).append(row)
    return found


def _shown(run: AnalysisRun, slug: str, rows: list[Document]) -> Shown:
    current = next((row for row in rows if row.complete), None)
    newest = rows[0]
    coming = newest if not newest.complete else None
    kind = documents.DOCUMENTS.get(slug)
    blobs = blobs_of(run)
    pages = list(current.pages.all()) if current else []
    new = list(coming.pages.all()) if coming else []
    return Shown(
        slug, newest.title, kind.aim if kind else "", current, sum(bool(one.text) for one in pages), len(pages),
        sum(bool(documents.stale(one.blobs, blobs)) for one in pages) if blobs else 0, coming,
        sum(bool(one.text) for one in new), len(new),
    )  # fmt: skip


def blobs_of(run: AnalysisRun) -> dict[str, str]:
    """The files of this run, as they are now; what a page rests on is compared with them."""
    if not hasattr(run, "_blobs"):
        run._blobs = dict(SourceFile.objects.filter(run=run).order_by().values_list("path", "blob"))  # type: ignore[attr-defined]
    return run._blobs  # type: ignore[attr-defined,no-any-return]


def stale_files(run: AnalysisRun, page: DocumentPage) -> list[str]:
    """The files of a page that are different in this run, or gone."""
    blobs = blobs_of(run)
    return documents.stale(page.blobs, blobs) if blobs else []


def html(run: AnalysisRun, page: DocumentPage) -> SafeString:
    """The text of a page with its citations linked to the lines they name."""
    cited = [Citation(**one) for one in page.citations]
    return documents.render(page.text, cited, partial(_link, run))


def _link(run: AnalysisRun, cited: Citation) -> str:
    query = urlencode({"path": cited.path, "start": cited.start_line, "end": cited.end_line})
    return f"{reverse('analysis:source', args=[run.pk])}?{query}#cited"


def as_markdown(document: Document) -> str:
    """All pages as one file."""
    pages = document.pages.all()
    parts = [
        f"# {document.title}",
        *(f"## {page.title}\n\n{page.text.strip()}" for page in pages if page.text),
    ]
    return "\n\n".join(parts) + "\n"
