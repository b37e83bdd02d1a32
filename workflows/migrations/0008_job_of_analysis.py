"""A job comes without the outputs of steps that speak of a repository: those are read with what their kind knows of
them, so that they stand in a fence in every prompt (see workflows/requests.py)."""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("workflows.migrations.0003_hot_path").JOB.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION")
NOW = BEFORE.replace("AND n.key = ANY(s.needs)", "AND n.key = ANY(s.needs) AND n.kind <> 'analysis'")


class Migration(migrations.Migration):
    dependencies = [("workflows", "0007_open_attempts")]

    operations = [migrations.RunSQL(NOW, BEFORE)]
