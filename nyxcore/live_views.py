"""The ordinary requests of live pages: a new token before the old one ends, and text that the stream has lost."""

import time
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models.functions import Length, Substr
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from nyxcore import channels
from nyxcore.live_tokens import MAX_CHANNELS, make_token, token_age
from nyxcore.states import OPEN_ATTEMPT


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


def text_since(request: HttpRequest, attempts: Any) -> HttpResponse:
    """What one of `attempts` has written from `offset` (code points) on, as far as it is stored."""
    attempt_pk, offset = (
        whole_number(request.GET.get("attempt", "")),
        whole_number(request.GET.get("offset", "0")),
    )
    if attempt_pk is None or offset is None:
        return HttpResponseBadRequest("attempt and offset must be whole numbers.")
    found = attempts.filter(pk=attempt_pk).annotate(
        length=Length("output"), rest=Substr("output", offset + 1)
    )
    values = found.values_list("rest", "status", "length").first()
    if values is None:
        raise Http404("No such attempt.")
    rest, status, length = values
    ended = status not in OPEN_ATTEMPT
    return JsonResponse({"attempt": attempt_pk, "offset": min(offset, length), "text": rest, "ended": ended})


def whole_number(word: str) -> int | None:
    """A whole number that the database can hold, or None."""
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None
