"""A document: first the plan of its pages, then one unit for each page."""

from __future__ import annotations

from typing import Any

from django.db.models import Max

from analysis import documents, plan
from analysis.documents import DOCUMENTS
from analysis.models import AnalysisRun, Document, DocumentPage, SourceFile, Unit, UnitKind
from analysis.overview import rounded_hash
from analysis.plain import Ask
from analysis.plan import Spec
from analysis.prompting import BadAnswer
from analysis.rows import as_json, manifest, options_of, overview_of, plan_of, read_files
from analysis.units.base import Digest, Work

MAP_TOKENS = 10_000


class DocumentWork(Work):
    paid = True
    shown = True
    room = documents.MAX_TOKENS_PAGE

    def ask(self, run: AnalysisRun, unit: Unit) -> Ask:
        kind, overview = DOCUMENTS[unit.analyzer], overview_of(run)
        if unit.parent_id is None:
            drawn = str(Unit.objects.get(run=run, kind=UnitKind.SOURCE).result["map"])
            return documents.ask_plan(kind, overview, drawn, run.marker)
        page = plan_of(unit.chunk)
        texts = {path: text for path, (_facts, text) in read_files(run, page.paths).items()}
        return documents.ask_page(kind, page, texts, overview, run.marker)

    def read(self, run: AnalysisRun, unit: Unit, text: str) -> Digest:
        files = {file.path: file for file in manifest(run)}
        if unit.parent_id is None:
            planned = documents.parse_plan(text, files)
            return Digest(
                {"pages": [as_json(page) for page in planned.pages], "unknown": list(planned.unknown)}
            )
        if not text.strip():
            raise BadAnswer("The page is empty.")
        cited = [as_json(one) for one in documents.citations(text, files)]
        blobs = documents.blobs(plan_of(unit.chunk), files)
        return Digest({"text": text, "citations": cited, "blobs": blobs})

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        if unit.parent_id is None:
            begin(run, unit, digest.result)
        else:
            write_page(unit, digest.result)


def plan_documents(run: AnalysisRun) -> None:
    """A plan for each document that was chosen."""
    overview = rounded_hash(overview_of(run))
    names = list(
        SourceFile.objects.filter(run=run, read=True).order_by("path").values_list("path", flat=True)
    )
    specs = [
        Spec(
            kind=UnitKind.DOCUMENT,
            key=plan.key(run, UnitKind.DOCUMENT, slug, documents.VERSION, overview, names),
            analyzer=slug,
            title=f"{DOCUMENTS[slug].title}: plan",
            chunk={"paths": []},
            tokens=MAP_TOKENS + plan.AROUND[UnitKind.DOCUMENT],
            position=position,
        )
        for position, slug in enumerate(options_of(run).documents)
        if slug in DOCUMENTS
    ]
    for unit in plan.add(run, specs):
        if unit.reused:
            begin(run, unit, unit.result)


def begin(run: AnalysisRun, unit: Unit, planned: dict[str, Any]) -> None:
    """A new version of the document, with its pages still to be written. The one before stays until it is whole."""
    slug = unit.analyzer
    earlier = Document.objects.filter(owner=run.owner_id, source_key=run.source_key, slug=slug)
    document = Document.objects.create(
        owner_id=run.owner_id,
        source_key=run.source_key,
        run=run,
        slug=slug,
        title=DOCUMENTS[slug].title,
        version=(earlier.aggregate(last=Max("version"))["last"] or 0) + 1,
    )
    files = SourceFile.objects.filter(
        run=run, path__in={path for data in planned["pages"] for path in data["paths"]}
    )
    sizes = {path: (blob, tokens) for path, blob, tokens in files.values_list("path", "blob", "tokens")}
    specs, pages = [], []
    for position, data in enumerate(planned["pages"]):
        paths = [path for path in data["paths"] if path in sizes]
        stands_on = [(path, sizes[path][0]) for path in paths]
        specs.append(
            Spec(
                kind=UnitKind.DOCUMENT,
                key=plan.key(run, "page", slug, documents.VERSION, data["title"], data["purpose"], stands_on),
                analyzer=slug,
                title=f"{DOCUMENTS[slug].title}: {data['title']}",
                chunk=data,
                tokens=sum(sizes[path][1] for path in paths) + plan.AROUND[UnitKind.DOCUMENT],
                position=1_000 + position,
                parent=unit.pk,
            )
        )
        pages.append(DocumentPage(document=document, position=position, **_shown(data)))
    units = {made.key: made for made in plan.add(run, specs)}
    for page, spec in zip(pages, specs, strict=True):
        page.unit = units.get(spec.key)
    DocumentPage.objects.bulk_create(pages)
    for made in units.values():
        if made.reused:
            write_page(made, made.result)


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("slug", "title", "purpose", "paths")}


def write_page(unit: Unit, written: dict[str, Any]) -> None:
    """The text of a page, and whether the document is whole by now."""
    pages = DocumentPage.objects.filter(unit=unit)
    pages.update(text=written["text"], citations=written["citations"], blobs=written["blobs"])
    for document in Document.objects.filter(pages__unit=unit):
        if not document.pages.filter(text="").exists():
            Document.objects.filter(pk=document.pk).update(complete=True)
