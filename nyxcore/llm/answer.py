"""An answer while it arrives, and the verdict on it when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nyxcore.llm.base import CUT_STOPS, GOOD_STOPS, Completion, LLMError, Request, Usage
from nyxcore.llm.faults import Place, redact
from nyxcore.llm.models import estimate_tokens


class Answer:
    """Collects text, usage and stop reason of one call. `usage_of` turns the vendor's fields into ours."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.model = request.model
        self.stop_reason: str | None = None
        self.stop_details: Mapping[str, Any] = {}
        self.request_id = ""
        self.content_type = ""
        self.is_open = False
        self.events = 0
        self.counted = Usage()
        self.has_totals = False
        self._parts: list[str] = []
        self._thinking: list[str] = []

    def opened(self, request_id: str, content_type: str) -> None:
        self.is_open = True
        self.request_id = request_id
        self.content_type = content_type

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def add_text(self, text: str | None) -> str:
        """Keep and return `text`, with what PostgreSQL cannot store (NUL, lone surrogates) replaced."""
        if not text:
            return ""
        if "\0" in text or not text.isascii():
            text = text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        self._parts.append(text)
        return text

    def add_thinking(self, text: str | None) -> None:
        self._thinking.append(text or "")

    def usage(self) -> Usage:
        """Return the vendor's totals; where they never arrived, what is known filled up by an estimate."""
        known = self.counted
        if self.has_totals and self.stop_reason:
            return known
        prompt = known.input_tokens + known.cache_read_tokens + known.cache_write_tokens
        thinking = max(known.thinking_tokens, estimate_tokens("".join(self._thinking)))
        return Usage(
            input_tokens=known.input_tokens if prompt else estimate_request(self.request),
            output_tokens=max(known.output_tokens, estimate_tokens(self.text) + thinking),
            cache_read_tokens=known.cache_read_tokens,
            cache_write_tokens=known.cache_write_tokens,
            thinking_tokens=thinking,
            raw=known.raw,
            estimated=True,
        )

    def finish(self, place: Place, seconds: float) -> Completion:
        """Return the answer, which has its stop reason, or raise why it is none."""
        stop = self.stop_reason or ""
        if stop == "refusal":
            raise self._error(self._refusal(place), "refused", code=self.stop_details.get("category") or "")
        if stop in GOOD_STOPS and not self.text.strip():
            message = f"{place} ended its turn without writing anything. Trying again usually helps."
            raise self._error(message, "transport", retryable=True, code="empty_answer")
        if stop not in GOOD_STOPS and stop not in CUT_STOPS:
            raise self._error(
                f"{place} stopped for a reason that is no end of an answer here ({stop!r}): no tools were "
                "offered to it. Change the prompt or choose another model.",
                "bad_request",
                code=stop,
            )
        return Completion(self.text, stop, self.model, self.usage(), self.request_id, seconds)

    def _refusal(self, place: Place) -> str:
        category = self.stop_details.get("category")
        explanation = redact(str(self.stop_details.get("explanation") or ""), place.secret)
        about = f" ({category})" if category else ""
        said = f' It said: "{explanation}"' if explanation else ""
        return (
            f"The model {self.model!r} of {place.vendor} declined to answer{about}. "
            f"Change the prompt or choose another model.{said}"
        )

    def _error(self, message: str, reason: str, *, retryable: bool = False, code: str = "") -> LLMError:
        return LLMError(
            message,
            reason,
            retryable,
            partial=self.text,
            usage=self.usage(),
            code=code,
            request_id=self.request_id,
        )


def estimate_request(request: Request) -> int:
    """A pessimistic count of the prompt's tokens."""
    return estimate_tokens(request.system + "".join(message.content for message in request.messages))


def count(value: Any) -> int:
    """Return a usage field as a number; servers that only imitate a vendor send anything here."""
    return value if isinstance(value, int) and value > 0 else 0
