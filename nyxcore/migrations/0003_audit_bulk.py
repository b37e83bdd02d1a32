"""Audit entries name the bulk action that they belong to."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("nyxcore", "0002_bulk_action")]

    operations = [
        migrations.AddField(
            model_name="auditentry",
            name="bulk",
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="nyxcore.bulkaction"),
        ),
    ]
