"""A definition that is being worked on, as the texts that stand in the fields of its form.

Texts, not values: whatever was typed comes back, however wrong it is. `data` makes of them what `specs.load` judges.
Rows keep their number while they are moved; their order is the order in which the form sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict
from django.utils.text import slugify

from workflows import specs, yamlfile
from workflows.builder import options
from workflows.fields import clean
from workflows.kinds import KINDS
from workflows.problems import Problem, SpecError
from workflows.specs import InputField, WorkflowSpec

HEAD = ("name", "slug", "version", "description", "default_model", "on_cut_off", "budget")
INPUT = ("name", "label", "kind", "required", "default", "help", "choices", "max_length")
STEP = ("key", "title", "kind", "after", "needs", "notes", "more")
AFTER = ("before", "start", "chosen")  # needs: null, [], a list
_ROW = re.compile(r"[1-9][0-9]{0,6}")


@dataclass
class Row:
    """An input field or a step: its number in the names of the form's fields, and its texts."""

    number: int
    texts: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")


@dataclass
class Draft:
    texts: dict[str, str] = field(default_factory=dict)
    inputs: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    focus: str = ""  # the field that the page puts the cursor into

    @classmethod
    def from_scratch(cls) -> Draft:
        """Something that can run at once, to be changed."""
        prompt = "<document>\n{{ input.text }}\n</document>\n\nSummarise the document in ten sentences.\n"
        step = {"key": "summary", "title": "Summary", "kind": "llm", "config": {"prompt": prompt}}
        text = {"name": "text", "label": "Your text", "kind": "longtext"}
        return cls.from_data(
            {"name": "My workflow", "slug": "", "version": 1, "inputs": [text], "steps": [step]}
        )

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Draft:
        """From plain data, such as a template or a file gives; nothing in it has to be right."""
        draft = cls({name: options.to_text(data.get(name), "line") for name in HEAD})
        for number, item in enumerate(_mappings(data.get("inputs")), 1):
            draft.inputs.append(Row(number, _input_texts(item)))
        for number, item in enumerate(_mappings(data.get("steps")), 1):
            draft.steps.append(Row(number, _step_texts(item)))
        return draft

    @classmethod
    def from_spec(cls, spec: WorkflowSpec) -> Draft:
        return cls.from_data(spec.model_dump(mode="json"))

    @classmethod
    def from_post(cls, post: QueryDict) -> Draft:
        """From what the form sends. A field named `step-3-title` belongs to the row that a field `step` numbers."""
        draft = cls({name: clean(post.get(name, "")) for name in HEAD})
        rows = {
            group: [Row(number) for number in _numbers(post.getlist(group))] for group in ("input", "step")
        }
        by_number = {(group, row.number): row for group, found in rows.items() for row in found}
        for name, text in post.items():
            group, _, rest = name.partition("-")
            number, _, own = rest.partition("-")
            row = by_number.get((group, int(number))) if _ROW.fullmatch(number) else None
            if row is not None and own:
                row.texts[own] = clean(str(text))
        draft.inputs, draft.steps = rows["input"], rows["step"]
        draft._fill_blanks()
        return draft

    def _fill_blanks(self) -> None:
        """Keys and slug that were left empty follow from title and name."""
        if not self["slug"].strip():
            words = re.findall(r"[a-z0-9]+", slugify(self["name"]))
            self.texts["slug"] = "-".join(words)[:100].strip("-") or "workflow"
        for group, source, target in (("input", "label", "name"), ("step", "title", "key")):
            rows = self.rows_of(group)
            taken = {row[target] for row in rows}
            for row in rows:
                if not row[target]:
                    row.texts[target] = free_key(row[source] or group, taken)
                    taken.add(row[target])

    def __getitem__(self, name: str) -> str:
        return self.texts.get(name, "")

    # --- as data ---

    def data(self) -> dict[str, Any]:
        """What specs.load takes."""
        found: dict[str, Any] = {
            name: self[name] for name in ("name", "slug", "description", "default_model")
        }
        found["version"] = options.number(self["version"]) if self["version"].strip() else 1
        found["on_cut_off"] = self["on_cut_off"] or "stop"
        found["budget"] = self["budget"].strip() or None
        found["inputs"] = [_input_data(row) for row in self.inputs]
        found["steps"] = [_step_data(row) for row in self.steps]
        return found

    def check(self, *, check_models: bool = True) -> tuple[WorkflowSpec | None, list[Problem]]:
        """The definition, or what is wrong with it."""
        try:
            return specs.load(self.data(), check_models=check_models), []
        except SpecError as error:
            return None, error.problems

    def as_yaml(self) -> str:
        """The draft as a file, also while it has mistakes."""
        data = self.data()
        try:
            return specs.dump_yaml(WorkflowSpec.model_validate(data))
        except ValueError:  # pydantic's error is one
            return yamlfile.write(
                {name: value for name, value in data.items() if value not in ("", None, [])}
            )

    def field_of(self, problem: Problem) -> str:
        """The name of the form's field that a problem is about, "" where it is about none."""
        path = problem.path
        if len(path) >= 3 and path[0] in ("steps", "inputs") and isinstance(path[1], int):
            rows = self.steps if path[0] == "steps" else self.inputs
            if path[1] < len(rows):
                return f"{path[0][:-1]}-{rows[path[1]].number}-{_own_name(rows[path[1]], path[2:])}"
        return str(path[0]) if len(path) == 1 and path[0] in HEAD else ""

    def examples(self) -> dict[str, str]:
        """A value for each input: what was entered as an example, else its default, else a stand-in."""
        return {row["name"]: row["example"] or row["default"] or _stand_in(row) for row in self.inputs}

    # --- changes without a script ---

    def rows_of(self, group: str) -> list[Row]:
        return self.steps if group == "step" else self.inputs

    def row(self, group: str, number: int) -> Row | None:
        return next((row for row in self.rows_of(group) if row.number == number), None)

    def add(self, group: str, kind: str = "llm") -> Row:
        """A new row at the end, with a name that is free."""
        rows = self.rows_of(group)
        number = 1 + max((row.number for row in rows), default=0)
        if group == "step":
            key = free_key(f"step_{len(rows) + 1}", {row["key"] for row in rows})
            title = key.replace("_", " ").capitalize()
            row = Row(number, {"key": key, "title": title, "kind": kind, "after": "before"})
            if rows and kind == "llm":
                row.texts["llm-prompt"] = f"{{{{ steps.{rows[-1]['key']}.content }}}}\n\n"
        else:
            name = free_key(f"input_{len(rows) + 1}", {row["name"] for row in rows})
            row = Row(number, {"name": name, "kind": "text", "required": "on"})
        rows.append(row)
        self.focus = f"{group}-{number}-{'title' if group == 'step' else 'name'}"
        return row

    def remove(self, group: str, number: int) -> None:
        rows = self.rows_of(group)
        rows[:] = [row for row in rows if row.number != number]

    def move(self, group: str, number: int, by: int) -> None:
        """Put a row `by` places further down (or up); at an end it stays."""
        rows = self.rows_of(group)
        at = next((index for index, row in enumerate(rows) if row.number == number), None)
        if at is not None and 0 <= at + by < len(rows):
            rows.insert(at + by, rows.pop(at))
            self.focus = f"{group}-{number}-{'title' if group == 'step' else 'name'}"


def free_key(wanted: str, taken: Iterable[str]) -> str:
    """A key made of a title, with a number behind it where it is taken."""
    key = re.sub(r"[^a-z0-9]+", "_", slugify(wanted).lower()).strip("_")[:50].strip("_")
    key = key if key[:1].isalpha() else f"n_{key}".strip("_")
    taken = set(taken)
    if key not in taken:
        return key
    return next(name for n in range(2, len(taken) + 3) if (name := f"{key}_{n}") not in taken)


def _numbers(words: Sequence[str]) -> list[int]:
    return list(dict.fromkeys(int(word) for word in words if _ROW.fullmatch(word)))[: specs.MAX_STEPS + 1]


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


# --- one row ---


def _input_texts(item: Mapping[str, Any]) -> dict[str, str]:
    item = {"kind": "text", "required": True} | dict(item)
    widgets = {"required": "check", "choices": "lines"}
    return {name: options.to_text(item.get(name), widgets.get(name, "line")) for name in INPUT}


def _input_data(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {name: row[name] for name in ("name", "label", "default", "help")}
    found |= {"kind": row["kind"] or "text", "required": row["required"] == "on"}
    return found | {"choices": options.lines(row["choices"]), "max_length": options.number(row["max_length"])}


def _step_texts(item: Mapping[str, Any]) -> dict[str, str]:
    kind, needs = str(item.get("kind", "llm")), item.get("needs")
    texts = {name: options.to_text(item.get(name), "line") for name in ("key", "title", "notes")}
    listed = [str(need) for need in needs] if isinstance(needs, list) else []
    texts |= {"kind": kind, "needs": ", ".join(listed)}
    texts["after"] = "before" if needs is None else "chosen" if listed else "start"
    config = dict(item["config"]) if isinstance(item.get("config"), Mapping) else {}
    for option in options.options_of(kind):
        texts[f"{kind}-{option.name}"] = options.to_text(config.pop(option.name, None), option.widget)
    texts["more"] = yamlfile.write(config) if config else ""
    return texts


def _step_data(row: Row) -> dict[str, Any]:
    kind = row["kind"] or "llm"
    config = options.read_options(kind, row.texts)
    if row["more"].strip():
        more = options.to_value(row["more"], "yaml")
        config = config | more if isinstance(more, dict) else more
    needs = {"start": [], "chosen": re.findall(r"[^\s,]+", row["needs"])}.get(row["after"])
    found = {name: row[name] for name in ("key", "title", "notes")}
    return found | {"kind": kind, "needs": needs, "config": config}


def _own_name(row: Row, path: Sequence[str | int]) -> str:
    if path[0] != "config":
        return str(path[0])
    kind = row["kind"] or "llm"
    named = len(path) > 1 and any(option.name == path[1] for option in options.options_of(kind))
    return f"{kind}-{path[1]}" if named else "more" if kind in KINDS else "kind"


def _stand_in(row: Row) -> str:
    if row["kind"] == "choice":
        return next(iter(options.lines(row["choices"])), "")
    if row["kind"] == "number":
        return "3"
    title = InputField.model_construct(name=row["name"], label=row["label"]).title
    return f"[{title}: entered when a workflow is made]"
