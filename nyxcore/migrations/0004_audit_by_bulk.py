"""The index that finds the audit entries of a bulk action, built while others are written.

A build that was interrupted leaves an invalid index, which the next start of the migration removes.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("nyxcore", "0003_audit_bulk")]

    operations = [
        # It waits for transactions that are older, and nobody waits for it.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS audit_by_bulk", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="auditentry",
            index=models.Index(condition=models.Q(("bulk__isnull", False)), fields=["bulk"], name="audit_by_bulk"),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
