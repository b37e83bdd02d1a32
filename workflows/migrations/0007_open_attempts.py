"""Indexes for long queues and many rows, one for each status that somebody looks for, built while the tables are in use.

They take the place of one over all open attempts, which stays until they are there. A build that was interrupted
leaves an invalid index, which the next start of the migration removes.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models

INDEXES = [
    ("stepattempt", models.Index(condition=models.Q(("status", "pending")), fields=["served_for", "queued_at", "id"], name="attempt_pending")),
    ("stepattempt", models.Index(condition=models.Q(("status", "running")), fields=["served_for"], name="attempt_running")),
    ("stepattempt", models.Index(condition=models.Q(("status", "waiting")), fields=["id"], name="attempt_waiting")),
    ("step", models.Index(condition=models.Q(("status__in", ["running", "waiting", "cut_off"])), fields=["workflow", "status"], name="step_at_work")),
]
# The open ones only, by their index; new ones are filled by the trigger of the migration before.
FILL = """
UPDATE workflows_stepattempt a SET served_for = w.owner_id
  FROM workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id
 WHERE s.id = a.step_id AND a.status IN ('pending', 'running', 'waiting') AND a.served_for = 0
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("workflows", "0006_fair_claim")]

    operations = [
        # It waits for transactions that are older, and nobody waits for it.
        migrations.RunSQL("SET lock_timeout = 0", migrations.RunSQL.noop),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        *(migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", migrations.RunSQL.noop) for _model, index in INDEXES),
        *(AddIndexConcurrently(model_name=model, index=index) for model, index in INDEXES),
        RemoveIndexConcurrently(model_name="stepattempt", name="attempt_open"),
        migrations.RunSQL("RESET lock_timeout", migrations.RunSQL.noop),
    ]
