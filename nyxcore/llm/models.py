"""What is known of each model: limits, abilities, price.

Three sources, the later one wins: seed values below, and the rows that `refresh()` fills from the provider's
Models API. Prices come from genai-prices, imported on first use; they are stored with each attempt and never
computed again from a later table.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nyxcore.llm.base import Usage

if TYPE_CHECKING:
    from nyxcore.models import LanguageModel

log = logging.getLogger(__name__)

EFFORTS = ("low", "medium", "high", "xhigh", "max")
ROWS_KEPT = 60.0  # seconds that rows are kept in the process
BYTES_PER_TOKEN = 2.5


@dataclass(frozen=True)
class ModelInfo:
    """One model. A limit of 0 is unknown and limits nothing."""

    id: str
    provider: str
    label: str
    context_tokens: int = 0
    max_output_tokens: int = 0
    thinking: str = (
        ""  # always, adaptive (decides by itself), budget (only when asked), or "" (unknown, none)
    )
    efforts: tuple[str, ...] = ()
    lifecycle: str = "active"
    checked: bool = True  # False: a limit here is an assumption

    @property
    def price_known(self) -> bool:
        return _price_known(self.id, self.provider)

    @property
    def thinks_by_itself(self) -> bool:
        return self.thinking in ("always", "adaptive")

    def clamp(self, max_tokens: int) -> int:
        """Return `max_tokens` within this model's limit; above it the provider refuses the call."""
        return min(max_tokens, self.max_output_tokens) if self.max_output_tokens else max_tokens


PRACTICE = ModelInfo(
    "practice", "practice", "Practice model (no language model)", 1_000_000, 128_000, "", EFFORTS
)

_SEEDS = (
    # id, label, context, max output, thinking, efforts. From the vendor's model pages, November 2026.
    ModelInfo(
        "claude-fable-5-2",
        "anthropic",
        "Claude Fable 5.2",
        1_000_000,
        128_000,
        "adaptive",
        EFFORTS,
        checked=False,
    ),  # output limit not published where we looked: its siblings' value
    ModelInfo("claude-fable-5-1", "anthropic", "Claude Fable 5.1", 1_000_000, 128_000, "always", EFFORTS),
    ModelInfo("claude-opus-5-5", "anthropic", "Claude Opus 5.5", 1_000_000, 128_000, "always", EFFORTS),
    ModelInfo("claude-sonnet-5-5", "anthropic", "Claude Sonnet 5.5", 1_000_000, 128_000, "adaptive", EFFORTS),
    ModelInfo("claude-haiku-5-5", "anthropic", "Claude Haiku 5.5", 1_000_000, 128_000, "adaptive", EFFORTS),
    ModelInfo("claude-haiku-4-5", "anthropic", "Claude Haiku 4.5", 200_000, 64_000, "budget", ()),
)
SEEDS: dict[str, ModelInfo] = {info.id: info for info in (*_SEEDS, PRACTICE)}
DEFAULTS = {"anthropic": "claude-sonnet-5-5", "practice": PRACTICE.id, "openai": ""}


def get(model_id: str) -> ModelInfo | None:
    """Return what is known of a model, or None."""
    return _rows().get(model_id) or SEEDS.get(model_id)


def seed(model_id: str) -> ModelInfo | None:
    """Like `get`, from the seed values alone: asks no database."""
    return SEEDS.get(model_id)


def choices() -> list[ModelInfo]:
    """Return the models to choose from: those of the active provider, without the retired ones.

    Once the provider has listed its models, its list counts: a key may not have access to every seed.
    """
    from nyxcore import llm

    provider = llm.provider_name()
    if provider == "practice":
        return [PRACTICE]
    rows = [info for info in _rows().values() if info.provider == provider]
    listed = rows or [info for info in SEEDS.values() if info.provider == provider]
    offered = sorted((info for info in listed if info.lifecycle != "retired"), key=lambda info: info.label)
    default = default_model()
    if default and default not in {info.id for info in offered}:
        offered.insert(0, get(default) or ModelInfo(default, provider, default, lifecycle=""))
    return offered


def default_model() -> str:
    """Return NYXCORE_DEFAULT_MODEL, else the active provider's usual model; "" where it has none."""
    from django.conf import settings

    from nyxcore import llm

    return str(settings.NYXCORE_DEFAULT_MODEL) or DEFAULTS.get(llm.provider_name(), "")


def clamp_max_tokens(model_id: str, n: int) -> int:
    info = get(model_id)
    return info.clamp(n) if info else n


def estimate_tokens(text: str) -> int:
    """Return a pessimistic guess of how many tokens `text` is.

    One token for 2.5 UTF-8 bytes: English prose has 3.5 to 4.5 with current tokenizers, source code about 3,
    Chinese about one token a character (3 bytes). Too high is the safe side: budgets reserve by it.
    """
    return -(-len(text.encode("utf-8", "replace")) * 2 // 5)


def cost(model_id: str, usage: Usage) -> Decimal | None:
    """Return what the call costs in US dollars, or None where the price is unknown."""
    if usage.raw.get("practice"):
        return Decimal(0)
    info = get(model_id)
    return _price(model_id, _provider_of(info), usage)


def worst_case(model_id: str, input_tokens: int, max_tokens: int) -> Decimal | None:
    """Return the most that a call can cost: the whole prompt written to the cache, every token used."""
    from nyxcore import llm

    if llm.is_practice() or model_id == PRACTICE.id:
        return Decimal(0)
    provider = _provider_of(get(model_id))
    written = _price(model_id, provider, Usage(cache_write_tokens=input_tokens, output_tokens=max_tokens))
    plain = _price(model_id, provider, Usage(input_tokens=input_tokens, output_tokens=max_tokens))
    return None if written is None or plain is None else max(written, plain)


def _provider_of(info: ModelInfo | None) -> str:
    from nyxcore import llm

    return info.provider if info else llm.provider_name()


def _price(model_id: str, provider: str, usage: Usage) -> Decimal | None:
    import genai_prices

    if model_id == PRACTICE.id:
        return Decimal(0)
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    counts = {
        "input_tokens": prompt,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": (usage.raw.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
        or 0,
        "output_tokens": usage.output_tokens,
    }
    tokens = genai_prices.Usage(**{name: number for name, number in counts.items() if number})
    context = {"speed": usage.raw.get("speed"), "processing": usage.raw.get("service_tier")}
    variant = {name: value for name, value in context.items() if value in ("fast", "batch")}
    try:
        price = genai_prices.calc_price(
            tokens, model_id, **_price_list(provider), price_context=variant or None
        )
    except LookupError:
        return None
    return price.total_price


def _price_list(provider: str) -> dict[str, Any]:
    """Return whose prices count. A compatible address has its own, known only for the large ones."""
    if provider != "openai":
        return {"provider_id": provider}
    from nyxcore import llm

    return {"provider_api_url": getattr(llm.get_provider("openai"), "base_url", "")}


@lru_cache(maxsize=512)
def _price_known(model_id: str, provider: str) -> bool:
    return _price(model_id, provider, Usage(input_tokens=1)) is not None


@dataclass(frozen=True)
class _Rows:
    read_at: float
    models: Mapping[str, ModelInfo]


_kept: _Rows | None = None
_kept_lock = threading.Lock()


def _rows() -> Mapping[str, ModelInfo]:
    """Return the rows by model id, read at most once a minute."""
    global _kept
    with _kept_lock:
        if _kept is None or time.monotonic() - _kept.read_at > ROWS_KEPT:
            _kept = _Rows(time.monotonic(), _read_rows())
        return _kept.models


def forget_rows() -> None:
    """Read the rows again at the next question."""
    global _kept
    with _kept_lock:
        _kept = None


def _read_rows() -> dict[str, ModelInfo]:
    from django.apps import apps
    from django.db import DatabaseError

    if not apps.ready:
        return {}
    from nyxcore.models import LanguageModel

    try:
        return {row.id: _of_row(row) for row in LanguageModel.objects.all()}
    except DatabaseError as error:
        # The registry only advises: a call must not fail because the database is away.
        log.warning("The model registry uses its seed values: %s", error)
        return {}


def _of_row(row: LanguageModel) -> ModelInfo:
    """Return what the row says, filled up from the seed where the provider is silent."""
    known = SEEDS.get(row.id) or ModelInfo(row.id, row.provider, row.id)
    info = replace(
        known,
        provider=row.provider,
        label=row.label or known.label,
        context_tokens=row.context_tokens or known.context_tokens,
        max_output_tokens=row.max_output_tokens or known.max_output_tokens,
        lifecycle=row.lifecycle or known.lifecycle,
        checked=known.checked or bool(row.max_output_tokens),
    )
    if not row.capabilities:
        return info
    return replace(info, thinking=_thinking(row.capabilities), efforts=_efforts(row.capabilities))


def _thinking(capabilities: Mapping[str, Any]) -> str:
    types = (capabilities.get("thinking") or {}).get("types") or {}
    if _supported(types, "adaptive"):
        return "adaptive" if _supported(types, "disabled") else "always"
    return "budget" if _supported(types, "enabled") else ""


def _efforts(capabilities: Mapping[str, Any]) -> tuple[str, ...]:
    levels = capabilities.get("effort") or {}
    return tuple(level for level in EFFORTS if _supported(levels, level))


def _supported(things: Mapping[str, Any], name: str) -> bool:
    return bool((things.get(name) or {}).get("supported"))


def refresh() -> int:
    """Fill the rows from the active provider's Models API; return how many models it lists.

    Models that it no longer lists are marked retired; they stay, for the runs that used them.
    """
    from django.db.models.functions import Now

    from nyxcore import llm
    from nyxcore.models import LanguageModel

    name = llm.provider_name()
    rows = [
        LanguageModel(
            id=listed.id,
            provider=name,
            label=(listed.label or listed.id)[:120],
            context_tokens=listed.context_tokens or None,
            max_output_tokens=listed.max_output_tokens or None,
            capabilities=dict(listed.capabilities),
            lifecycle=listed.lifecycle,
            refreshed_at=Now(),
        )
        for listed in llm.get_provider().list_models()
        if len(listed.id) <= 120  # the column; longer names exist only on imitations
    ]
    if rows:
        fields = [field.name for field in LanguageModel._meta.fields if field.name != "id"]
        LanguageModel.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["id"], update_fields=fields
        )
        gone = LanguageModel.objects.filter(provider=name).exclude(id__in=[row.id for row in rows])
        gone.update(lifecycle="retired")
    forget_rows()
    return len(rows)
