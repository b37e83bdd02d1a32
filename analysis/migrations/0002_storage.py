"""What Django cannot express: the composite key that ties units to the phase of their run, and storage settings.

As for workflows: whoever closes a run rewrites the phase of its units, and the CHECKs on Unit refuse those that do
not fit. No trigger could promise that against two transactions at once.
"""

from django.db import migrations

FORWARD = """
ALTER TABLE analysis_unit
    ADD CONSTRAINT unit_run_phase FOREIGN KEY (run_id, run_phase)
    REFERENCES analysis_analysisrun (id, phase) ON UPDATE CASCADE ON DELETE CASCADE;
-- Room on each page, so that heartbeats and status changes stay in place and rewrite no index.
ALTER TABLE analysis_analysisrun SET (fillfactor = 80);
ALTER TABLE analysis_unit SET (fillfactor = 70);
ALTER TABLE analysis_unitattempt SET (fillfactor = 70);
"""
BACKWARD = "ALTER TABLE analysis_unit DROP CONSTRAINT unit_run_phase;"


class Migration(migrations.Migration):
    dependencies = [("analysis", "0001_initial")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
