"""A form of a page as a browser reads and sends it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any


class FormReader(HTMLParser):
    """Collects the successful controls of the form with one id (or of the first form that has no id asked for)."""

    def __init__(self, form_id: str) -> None:
        super().__init__(convert_charrefs=True)
        self.form_id = form_id
        self.inside = False
        self.templates = 0
        self.fields: list[tuple[str, str]] = []
        self.area: list[str] | None = None
        self.area_name = ""
        self.select: tuple[str, list[tuple[str, bool]]] | None = None
        self.errors: dict[str, str] = {}
        self.error_of = ""

    def handle_starttag(self, tag: str, attrs_: list[tuple[str, str | None]]) -> None:
        attrs = dict(attrs_)
        if tag == "template":
            self.templates += 1
        if self.templates:
            return
        if tag == "form":
            self.inside = (attrs.get("id") or "") == self.form_id
        if not self.inside:
            return
        name = attrs.get("name") or ""
        if tag == "input" and name:
            kind = attrs.get("type", "text")
            if kind == "checkbox":
                if "checked" in attrs:
                    self.fields.append((name, attrs.get("value") or "on"))
            elif kind != "file":
                self.fields.append((name, attrs.get("value") or ""))
        elif tag == "textarea":
            self.area, self.area_name = [], name
        elif tag == "select":
            self.select = (name, [])
        elif tag == "option" and self.select:
            self.select[1].append((attrs.get("value") or "", "selected" in attrs))
        elif tag == "p" and (attrs.get("id") or "").endswith("_error"):
            self.error_of = (attrs.get("id") or "").removesuffix("_error")

    def handle_data(self, data: str) -> None:
        if self.area is not None:
            self.area.append(data)
        if self.error_of and data.strip():
            self.errors[self.error_of] = data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "template":
            self.templates -= 1
        if self.templates:
            return
        if tag == "textarea" and self.area is not None:
            text = "".join(self.area)
            text = text.removeprefix("\n")  # the one that HTML drops
            self.fields.append((self.area_name, text.replace("\n", "\r\n")))
            self.area = None
        elif tag == "select" and self.select:
            name, options = self.select
            chosen = [value for value, selected in options if selected] or [options[0][0]]
            self.fields.append((name, chosen[0]))
            self.select = None
        elif tag == "p":
            self.error_of = ""
        elif tag == "form":
            self.inside = False


def read_form(html: str, form_id: str = "builder") -> FormReader:
    reader = FormReader(form_id)
    reader.feed(html)
    reader.close()
    return reader


def sent(html: str, form_id: str = "builder", **changes: Any) -> dict[str, list[str]]:
    """What a browser sends of the form; `changes` are fields by name with "__" for "-" and None for left out."""
    data: dict[str, list[str]] = {}
    for name, value in read_form(html, form_id).fields:
        data.setdefault(name, []).append(value)
    for name, value in changes.items():
        name = name.replace("__", "-")
        if value is None:
            data.pop(name, None)
        else:
            data[name] = [value]
    return data
