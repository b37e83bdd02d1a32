"""Indexes for the sweep and the end of a unit, built while the tables are in use.

A build that was interrupted leaves an invalid index, which the next start of the migration removes.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

INDEXES = [
    ("unitattempt", models.Index(condition=models.Q(("status", "waiting")), fields=["id"], name="unit_attempt_waiting")),
    ("unit", models.Index(condition=models.Q(("status", "running")), fields=["run"], name="unit_at_work")),
    ("unit", models.Index(condition=models.Q(("status", "pending")), fields=["run", "kind"], name="unit_in_line")),
]


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("analysis", "0002_storage")]

    operations = [
        # It waits for transactions that are older, and nobody waits for it.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", migrations.RunSQL.noop) for _model, index in INDEXES),
        *(AddIndexConcurrently(model_name=model, index=index) for model, index in INDEXES),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
