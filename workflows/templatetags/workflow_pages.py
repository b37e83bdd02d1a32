"""Template tags of the workflow pages."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.utils.safestring import SafeString

from workflows import rows
from workflows.lines import StepLine

register = template.Library()

register.filter("short_model", rows.short_model)
register.simple_tag(rows.runs, name="run_rows")


@register.simple_tag
def step_pills(lines: Sequence[StepLine], current: StepLine | None = None) -> SafeString:
    return rows.pills(lines, current.pk if current else 0)


@register.simple_tag
def remedies(line: StepLine, csrf_token: str, parts_left: int = 1) -> SafeString:
    """The buttons that help a step at once, as they stand in its open body."""
    return rows.remedies(line, str(csrf_token), opened=True, parts_left=parts_left)
