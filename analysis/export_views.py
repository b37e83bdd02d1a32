"""A run to take along, as SARIF, JSON or Markdown, each together with its coverage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.text import slugify
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from analysis import exports
from analysis.views import get_run
from nyxcore.access import signed_in

FORMS = {
    "sarif": "application/sarif+json",
    "json": "application/json",
    "markdown": "text/markdown; charset=utf-8",
}
ENDS = {"sarif": "sarif", "json": "json", "markdown": "md"}
PIECE = 64_000  # characters sent at once


@signed_in
@require_GET
@never_cache
def export(request: HttpRequest, pk: int, form: str) -> HttpResponseBase:
    """The file, in pieces: text of a large run is never held twice."""
    run = get_run(request, pk)
    if form not in FORMS:
        raise Http404("No such form of export.")
    answer: HttpResponseBase
    if form == "markdown":
        answer = HttpResponse(exports.as_markdown(run), content_type=FORMS[form])
    else:
        data = exports.as_sarif(run) if form == "sarif" else exports.as_json(run)
        answer = StreamingHttpResponse(_pieces(data), content_type=FORMS[form])
    name = slugify(run.name) or "analysis"
    answer["Content-Disposition"] = f'attachment; filename="{name}-{run.pk}.{ENDS[form]}"'
    return answer


def _pieces(data: dict[str, Any]) -> Iterator[str]:
    """JSON text in pieces of a handy size; the encoder's own are a few letters each."""
    held: list[str] = []
    size = 0
    for part in json.JSONEncoder(ensure_ascii=False, indent=1).iterencode(data):
        held.append(part)
        size += len(part)
        if size >= PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
