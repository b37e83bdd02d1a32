"""The one ordinary view of live pages: a new token before the old one ends."""

import time
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from nyxcore import channels
from nyxcore.live_tokens import MAX_CHANNELS, make_token, token_age


@require_GET
@never_cache
@login_required
def token(request: HttpRequest) -> JsonResponse:
    """Return {"token", "expires_in"} for `?channel=` (several are possible); 404 unless all are readable."""
    asked_at = time.time()
    names = request.GET.getlist("channel")
    if not 0 < len(names) <= MAX_CHANNELS:
        raise Http404("No such channel.")
    if not all(channels.readable(request.user, name) for name in names):
        raise Http404("No such channel.")
    user_id: Any = request.user.pk
    made = make_token(user_id, names, issued_at=asked_at)
    return JsonResponse({"token": made, "expires_in": int(token_age())})
