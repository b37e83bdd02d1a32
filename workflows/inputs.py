"""What a person enters, checked against the fields of a definition."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from workflows.fields import clean
from workflows.problems import Problem, SpecError, did_you_mean

if TYPE_CHECKING:
    from workflows.specs import InputField, WorkflowSpec


def validate_input(
    spec: WorkflowSpec, data: Mapping[str, Any], *, max_bytes: int | None = None
) -> dict[str, str]:
    """Return the text of every field, defaults filled in; raise SpecError that names each wrong field.

    `max_bytes` limits all fields together (None: NYXCORE_MAX_INPUT).
    """
    fields = {field.name: field for field in spec.inputs}
    wrong = {
        str(name): f"There is no input field {name}.{did_you_mean(str(name), fields)}"
        for name in data
        if name not in fields
    }
    values: dict[str, str] = {}
    for name, field in fields.items():
        text = _text(data.get(name))
        if text is None:
            wrong[name] = f"{field.title} must be text, not {type(data[name]).__name__}."
            continue
        text = text if field.kind == "longtext" else text.strip()
        values[name] = text if text.strip() else field.default
        if message := wrong_value(field, values[name]):
            wrong[name] = f"{field.title} {message}"
    problems = [Problem(name, message, path=("input", name)) for name, message in wrong.items()]
    if message := _too_large(values, max_bytes):
        problems.append(Problem("input", message, path=("input",)))
    if problems:
        raise SpecError(problems)
    return values


def _text(value: object) -> str | None:
    """Return the value as text that can be stored, None where it is no single value."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        return None
    # Half of a surrogate pair can be escaped in JSON, but no database stores it.
    return clean(str(value)).encode("utf-8", "replace").decode()


def wrong_value(field: InputField, text: str) -> str:
    """Return what is wrong with a field's text, as the rest of a sentence after its title; or ""."""
    if not text.strip():
        return "is required." if field.required else ""
    if field.max_length and len(text) > field.max_length:
        return f"has {len(text):,} characters; at most {field.max_length:,}."
    if field.kind == "choice" and text not in field.choices:
        return f"must be one of: {', '.join(field.choices)}."
    if field.kind == "number" and not is_number(text):
        return "must be a number."
    if field.kind == "text" and "\n" in text:
        return "must be one line."
    return ""


def is_number(text: str) -> bool:
    try:
        return Decimal(text.strip()).is_finite()
    except InvalidOperation:
        return False


def _too_large(values: Mapping[str, str], max_bytes: int | None) -> str:
    if max_bytes is None:
        from django.conf import settings

        max_bytes = int(settings.NYXCORE_MAX_INPUT)
    size = sum(len(text.encode()) for text in values.values())
    if size <= max_bytes:
        return ""
    return f"The input has {size:,} bytes; at most {max_bytes:,} are allowed (NYXCORE_MAX_INPUT)."
