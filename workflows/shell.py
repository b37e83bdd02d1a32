"""What people give to commands, checked: a definition, inputs, an owner. Whatever is wrong ends with exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings

from nyxcore.shell import BadInput as BadInput
from nyxcore.shell import find_owner as find_owner
from nyxcore.shell import nearest
from workflows import catalog, services, specs
from workflows.models import Workflow, WorkflowTemplate
from workflows.specs import SpecError, WorkflowSpec
from workflows.yamlfile import MAX_BYTES


def find_spec(word: str, owner: Any = None) -> WorkflowSpec:
    """A template by name or slug (upper or lower case), or the definition in a YAML file.

    Built-in templates come before those that `owner` keeps; `own:PK` names one of these whatever it is called.
    """
    builtin = list(catalog.load_all().values())
    kept = list(WorkflowTemplate.objects.filter(owner=owner)) if owner else []
    wanted = word.strip().casefold()
    for spec in builtin:
        if wanted in (spec.name.casefold(), spec.slug):
            return spec
    for template in kept:
        if wanted in (template.name.casefold(), template.slug, template.chosen_as):
            return _kept(template)
    path = Path(word)
    looks_like_file = path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    if looks_like_file or (wanted and _exists(path)):
        return read_spec(word)
    names = [spec.name for spec in builtin] + [template.name for template in kept]
    slugs = [spec.slug for spec in builtin] + [template.slug for template in kept]
    close = nearest(word, names) or nearest(word, slugs)
    hint = f" Did you mean “{close}”?" if close else ""
    known = ", ".join(f"“{name}”" for name in names)
    raise BadInput(f"There is no template “{word}”.{hint} There are {known}; or name a YAML file.")


def _kept(template: WorkflowTemplate) -> WorkflowSpec:
    try:
        return specs.load(template.spec)
    except SpecError as error:
        raise BadInput(_listed(f"The template “{template.name}” cannot run:", error)) from None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def read_spec(file: str) -> WorkflowSpec:
    """The definition in a YAML file; `-` reads standard input."""
    try:
        return specs.parse_yaml(read_text(file, MAX_BYTES))
    except SpecError as error:
        raise BadInput(_listed(f"{file} is not a workflow that can run:", error)) from None


def _listed(head: str, error: SpecError) -> str:
    return "\n".join([head, *(f"  {problem}" for problem in error.problems)])


def read_inputs(words: Iterable[str]) -> dict[str, str]:
    """The values of `key=value`, `key=@file` (`@-`: standard input) and `key=@@text` (a text that begins with @)."""
    values: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise BadInput(f"--input takes key=value or key=@file, not “{word[:60]}”.")
        if key in values:
            raise BadInput(f"The input {key} is given twice.")
        if value.startswith("@@"):
            value = value[1:]
        elif value.startswith("@"):
            value = read_text(value[1:], settings.NYXCORE_MAX_INPUT, f"Input {key}: ")
        values[key] = value
    return values


def read_text(file: str, limit: int, said: str = "") -> str:
    """The text of a file, or a sentence on why it cannot be had."""
    if not file:
        raise BadInput(f"{said}@ must be followed by the name of a file.")
    try:
        with _open(file) as opened:
            data = opened.read(limit + 1)
    except FileNotFoundError:
        raise BadInput(f"{said}There is no file {file}.") from None
    except IsADirectoryError:
        raise BadInput(f"{said}{file} is a folder, not a file.") from None
    except PermissionError:
        raise BadInput(f"{said}{file} may not be read by this user.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"{said}{file} cannot be read: {why}.") from None
    if len(data) > limit:
        raise BadInput(f"{said}{file} has more than {limit:,} bytes, which is the most that is read.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{said}{file} is not text in UTF-8 (byte {error.start:,} is not).") from None
    if "\x00" in text:
        raise BadInput(f"{said}{file} is a binary file, not text.")
    return text


def _open(file: str) -> BinaryIO:
    return open(sys.stdin.fileno(), "rb", closefd=False) if file == "-" else Path(file).open("rb")


def create(spec: WorkflowSpec, *, owner: Any, words: Sequence[str], **options: Any) -> Workflow:
    """A pending workflow of `spec` with the inputs in `words`."""
    data: Mapping[str, str] = read_inputs(words)
    try:
        return services.create_workflow(owner=owner, spec=spec, data=dict(data), **options)
    except SpecError as error:
        told = _listed(f"“{spec.name}” cannot run like this:", error)
        if any(problem.path[:1] == ("input",) for problem in error.problems):
            told += f"\nIts inputs: {_inputs(spec)}."
        raise BadInput(told) from None
    except services.Refused as error:
        raise BadInput(str(error)) from None


def _inputs(spec: WorkflowSpec) -> str:
    return ", ".join(f"{f.name} (required)" if f.required else f.name for f in spec.inputs) or "none"
