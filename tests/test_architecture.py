"""What holds the code together, and whether the documents still say what is so."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command, get_commands

from nyxcore import ui
from nyxcore.states import (
    ANALYSIS_EDGES,
    ANALYSIS_PERSON_EDGES,
    ATTEMPT_EDGES,
    NEXT_ACTION,
    STEP_EDGES,
    STEP_PERSON_EDGES,
    UNIT_EDGES,
    UNIT_PERSON_EDGES,
    WORKFLOW_EDGES,
    WORKFLOW_PERSON_EDGES,
    Reason,
    Status,
)
from workflows import catalog
from workflows.models import Step, StepAttempt, Workflow

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    [
        ROOT / "manage.py",
        *(path for app in ("nyxcore", "workflows", "analysis") for path in (ROOT / app).rglob("*.py")),
    ]
)
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def heading(document: str, title: str) -> str:
    """What stands below a heading, down to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |^\1 |\Z)", document, re.M | re.S)
    assert found, title
    return found[2]


# --- who writes a status --------------------------------------------------------------------------------------

# An UPDATE with `status` among what it sets, in whatever form the SQL stands in the source.
SETS_STATUS = re.compile(
    r"\bUPDATE\b(?:(?!\bWHERE\b|\bFROM\b|;).)*?\bSET\b(?:(?!\bWHERE\b|;).)*?\bstatus\s*=", re.S | re.I
)
INSERTS = re.compile(r"\bINSERT\s+INTO\s+(workflows_stepattempt|analysis_unitattempt)\b", re.I)


def texts(path: Path) -> Iterator[str]:
    """Every text in a module, the fixed parts of f-strings included."""
    for node in nodes(path):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def writes_status(node: ast.AST) -> bool:
    """`.update(status=…)`, `save(update_fields=[… "status" …])`, `bulk_update(…)`, `row.status = …`, setattr."""
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {keyword.arg for keyword in node.keywords}
        words = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
        return (called in ("update", "update_or_create", "aupdate") and "status" in named) or (
            called in ("save", "asave", "bulk_update", "abulk_update", "setattr") and "status" in words
        )
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    if not isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return False
    flat = [part for target in targets if target is not None for part in ast.walk(target)]
    return any(
        isinstance(part, ast.Attribute) and part.attr == "status" and getattr(part.value, "id", "") != "self"
        for part in flat
    )


def test_only_states_writes_a_status_by_the_orm() -> None:
    code = [path for path in SOURCES if "migrations" not in path.parts]
    found = {name_of(path) for path in code if any(writes_status(node) for node in nodes(path))}
    assert found == {"nyxcore/states.py"}


def test_only_the_claim_and_the_hot_path_write_a_status_by_sql() -> None:
    found = {name_of(path) for path in SOURCES if any(SETS_STATUS.search(text) for text in texts(path))}
    assert found == {
        "nyxcore/claim.py",
        "workflows/migrations/0003_hot_path.py",
        "analysis/migrations/0004_hot_path.py",
    }


def test_the_architecture_names_every_writer() -> None:
    named = re.findall(r"^\| `([\w/.]+\.py)`", heading(ARCHITECTURE, "Who writes a status"), re.M)
    assert set(named) == {
        "nyxcore/states.py",
        "nyxcore/claim.py",
        "workflows/migrations/0003_hot_path.py",
        "analysis/migrations/0004_hot_path.py",
    }


@pytest.mark.parametrize(
    "source",
    [
        "rows.filter(pk=1).update(status='failed')",
        "row.status = 'failed'",
        "row.reason, row.status = '', 'failed'",
        "row.save(update_fields=['status'])",
        "setattr(row, 'status', 'failed')",
        "Step.objects.bulk_update(rows, ['status'])",
    ],
)
def test_the_search_for_writers_finds(source: str) -> None:
    assert any(writes_status(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    ("query", "writes"),
    [
        ("UPDATE t SET reason = '', status = 'failed' WHERE id = 1", True),
        ("UPDATE t\n   SET status='failed'", True),
        ("UPDATE t SET output = 'x' WHERE status = 'running'", False),
        ("SELECT 1 WHERE status = 'running' FOR UPDATE", False),
    ],
)
def test_the_search_for_sql_tells(query: str, writes: bool) -> None:
    assert bool(SETS_STATUS.search(query)) is writes


def test_attempts_are_only_added_in_three_places() -> None:
    found = set()
    for path in SOURCES:
        made = [
            node
            for node in nodes(path)
            if isinstance(node, ast.Call)
            and re.fullmatch(
                r"(Step|Unit)Attempt(\.objects\.\w*create\w*)?|\w+\.attempts\.\w*create\w*",
                ast.unparse(node.func),
            )
        ]
        if made or any(INSERTS.search(text) for text in texts(path)):
            found.add(name_of(path))
    assert found == {"analysis/engine.py", "workflows/engine.py", "workflows/migrations/0003_hot_path.py"}


# --- habits ---------------------------------------------------------------------------------------------------


def catches_all(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type else "BaseException"
    return bool(re.search(r"\b(Base)?Exception\b", caught))


def is_told(handler: ast.ExceptHandler) -> bool:
    """The error is raised on, logged, or used by its name."""
    for node in [part for line in handler.body for part in ast.walk(line)]:
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.Name) and node.id == handler.name:
            return True
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.exception", "traceback.print_exc"):
            return True
    return False


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_error_is_swallowed(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.ExceptHandler) and catches_all(node):
            assert is_told(node), f"{name_of(path)}:{node.lineno} catches everything and tells nobody"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            caught = " ".join(map(ast.unparse, node.args))
            assert not re.search(r"\b(Base)?Exception\b", caught), f"{name_of(path)}:{node.lineno}"


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_reason_has_a_sentence_and_a_next_action() -> None:
    assert set(NEXT_ACTION) == set(Reason)
    assert all(text.endswith(".") for reason in Reason for text in (str(reason.label), NEXT_ACTION[reason]))


def test_every_status_has_a_word_and_a_shape_and_a_colour() -> None:
    css = (ROOT / "static/css/app.css").read_text(encoding="utf-8")
    assert set(ui.STATUS_ICONS) == set(Status)
    for status in Status:
        assert str(status.label) in ui.status_badge(status.value)
        assert f'[data-status="{status.value}"]' in css


# --- docs/architecture.md -------------------------------------------------------------------------------------


def diagram(title: str) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """(all edges, those marked as a person's) of the state diagram below a heading."""
    drawn = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", heading(ARCHITECTURE, title), re.S)
    assert drawn, title
    edges = re.findall(r"^ *(\S+) --> (\S+?)(?:: (.*))?$", drawn[1], re.M)
    assert len(edges) == len(drawn[1].strip().splitlines())
    return {(frm, to) for frm, to, _ in edges}, {(frm, to) for frm, to, who in edges if who == "person"}


@pytest.mark.parametrize(
    ("title", "table", "persons"),
    [
        ("Workflow", WORKFLOW_EDGES, WORKFLOW_PERSON_EDGES),
        ("Step", STEP_EDGES, STEP_PERSON_EDGES),
        ("Attempt", ATTEMPT_EDGES, set()),
        ("Analysis", ANALYSIS_EDGES, ANALYSIS_PERSON_EDGES),
        ("Unit", UNIT_EDGES, UNIT_PERSON_EDGES),
    ],
)
def test_state_diagrams_match_the_tables(title: str, table: Any, persons: Any) -> None:
    edges, by_person = diagram(title)
    final = {(status.value, "[*]") for status, to in table.items() if not to}
    assert edges == {("[*]", "pending")} | final | {(a.value, b.value) for a, to in table.items() for b in to}
    assert by_person == {(a.value, b.value) for a, b in persons}


def test_every_constraint_stands_in_the_table_of_invariants() -> None:
    told = set(re.findall(r"`(\w+)`", heading(ARCHITECTURE, "Invariants")))
    for model in (Workflow, Step, StepAttempt, *apps.get_app_config("analysis").get_models()):
        names = {rule.name for rule in [*model._meta.constraints, *getattr(model._meta, "triggers", [])]}
        assert names <= told
    assert "step_workflow_phase" in (ROOT / "workflows/migrations/0002_storage.py").read_text(
        encoding="utf-8"
    )


def test_the_table_of_invariants_names_nothing_that_is_not_there() -> None:
    told = re.findall(r"`((?:attempt|step|workflow|analysis|unit)_\w+)`", heading(ARCHITECTURE, "Invariants"))
    rules = {
        rule.name
        for model in (Workflow, Step, StepAttempt, *apps.get_app_config("analysis").get_models())
        for rule in [*model._meta.constraints, *getattr(model._meta, "triggers", [])]
    }
    assert set(told) <= rules | {"step_workflow_phase", "unit_run_phase"}


def tracked(app: str) -> set[str]:
    """The modules of an app that are committed; in a copy without git, all that are there."""
    listed = ""
    if shutil.which("git"):
        command = ["git", "ls-files", app]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    paths = [ROOT / line for line in listed.split()] or sorted((ROOT / app).rglob("*"))
    left_out = {"migrations", "commands"}
    return {
        str(path.relative_to(ROOT / app))
        for path in paths
        if path.suffix == ".py"
        and not left_out.intersection(path.parts)
        and path.exists()
        and path.stat().st_size
    }


@pytest.mark.parametrize(
    ("app", "titles"),
    [
        ("nyxcore", ["nyxcore: the kernel", "nyxcore: the platform"]),
        ("workflows", ["workflows"]),
        ("analysis", ["analysis"]),
    ],
)
def test_every_file_has_its_line(app: str, titles: list[str]) -> None:
    told = {
        name
        for title in titles
        for row in re.findall(r"^\| (`.*?) \|", heading(ARCHITECTURE, title), re.M)
        for name in re.findall(r"`([\w/]+\.py)`", row)
    }
    without = tracked(app) - told
    assert not without, f"Give them a line in docs/architecture.md, Files: {sorted(without)}"
    assert all((ROOT / app / name).exists() for name in told)


def test_the_layers_told_are_those_of_the_import_contract() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract.get("containers") == ["workflows"]]
    told = re.findall(r"^\| [^|]+ \| (`.*?) \|", heading(ARCHITECTURE, "Layers"), re.M)
    line_of = {name: n for n, row in enumerate(told) for name in re.findall(r"`(\w+)`", row)}
    lines = [line_of[name] for layer in layers for name in re.findall(r"\w+", layer)]
    assert lines == sorted(lines)


# --- README, CONTRIBUTING and the rest ------------------------------------------------------------------------

# Variables that our own processes pass to each other, or that belong to the terminal; nobody sets them for nyxcore.
INTERNAL = {
    "CELERY_SKIP_CHECKS",
    "DJANGO_SETTINGS_MODULE",
    "NYXCORE_READY_FILE",
    "PATH",
    "PYTHONPATH",
    "TERM",
}
INTERNAL |= {"PYTHONUNBUFFERED"}


def variables_read(path: Path) -> Iterator[str]:
    """Names of environment variables that a module reads."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = ast.unparse(node.func)
            if re.fullmatch(r"env_\w+|(os\.environ|env|given)\.get|os\.getenv", called):
                yield str(node.args[0].value)
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "env"):
            yield ast.unparse(node.slice).strip("'")
        elif isinstance(node, ast.Compare) and ast.unparse(node.comparators[0]) == "os.environ":
            yield ast.unparse(node.left).strip("'")


def settings_told() -> dict[str, str]:
    """Name and default of each row of the README's table of settings."""
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", heading(README, "Settings"), re.M)
    assert len(rows) == len(dict(rows))
    return dict(rows)


def test_readme_tells_every_environment_variable_and_no_other() -> None:
    read = {name for path in SOURCES for name in variables_read(path) if name.isupper()}
    assert set(settings_told()) == read - INTERNAL


def test_readme_tells_the_defaults() -> None:
    told = settings_told()
    source = (ROOT / "nyxcore/settings.py").read_text(encoding="utf-8")
    numbers = re.findall(r'env_(?:int|float)\(\s*"(\w+)", ([\d_]+)', source)
    assert len(numbers) > 10
    for name, default in numbers:
        assert re.match(r"[\d,]+", told[name])[0].replace(",", "") == default.replace("_", ""), name  # type: ignore[index]


def test_the_tests_run_by_make_test() -> None:
    assert "\nmake test\n" in README


def code_in(document: str) -> str:
    """The blocks and the inline pieces of code."""
    return "\n".join(re.findall(r"^```.*?^```|^ {4}.*?$|`[^`\n]+`", DOCUMENTS[document], re.M | re.S))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_that_are_named_exist(document: str) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"\bmake (\w+)", code_in(document))) <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_that_are_named_exist(document: str) -> None:
    named = set(re.findall(r"manage\.py ([a-z_]+)", DOCUMENTS[document]))
    assert named <= set(get_commands())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", DOCUMENTS[document])
    for link in (first or second for first, second in links):
        path, _, anchor = link.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        target = folder / path if path else ROOT / document
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in slugs, link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    """Whole paths below the folders of the code; names with <angle brackets> stand for many."""
    named = re.findall(
        r"`((?:nyxcore|workflows|tests|bench|docs|static|templates)/[\w./-]+)`", DOCUMENTS[document]
    )
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("slug", catalog.load_all())
def test_every_template_is_told(slug: str) -> None:
    spec = catalog.load_all()[slug]
    assert f"*{spec.name}*" in README
    assert f"`{slug}.yaml`" in README


def test_pictures_are_there_and_small() -> None:
    shown = set(re.findall(r"docs/pictures/([\w-]+\.png)", README))
    there = {path.name: path.stat().st_size for path in (ROOT / "docs/pictures").glob("*.png")}
    assert shown <= set(there)
    assert max(there.values()) <= 200_000
