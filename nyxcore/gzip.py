"""Compression of answers, quick rather than tight: on our repetitive HTML it halves the time and costs a tenth more."""

from __future__ import annotations

import gzip
import secrets
from io import BytesIO

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware, re_accepts_gzip
from django.utils.cache import patch_vary_headers

LEVEL = 1
LEAST = 200  # bytes, as Django has it


class QuickGZipMiddleware(GZipMiddleware):
    """Django's, with another level. Streamed answers go Django's way."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        content = getattr(response, "content", None)
        if response.streaming or content is None:
            return super().process_response(request, response)
        if len(content) < LEAST or response.has_header("Content-Encoding"):
            return response
        patch_vary_headers(response, ("Accept-Encoding",))
        if not re_accepts_gzip.search(request.META.get("HTTP_ACCEPT_ENCODING", "")):
            return response
        packed = compress(content, self.max_random_bytes)
        if len(packed) >= len(content):
            return response
        response.content = packed  # type: ignore[attr-defined]
        response["Content-Length"] = str(len(packed))
        etag = response.get("ETag")
        if etag and etag.startswith('"'):
            response["ETag"] = f"W/{etag}"
        response["Content-Encoding"] = "gzip"
        return response


def compress(content: bytes, random_bytes: int) -> bytes:
    """A gzip file of `content`, with a name of random length: sizes tell no secrets (BREACH)."""
    packed = BytesIO()
    name = "a" * secrets.randbelow(random_bytes + 1)
    with gzip.GzipFile(filename=name, mode="wb", compresslevel=LEVEL, fileobj=packed, mtime=0) as file:
        file.write(content)
    return packed.getvalue()
