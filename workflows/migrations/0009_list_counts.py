"""An index that answers what the list asks of all runs (how many of each status, which templates), built in use.

A build that was interrupted leaves an invalid index, which the next start of the migration removes.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

INDEX = models.Index(fields=["owner", "status", "template_slug"], name="workflow_counts")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("workflows", "0008_job_of_analysis")]

    operations = [
        # It waits for transactions that are older, and nobody waits for it.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX.name}", migrations.RunSQL.noop),
        AddIndexConcurrently(model_name="workflow", index=INDEX),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
