"""Indexes for long queues and many rows. A fair claim reads one of them: who an attempt is served for stands in its own row, put there by the database.

Ended attempts keep 0: nobody claims them. An index for each status that is looked for takes the place of one over all
open rows. The table is locked for as long as it takes to read it once: about half a second for a million attempts.
"""

import pgtrigger.compiler
import pgtrigger.migrations
from django.conf import settings
from django.db import migrations, models


FILL = """
UPDATE workflows_stepattempt a SET served_for = w.owner_id
  FROM workflows_step s JOIN workflows_workflow w ON w.id = s.workflow_id
 WHERE s.id = a.step_id AND a.status IN ('pending', 'running', 'waiting')
"""


class Migration(migrations.Migration):

    dependencies = [
        ('workflows', '0005_attempt_continues'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        pgtrigger.migrations.RemoveTrigger(
            model_name='stepattempt',
            name='numbers',
        ),
        migrations.RemoveIndex(
            model_name='stepattempt',
            name='attempt_open',
        ),
        migrations.AddField(
            model_name='stepattempt',
            name='served_for',
            field=models.BigIntegerField(db_default=0, editable=False),
        ),
        migrations.AddIndex(
            model_name='stepattempt',
            index=models.Index(condition=models.Q(('status', 'pending')), fields=['served_for', 'queued_at', 'id'], name='attempt_pending'),
        ),
        migrations.AddIndex(
            model_name='stepattempt',
            index=models.Index(condition=models.Q(('status', 'running')), fields=['served_for'], name='attempt_running'),
        ),
        migrations.AddIndex(
            model_name='stepattempt',
            index=models.Index(condition=models.Q(('status', 'waiting')), fields=['id'], name='attempt_waiting'),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='stepattempt',
            trigger=pgtrigger.compiler.Trigger(name='numbers', sql=pgtrigger.compiler.UpsertTriggerSql(declare='DECLARE last integer;', func="\n                    SELECT coalesce(max(number), 0) INTO last FROM workflows_stepattempt\n                     WHERE step_id = NEW.step_id AND branch = NEW.branch;\n                    IF NEW.number <> last + 1 THEN\n                        RAISE EXCEPTION 'attempt % of step % would leave a gap after %', NEW.number, NEW.step_id, last\n                            USING ERRCODE = 'check_violation';\n                    END IF;\n                    NEW.served_for := coalesce((SELECT w.owner_id FROM workflows_workflow w\n                        JOIN workflows_step s ON s.workflow_id = w.id WHERE s.id = NEW.step_id), 0);\n                    RETURN NEW;\n                ", hash='28c445d8d41536986ad8815fe977a6905ee10e26', operation='INSERT', pgid='pgtrigger_numbers_e5c91', table='workflows_stepattempt', when='BEFORE')),
        ),
        migrations.AddIndex(
            model_name='step',
            index=models.Index(condition=models.Q(('status__in', ['running', 'waiting', 'cut_off'])), fields=['workflow', 'status'], name='step_at_work'),
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
