"""What no run reads unless somebody asks for it: other people's code, products of builds, lock files, recordings."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

FOLDERS = {
    "vendored": {
        "vendor",
        "vendored",
        "_vendor",
        "node_modules",
        "bower_components",
        "third_party",
        "third-party",
        "thirdparty",
        "site-packages",
        ".venv",
        "venv",
        "Pods",
        "Carthage",
        ".yarn",
    },
    "build": {
        "dist",
        "build",
        "out",
        "target",
        "_build",
        ".next",
        ".nuxt",
        ".output",
        ".svelte-kit",
        ".gradle",
        ".tox",
        ".nox",
        "__pycache__",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "htmlcov",
        "coverage",
        ".terraform",
        "DerivedData",
    },
    "snapshot": {"__snapshots__", "__image_snapshots__", "cassettes"},
}
BUILT = (".egg-info", ".dist-info")  # ends of folders that a build of a Python package leaves
FILES = {
    "build": ("PKG-INFO",),
    "minified": (
        "*.min.js",
        "*.min.css",
        "*.min.mjs",
        "*-min.js",
        "*.bundle.js",
        "*.js.map",
        "*.css.map",
        "*.map",
    ),
    "lock_file": (
        "package-lock.json",
        "npm-shrinkwrap.json",
        "yarn.lock",
        "pnpm-lock.yaml",
        "bun.lock",
        "poetry.lock",
        "Pipfile.lock",
        "pdm.lock",
        "uv.lock",
        "Cargo.lock",
        "go.sum",
        "Gemfile.lock",
        "composer.lock",
        "mix.lock",
        "pubspec.lock",
        "Podfile.lock",
        "flake.lock",
        "packages.lock.json",
        "gradle.lockfile",
        "requirements*.lock",
    ),
    "snapshot": ("*.snap", "*.ambr"),
    "generated": (
        "*_pb2.py",
        "*_pb2.pyi",
        "*_pb2_grpc.py",
        "*.pb.go",
        "*.pb.h",
        "*.pb.cc",
        "*.g.dart",
        "*.designer.cs",
    ),
}
FOLDER_REASON = {name: reason for reason, names in FOLDERS.items() for name in names}
FILE_REASON = {pattern: reason for reason, patterns in FILES.items() for pattern in patterns}


@dataclass(frozen=True)
class Default:
    """Which default excludes a path. `part` is what a person names to read it all the same."""

    reason: str
    pattern: str
    part: str


def default_exclude(path: str, *, migrations: bool = False) -> Default | None:
    """Return the default that excludes a path, or None. Folders of migrations count unless they are wanted."""
    folder, _, name = path.rpartition("/")
    found = _of_folder(folder) if folder else None
    found = found or _of_name(name)
    if found is None and not migrations and folder.rpartition("/")[2] == "migrations" and name[:4].isdigit():
        return Default("migration", "migrations/", "migrations")
    return found


@lru_cache(maxsize=16_384)
def _of_folder(folder: str) -> Default | None:
    for part in folder.split("/"):
        if part in FOLDER_REASON:
            return Default(FOLDER_REASON[part], f"{part}/", part)
        if part.endswith(BUILT):
            return Default("build", f"{part}/", part)
    return None


@lru_cache(maxsize=16_384)
def _of_name(name: str) -> Default | None:
    for pattern, reason in FILE_REASON.items():
        if fnmatchcase(name, pattern):
            return Default(reason, pattern, name)
    return None
