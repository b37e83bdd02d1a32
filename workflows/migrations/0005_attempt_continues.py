"""An index for the few attempts that go on from another, built while the table is in use.

Without CONCURRENTLY it would wait for every writer of the busiest table and hold up all that come after: a heartbeat
that waits behind it costs its worker the lease. A build that was interrupted leaves an invalid index, which the
next start of the migration removes.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("workflows", "0004_own_templates")]

    operations = [
        # It waits for transactions that are older, and nobody waits for it.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS attempt_continues", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="stepattempt",
            index=models.Index(condition=models.Q(("continues__isnull", False)), fields=["continues"], name="attempt_continues"),
        ),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
