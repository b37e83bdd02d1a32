"""How many tokens a step may write: the default, and each built-in step that differs from it, with the reason.

`max_tokens` is a ceiling, not a target: room that is not used costs nothing, while an answer that is cut stops the
workflow. Thinking counts against it too. So a value is generous, and stands here only for a reason.
"""

from __future__ import annotations

from typing import NamedTuple

# Long answers (a document of 3,000 words written anew, with thinking) were cut at 8,192; they fit into twice that.
# NYXCORE_DEFAULT_MAX_TOKENS has this value unless the environment says otherwise.
DEFAULT_MAX_TOKENS = 16_384


class Room(NamedTuple):
    max_tokens: int
    reason: str


_WHOLE_TEXT = "Writes the whole text anew, however low the default of an installation is set: 8,192 cut it."
_LONGER_TEXT = (
    "Writes a text of up to twice the length; 3,000 words become 8,000 tokens and more, besides thinking."
)
_MANY_PARTS = "One answer of up to fifteen parts, each complete: 16,384 cut such answers in their last parts."

# (template slug, step key). A test compares this table with the files.
ROOM: dict[tuple[str, str], Room] = {
    ("improve", "improve"): Room(16_384, _WHOLE_TEXT),
    ("extend-improve", "extend"): Room(16_384, _LONGER_TEXT),
    ("extend-improve", "improve"): Room(16_384, _WHOLE_TEXT),
    ("deep-build", "extend_improve"): Room(32_768, _MANY_PARTS),
    ("deep-build", "prompts"): Room(32_768, _MANY_PARTS),
}
