"""What Django cannot express: the composite key that ties steps to the phase of their workflow, and storage settings.

A deferred trigger in the key's place was broken by two transactions at once; the key cannot be: whoever closes a
workflow rewrites the phase of its steps, and the CHECKs on Step refuse the ones that do not fit.
"""

from django.db import migrations

FORWARD = """
ALTER TABLE workflows_step
    ADD CONSTRAINT step_workflow_phase FOREIGN KEY (workflow_id, workflow_phase)
    REFERENCES workflows_workflow (id, phase) ON UPDATE CASCADE ON DELETE CASCADE;
-- Room on each page, so that heartbeats and status changes stay in place and rewrite no index.
ALTER TABLE workflows_workflow SET (fillfactor = 80);
ALTER TABLE workflows_step SET (fillfactor = 60);
ALTER TABLE workflows_stepattempt SET (fillfactor = 70);
"""
BACKWARD = "ALTER TABLE workflows_step DROP CONSTRAINT step_workflow_phase;"


class Migration(migrations.Migration):
    dependencies = [("workflows", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
