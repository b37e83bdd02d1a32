"""Who an attempt is served for stands in its own row, put there by the database: a fair claim then reads one index.

Ended attempts keep 0: nobody claims them. The open ones are filled by the next migration.
"""

import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("workflows", "0005_attempt_continues")]

    operations = [
        migrations.AddField(
            model_name="stepattempt",
            name="served_for",
            field=models.BigIntegerField(db_default=0, editable=False),
        ),
        pgtrigger.migrations.RemoveTrigger(model_name="stepattempt", name="numbers"),
        pgtrigger.migrations.AddTrigger(
            model_name='stepattempt',
            trigger=pgtrigger.compiler.Trigger(name='numbers', sql=pgtrigger.compiler.UpsertTriggerSql(declare='DECLARE last integer;', func="\n                    SELECT coalesce(max(number), 0) INTO last FROM workflows_stepattempt\n                     WHERE step_id = NEW.step_id AND branch = NEW.branch;\n                    IF NEW.number <> last + 1 THEN\n                        RAISE EXCEPTION 'attempt % of step % would leave a gap after %', NEW.number, NEW.step_id, last\n                            USING ERRCODE = 'check_violation';\n                    END IF;\n                    NEW.served_for := coalesce((SELECT w.owner_id FROM workflows_workflow w\n                        JOIN workflows_step s ON s.workflow_id = w.id WHERE s.id = NEW.step_id), 0);\n                    RETURN NEW;\n                ", hash='28c445d8d41536986ad8815fe977a6905ee10e26', operation='INSERT', pgid='pgtrigger_numbers_e5c91', table='workflows_stepattempt', when='BEFORE')),
        ),
    ]
