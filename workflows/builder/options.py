"""A step kind's options as controls of a form, derived from its Config: a new kind needs nothing here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from workflows import yamlfile
from workflows.kinds import KINDS
from workflows.problems import SpecError

LONG = 1_000  # characters; an option that may hold more gets a text area
_INT = re.compile(r"[-+]?[0-9]{1,15}")
_LABELS = {
    "on_cut_off": "When the answer is cut off",
    "deadline": "Deadline, seconds",
    "timeout": "Time limit, seconds",
}
_LISTS = {"model": "models", "shows": "step-keys"}  # data lists that the page offers
_BIG = {"prompt": 12, "system": 4}


@dataclass(frozen=True)
class Option:
    """One option. `widget`: line, code, number, choice, check, lines, yaml. `empty`: what no entry means."""

    name: str
    label: str
    widget: str
    help: str = ""
    empty: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    listed: str = ""
    rows: int = 3
    on: bool = False  # a check that is set unless somebody clears it

    @property
    def is_main(self) -> bool:
        """Stands in the step itself; what is rarely needed is folded away."""
        return self.required or self.widget == "code" or self.name in ("shows", "model", "max_tokens")


@lru_cache(maxsize=64)
def options_of(kind: str) -> tuple[Option, ...]:
    """The options of a kind in the order of its Config; none for an unknown kind."""
    if kind not in KINDS:
        return ()
    schema = KINDS[kind].Config.model_json_schema()
    required = schema.get("required", [])
    found = [_option(name, about, name in required) for name, about in schema.get("properties", {}).items()]
    return tuple(sorted(found, key=lambda option: not option.is_main))


def _option(name: str, about: Mapping[str, Any], required: bool) -> Option:
    said, _, empty = str(about.get("description", "")).partition("Empty: ")
    inner = [part for part in about.get("anyOf", [about]) if part.get("type") != "null"]
    one = inner[0] if len(inner) == 1 else {}
    return Option(
        name=name,
        label=_LABELS.get(name, name.replace("_", " ").capitalize()),
        widget=_widget(one),
        help=said.strip(),
        empty=empty.strip().rstrip("."),
        choices=tuple(map(str, one.get("enum", ()))),
        required=required,
        listed=_LISTS.get(name, ""),
        rows=_BIG.get(name, 3),
        on=about.get("default") is True,
    )


def _widget(about: Mapping[str, Any]) -> str:
    kind = about.get("type")
    if "enum" in about and kind == "string":
        return "choice"
    if kind == "string":
        return "code" if about.get("maxLength", LONG + 1) > LONG else "line"
    if kind == "array" and about.get("items", {}).get("type") == "string":
        return "lines"
    return {"boolean": "check", "integer": "number", "number": "number"}.get(str(kind), "yaml")


# --- texts and values -----------------------------------------------------------------------------------------


def to_text(value: Any, widget: str) -> str:
    """What a control shows of a value; a value of another type than the control's shows as it is."""
    if value is None:
        return ""
    if widget == "check":
        return "on" if value is True else "" if value is False else str(value)
    if widget == "lines" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return yamlfile.write(value) if value else ""  # type: ignore[arg-type]
    return str(value)


def to_value(text: str, widget: str) -> Any:
    """The value of what was entered; what cannot be one stays text, and the schema says what is wrong with it."""
    if widget == "number":
        return number(text)
    if widget == "check":
        return text == "on"
    if widget == "lines":
        return lines(text)
    if widget == "yaml":
        try:
            return yamlfile.read(text).data
        except SpecError:
            return text
    return text


def number(text: str) -> Any:
    word = text.strip()
    if not word:
        return None
    return int(word) if _INT.fullmatch(word) else yamlfile.plain(word) if _is_float(word) else text


def _is_float(word: str) -> bool:
    return isinstance(yamlfile.plain(word), float)


def lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def read_options(kind: str, texts: Mapping[str, str]) -> dict[str, Any]:
    """The config that a step's texts make. What is left empty is left out, and so has its default value."""
    config: dict[str, Any] = {}
    for option in options_of(kind):
        text = texts.get(f"{kind}-{option.name}", "")
        is_set = (text == "on") != option.on if option.widget == "check" else bool(text)
        if is_set or option.required:
            config[option.name] = to_value(text, option.widget)
    return config
