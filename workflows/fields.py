"""Building blocks of the schemas: the strict base model, and text that the database and a file can hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

KEY = r"^[a-z][a-z0-9_]*$"
KEY_RULE = "lower-case letters, digits and _, beginning with a letter"
SLUG = r"^[a-z0-9]+(?:-[a-z0-9]+)*$"
SLUG_RULE = "lower-case letters and digits, parts joined by -"


def clean(text: str) -> str:
    """Return the text as it is stored: line ends as \\n (browsers send \\r\\n), and no NUL."""
    return text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")


Text = Annotated[str, AfterValidator(clean)]
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]*$")]
ModelId = Annotated[str, StringConstraints(pattern=r"^[^\s\x00-\x1f\x7f]*$", max_length=120)]


class Strict(BaseModel):
    """Unknown keys and wrong types are errors: what is not understood must not be lost in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
