"""Who may call a view: the signed-in, with an answer that also fits a fragment's request."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import resolve_url

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def signed_in(view: View[P]) -> View[P]:
    """Like login_required; but a fragment's request moves the whole page to the login, and JSON gets a 401.

    A redirect would put the login page in the place of the fragment.
    """

    @wraps(view)
    def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        htmx: Any = getattr(request, "htmx", None)
        if htmx:
            answer = HttpResponse(status=401)
            if (
                "X-Live" not in request.headers
            ):  # what a page asks for by itself must not move its reader away
                answer["HX-Redirect"] = redirect_to_login(_page_of(htmx), resolve_url("login")).url
            return answer
        if request.headers.get("Accept", "").startswith("application/json"):
            return JsonResponse({"error": "signed out"}, status=401)
        back = request.get_full_path() if request.method == "GET" else "/"
        return redirect_to_login(back, resolve_url("login"))

    return guarded


def _page_of(htmx: Any) -> str:
    """The path of the page that holds the fragment, to come back to after the login."""
    there = urlsplit(htmx.current_url or "/")
    return there.path + (f"?{there.query}" if there.query else "")
