"""Acts on all analyses that match a filter."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from analysis import bulk
from nyxcore.access import signed_in
from nyxcore.bulk_confirm import confirm


@signed_in
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def bulk_confirm(request: HttpRequest, verb: str) -> HttpResponseBase:
    """Ask before something is done to all analyses that match."""
    return confirm(request, bulk.ACTS, bulk.SOURCE, verb)
