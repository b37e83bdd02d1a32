"""What all calls of a phase have alike stands first, and only that is marked for the vendor's cache."""

from __future__ import annotations

from nyxcore.llm.anthropic import AnthropicProvider
from nyxcore.llm.base import Message, Request
from nyxcore.llm.openai import OpenAIProvider

REQUEST = Request("m", (Message("user", "The question."),), 100, shared="The overview.")


def test_anthropic_gets_two_parts_with_a_mark_after_the_first() -> None:
    body = AnthropicProvider(api_key="k", base_url="")._body(REQUEST, None)
    first, second = body["messages"][0]["content"]
    assert (first["text"], first["cache_control"]) == ("The overview.", {"type": "ephemeral"})
    assert (second["text"], "cache_control" in second, "cache_control" in body) == (
        "The question.",
        False,
        False,
    )


def test_others_get_one_text() -> None:
    body = OpenAIProvider(api_key="k", base_url="")._body(REQUEST, None)
    assert body["messages"][0]["content"] == "The overview.\n\nThe question."
