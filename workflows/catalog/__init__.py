"""The built-in workflow templates: one YAML file each, in the format of export and import.

Their token limits, and the reasons for them, stand in `limits.py`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from workflows.catalog.limits import DEFAULT_MAX_TOKENS, ROOM, Room
from workflows.problems import Problem, SpecError
from workflows.specs import WorkflowSpec, parse_yaml

__all__ = ["DEFAULT_MAX_TOKENS", "ROOM", "Room", "get", "load_all", "load_folder"]

FOLDER = Path(__file__).parent


def load_all() -> dict[str, WorkflowSpec]:
    """Return the templates by slug, short ones first. Each call gives copies: a caller may change its own."""
    return {slug: spec.model_copy(deep=True) for slug, spec in _load().items()}


def get(slug: str) -> WorkflowSpec | None:
    """Return a copy of one template, or None."""
    spec = _load().get(slug)
    return spec.model_copy(deep=True) if spec else None


@lru_cache(maxsize=1)
def _load() -> dict[str, WorkflowSpec]:
    return load_folder(FOLDER)


def load_folder(folder: Path) -> dict[str, WorkflowSpec]:
    """Return the templates of a folder; raise SpecError that names file and line of every problem."""
    specs: dict[str, WorkflowSpec] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            # Models are compared when a workflow is made: a template must show whatever the provider is.
            spec = parse_yaml(path.read_text(encoding="utf-8"), check_models=False)
        except SpecError as error:
            problems += [
                Problem(f"{path.name}, {found.where}", found.message, found.line, found.path, found.at)
                for found in error.problems
            ]
            continue
        if spec.slug != path.stem:
            problems.append(
                Problem(path.name, f"The slug {spec.slug} must be the file's name.", path=("slug",))
            )
        specs[spec.slug] = spec
    if problems:
        raise SpecError(problems)
    return dict(sorted(specs.items(), key=lambda item: (len(item[1].steps), item[0])))
