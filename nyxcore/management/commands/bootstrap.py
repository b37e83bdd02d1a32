"""`manage.py bootstrap`: bring the database up to date and make the first user. `up` runs it when needed."""

import os
import secrets
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from nyxcore import sqlview, stamp
from nyxcore.datadir import DataDir

ADMIN = "admin"
PASSWORD_FILE = "admin_password"
LOCK = 0x6E7978  # the advisory lock of two starts on one database


class Command(BaseCommand):
    help = "Bring the database up to date and make the user admin when there is no user yet."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            # A migration that waits for a table holds up everybody behind it: it gives up instead, and is run again.
            cursor.execute("RESET lock_timeout")
        try:
            self._migrate()
            sqlview.ensure()
            self._make_admin()
            with connection.cursor() as cursor:
                cursor.execute(stamp.APPLIED)
                applied = cursor.fetchone()[0]
        finally:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        folders = [
            str(Path(app.path) / name) for app in apps.get_app_configs() for name in ("migrations", "sql")
        ]
        if settings.DATA_DIR.is_dir():
            stamp.keep(DataDir(settings.DATA_DIR), folders, applied)

    def _migrate(self) -> None:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan:
            self.stdout.write(f"applying {len(plan)} migrations")
            call_command("migrate", interactive=False, verbosity=0)

    def _make_admin(self) -> None:
        User = get_user_model()
        if User.objects.exists():
            return
        given = os.environ.get("NYXCORE_ADMIN_PASSWORD", "")
        if not given and not settings.DATA_DIR.is_dir():
            raise CommandError(
                "There is no data folder to keep a random password in. Set NYXCORE_ADMIN_PASSWORD."
            )
        password = given or secrets.token_urlsafe(12)
        with transaction.atomic():
            User.objects.create_superuser(ADMIN, password=password)
            if not given:  # inside the transaction: no user without a known password
                DataDir(settings.DATA_DIR).write_private(PASSWORD_FILE, password + "\n")
        self.stdout.write(f"made the user {ADMIN}")
