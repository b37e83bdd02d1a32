"""Chat completions on OpenAI's SDK: OpenAI itself, Ollama (`/v1`) and every compatible address.

Compatible servers differ in what they leave out, so only the finish reason is trusted to end an answer;
usage that never arrives is estimated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nyxcore.llm.answer import Answer, count
from nyxcore.llm.base import ListedModel, Request, Usage, vendor_schema
from nyxcore.llm.faults import Fault, retry_after
from nyxcore.llm.models import ModelInfo
from nyxcore.llm.streaming import StreamingProvider

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}


class OpenAIProvider(StreamingProvider):
    name = "openai"
    vendor = "OpenAI"
    key_setting = "OPENAI_API_KEY"
    address_setting = "OPENAI_BASE_URL"
    default_address = "https://api.openai.com/v1"

    def __init__(self, api_key: str = "", base_url: str = "", **options: Any) -> None:
        super().__init__(api_key, base_url, **options)
        self._official = self.place.address == self.default_address
        if not self._official:
            self.place = replace(self.place, vendor="OpenAI-compatible server")
            self._key = self._key or "none"  # local servers ask for no key, the SDK insists on one

    def _sdk(self) -> Any:
        import openai

        return openai

    def _construct(self, sdk: Any, **options: Any) -> Any:
        return sdk.OpenAI(**options)

    def _body(self, request: Request, info: ModelInfo | None) -> dict[str, Any]:
        """Return the body. OpenAI has renamed max_tokens; most compatible servers know only the old name.

        `effort` goes to OpenAI alone: what others do with an unknown field is anybody's guess.
        """
        request = request.joined()
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        limit = "max_completion_tokens" if self._official else "max_tokens"
        body: dict[str, Any] = {
            "model": request.model,
            "messages": messages,
            limit: info.clamp(request.max_tokens) if info else request.max_tokens,
            "stream_options": {"include_usage": True},
        }
        if request.effort and self._official:
            body["reasoning_effort"] = request.effort
        if request.schema is not None:
            # Not "strict": that mode asks that every property be required, which our schemas do not promise.
            format_ = {"name": "answer", "schema": vendor_schema(request.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": format_}
        return body

    def _open(self, client: Any, body: dict[str, Any]) -> Any:
        return client.chat.completions.create(**body, stream=True)

    def _request_id(self, headers: Mapping[str, str]) -> str:
        return headers.get("x-request-id", "")

    def _read(self, event: Any, answer: Answer) -> str:
        answer.events += 1
        answer.model = event.model or answer.model
        if event.usage is not None:
            self._count(answer, event.usage)
        if not event.choices:
            return ""
        choice = event.choices[0]
        if choice.finish_reason:
            answer.stop_reason = STOP_REASONS.get(choice.finish_reason, choice.finish_reason)
        delta = choice.delta
        if delta is None:
            return ""
        extra = delta.model_extra or {}
        answer.add_thinking(extra.get("reasoning") or extra.get("reasoning_content"))
        if delta.refusal:
            explanation = answer.stop_details.get("explanation", "") + delta.refusal
            answer.stop_details = {"explanation": explanation}
        if answer.stop_reason == "end_turn" and answer.stop_details:
            answer.stop_reason = "refusal"
        return answer.add_text(delta.content)

    def _count(self, answer: Answer, usage: Any) -> None:
        """OpenAI counts cached tokens into the prompt and thinking into the output; so do the imitations."""
        raw = usage.to_dict(mode="json", warnings=False)
        prompt, output = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
        cached, written = count(prompt.get("cached_tokens")), count(prompt.get("cache_write_tokens"))
        answer.counted = Usage(
            input_tokens=max(count(raw.get("prompt_tokens")) - cached - written, 0),
            output_tokens=count(raw.get("completion_tokens")),
            cache_read_tokens=cached,
            cache_write_tokens=written,
            thinking_tokens=count(output.get("reasoning_tokens")),
            raw={key: value for key, value in raw.items() if value is not None},
        )
        answer.has_totals = True

    def _fault(self, error: Any) -> Fault:
        """An error inside a stream is a plain APIError; what it says stands in its body."""
        body = error.body if isinstance(error.body, dict) else {}
        response = getattr(error, "response", None)
        return Fault(
            status=getattr(error, "status_code", 200),
            type=error.type or "",
            code=error.code or "",
            message=str(body.get("message") or ""),
            retry_after=retry_after(response.headers) if response is not None else None,
            request_id=getattr(error, "request_id", None) or "",
        )

    def _list(self, client: Any) -> Sequence[ListedModel]:
        """Ids only: the API tells neither limits nor abilities, and mixes in models that do not chat."""
        return [ListedModel(id=model.id, label=model.id) for model in client.models.list()]
