"""The Messages API of Anthropic. The only file that imports its SDK.

Facts that shape this file, seen with SDK 2.12: a stream that ends early but cleanly raises nothing; an error
inside a stream is a plain APIStatusError with status 200; transport failures in mid-stream come as raw
httpx2, JSON or assertion errors; pings are dropped before the loop sees them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from nyxcore.llm.answer import Answer, count
from nyxcore.llm.base import ListedModel, Request, Usage, vendor_schema
from nyxcore.llm.faults import Fault, retry_after
from nyxcore.llm.models import ModelInfo
from nyxcore.llm.streaming import StreamingProvider


class AnthropicProvider(StreamingProvider):
    name = "anthropic"
    vendor = "Anthropic"
    key_setting = "ANTHROPIC_API_KEY"
    address_setting = "ANTHROPIC_BASE_URL"
    default_address = "https://api.anthropic.com"

    def _sdk(self) -> Any:
        import anthropic

        return anthropic

    def _construct(self, sdk: Any, **options: Any) -> Any:
        # The explicit key also keeps the SDK from picking up a profile on the developer's disk.
        return sdk.Anthropic(**options)

    def _body(self, request: Request, info: ModelInfo | None) -> dict[str, Any]:
        """Return the body: no sampling fields (they are refused), max_tokens within the model's limit.

        `effort` is a wish: a level that the model does not have is left out instead of failing the step.
        """
        body: dict[str, Any] = {
            "model": request.model,
            "max_tokens": info.clamp(request.max_tokens) if info else request.max_tokens,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        }
        if request.system:
            body["system"] = request.system
        if request.shared:
            body["messages"][0]["content"] = _marked(request)
        elif request.cache:
            body["cache_control"] = {"type": "ephemeral"}
        if info and info.thinks_by_itself:
            # The default display is "omitted": minutes without a byte of progress.
            body["thinking"] = {"type": "adaptive", "display": "summarized"}
        output: dict[str, Any] = {}
        if request.effort and (info is None or request.effort in info.efforts):
            output["effort"] = request.effort
        if request.schema is not None:
            output["format"] = {"type": "json_schema", "schema": _schema(json.dumps(request.schema))}
        if output:
            body["output_config"] = output
        return body

    def _open(self, client: Any, body: dict[str, Any]) -> Any:
        return client.messages.create(**body, stream=True)

    def _request_id(self, headers: Mapping[str, str]) -> str:
        return headers.get("request-id", "")

    def _read(self, event: Any, answer: Answer) -> str:
        answer.events += 1
        match event.type:
            case "message_start":
                answer.model = event.message.model or answer.model
                self._count(answer, event.message.usage)
            case "content_block_start" if event.content_block.type == "text":
                return answer.add_text(event.content_block.text)
            case "content_block_delta" if event.delta.type == "text_delta":
                return answer.add_text(event.delta.text)
            case "content_block_delta" if event.delta.type == "thinking_delta":
                answer.add_thinking(event.delta.thinking)
            case "message_delta":
                self._count(answer, event.usage)
                if event.delta.stop_reason:
                    answer.stop_reason = event.delta.stop_reason
                    answer.has_totals = True
                if event.delta.stop_details is not None:
                    answer.stop_details = event.delta.stop_details.to_dict(warnings=False)
        return ""

    def _count(self, answer: Answer, usage: Any) -> None:
        """Numbers in a stream are running totals; a field left out keeps its earlier value."""
        if usage is None:
            return
        sent = usage.to_dict(mode="json", warnings=False)
        raw = {**answer.counted.raw, **{key: value for key, value in sent.items() if value is not None}}
        answer.counted = Usage(
            input_tokens=count(raw.get("input_tokens")),
            output_tokens=count(raw.get("output_tokens")),
            cache_read_tokens=count(raw.get("cache_read_input_tokens")),
            cache_write_tokens=count(raw.get("cache_creation_input_tokens")),
            thinking_tokens=count((raw.get("output_tokens_details") or {}).get("thinking_tokens")),
            raw=raw,
        )

    def _fault(self, error: Any) -> Fault:
        return Fault(
            status=error.status_code,
            type=error.type or "",
            code=error.error_code or "",
            message=error.api_message or "",
            retry_after=retry_after(error.response.headers),
            request_id=error.request_id or "",
        )

    def _list(self, client: Any) -> Sequence[ListedModel]:
        return [
            ListedModel(
                id=model.id,
                label=model.display_name or model.id,
                context_tokens=count(model.max_input_tokens),
                max_output_tokens=count(model.max_tokens),
                capabilities=model.capabilities.to_dict(mode="json") if model.capabilities else {},
                lifecycle=getattr(model, "lifecycle", None) or "",
            )
            for model in client.models.list(limit=1000)
        ]


@lru_cache(maxsize=64)
def _schema(schema: str) -> dict[str, Any]:
    """A schema, given as JSON, as this vendor takes it. Kept, since one stands in hundreds of calls."""
    import anthropic

    transformed: dict[str, Any] = anthropic.transform_schema(vendor_schema(json.loads(schema)))
    return transformed


def _marked(request: Request) -> list[dict[str, Any]]:
    """The first message in two parts; the cache keeps what stands before and in the marked one, and nothing else."""
    return [
        {"type": "text", "text": request.shared, "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": request.messages[0].content},
    ]
