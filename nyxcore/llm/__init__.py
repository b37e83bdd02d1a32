"""Asking a language model: `complete(request)`. Settings name the provider (NYXCORE_LLM, LLM_PROVIDERS)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from nyxcore.llm.base import (
    CUT_STOPS,
    GOOD_STOPS,
    Completion,
    LLMError,
    Message,
    Provider,
    Request,
    Stopped,
    StopSignal,
    Usage,
    classify,
)

__all__ = [
    "CUT_STOPS",
    "GOOD_STOPS",
    "Completion",
    "LLMError",
    "Message",
    "Provider",
    "Request",
    "StopSignal",
    "Stopped",
    "Usage",
    "classify",
    "complete",
    "get_provider",
    "is_practice",
    "provider_name",
    "reset_providers",
]

log = logging.getLogger(__name__)

_providers: dict[str, Provider] = {}
_lock = threading.Lock()


def complete(
    request: Request,
    *,
    on_text: Callable[[str], None] | None = None,
    stop: StopSignal | None = None,
    using: str = "default",
) -> Completion:
    """Ask the provider `using` and return its whole answer; raise LLMError where there is none.

    `on_text` gets each piece of text in the calling thread while it is written. `stop` ends the call from
    another thread. An empty model means the default one.
    """
    from nyxcore.llm import models
    from nyxcore.places import PLACES

    provider = get_provider(using)
    if not request.model:
        model = models.default_model()
        if not model:
            raise LLMError(
                f"No model is named for the provider {provider.name!r}. Name one in the step, the workflow "
                "or NYXCORE_DEFAULT_MODEL.",
                "bad_request",
            )
        request = replace(request, model=model)
    began = time.monotonic()
    try:
        completion = provider.complete(request, on_text=on_text or _ignore, stop=stop or StopSignal())
    except LLMError as error:
        PLACES.refused(error, began)
        raise
    PLACES.answered()
    log.info(
        "llm %s %s stop=%s in=%d out=%d seconds=%.1f request=%s",
        provider.name,
        completion.model,
        completion.stop_reason,
        completion.usage.input_tokens,
        completion.usage.output_tokens,
        completion.seconds,
        completion.request_id or "-",
    )
    return completion


def _ignore(text: str) -> None:
    """Nobody watches."""


def provider_name(using: str = "default") -> str:
    """Return the alias in LLM_PROVIDERS that `using` stands for."""
    from django.conf import settings

    return str(settings.NYXCORE_LLM) if using == "default" else using


def is_practice() -> bool:
    return provider_name() == "practice"


def get_provider(using: str = "default") -> Provider:
    """Return the provider `using`, made once for each process."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    name = provider_name(using)
    with _lock:
        if name not in _providers:
            known = settings.LLM_PROVIDERS
            if name not in known:
                listed = ", ".join(sorted(known))
                raise LLMError(f"NYXCORE_LLM names {name!r}, which is none of: {listed}.", "bad_request")
            options = known[name].get("OPTIONS", {})
            _providers[name] = import_string(known[name]["BACKEND"])(**options)
        return _providers[name]


def reset_providers() -> None:
    """Forget providers, model rows and refusals, so that changed settings are read again. For tests."""
    from nyxcore.llm import models
    from nyxcore.places import PLACES

    PLACES.reset()
    with _lock:
        _providers.clear()
    models.forget_rows()
