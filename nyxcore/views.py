"""Health, readiness and figures for operators, and the answers to requests that could not be read."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from nyxcore import health, ui


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    """200 while this process answers; asks nothing else, so a dead database does not restart the web server."""
    return HttpResponse("ok\n", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """200 if requests can be served and steps can run; else 503 and what is missing."""
    checks: dict[str, str] = {}
    try:
        health.ask_database()
        checks["database"] = "ok"
        since = health.no_worker_since()
        checks["worker"] = f"no worker since {since:%H:%M} UTC" if since else "ok"
    except DatabaseError as error:
        checks["database"] = f"not reachable: {type(error).__name__}"
    except TimeoutError:
        checks["database"] = f"not reachable: no answer within {health.PATIENCE:.0f} s"
    ready = all(said == "ok" for said in checks.values())
    return JsonResponse({"ready": ready, "checks": checks}, status=200 if ready else 503)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Figures in Prometheus' text format: counts of rows by state, workers, the age of the oldest queued attempt."""
    return HttpResponse(health.metrics_text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def bad_request(request: HttpRequest, exception: Exception, *_args: Any) -> HttpResponse:
    """A request that could not be read. One that is too large says how large it may be."""
    if isinstance(exception, RequestDataTooBig):
        limit = ui.size(settings.NYXCORE_MAX_INPUT)
        said = (
            f"What you sent is too large: the input of one workflow may hold {limit}. Go back and shorten it."
        )
        return render(request, "bad_request.html", {"sentence": said}, status=413)
    return render(
        request, "bad_request.html", {"sentence": "The server could not read this request."}, status=400
    )
