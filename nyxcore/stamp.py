"""Is the database up to date? Told without loading the application, which saves a usual start a second.

After a migration `migrated.json` keeps two digests: of the code (settings, and of every app its migrations and the
SQL of its views) and of the rows in django_migrations. A restored back-up changes the second, an upgrade the first;
either makes the next start migrate again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from nyxcore.datadir import DataDir

FILE = "migrated.json"
SETTINGS = Path(__file__).with_name("settings.py")
APPLIED = "SELECT md5(string_agg(app || '.' || name, ',' ORDER BY app, name)) FROM django_migrations"


def code_digest(folders: Iterable[str]) -> str:
    """Digest of settings.py and of all Python and SQL files in `folders`; an absent folder counts as such."""
    digest = hashlib.sha256(SETTINGS.read_bytes())
    for folder in sorted(folders):
        digest.update(f"\n{folder}\n".encode())
        for file in sorted([*Path(folder).glob("*.py"), *Path(folder).glob("*.sql")]):
            digest.update(file.name.encode() + b"\n" + file.read_bytes())
    return digest.hexdigest()


def is_current(data: DataDir, query: Callable[[str], str | None]) -> bool:
    """True when neither code nor database changed since the last migration."""
    try:
        kept = json.loads((data.path / FILE).read_text())
        same_code = kept["code"] == code_digest(kept["folders"])
        known = kept["database"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # never migrated, or a file of another version: migrating again is always right
    return bool(same_code and known and known == query(APPLIED))


def keep(data: DataDir, folders: Iterable[str], database: str) -> None:
    """Remember that the database fits the code now."""
    chosen = sorted(folders)
    data.write_private(
        FILE, json.dumps({"code": code_digest(chosen), "folders": chosen, "database": database}, indent=1)
    )
