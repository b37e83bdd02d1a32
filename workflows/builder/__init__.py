"""The builder: a definition as the fields of a form and back, judged, drawn, previewed and estimated."""

from workflows.builder.draft import Draft, Row

__all__ = ["Draft", "Row"]
