"""The port of an address belongs to the source: two servers on one host share no history.

Runs on an address with a port get the key that they would have today, and take their documents along. A tracked
finding goes with the run that has seen it last; where no run is left under the old key, all go.
"""

import hashlib
import json
from urllib.parse import urlsplit

from django.db import migrations


def digest(*parts):
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def keys(run):
    """(the key as it was made, as it is made now)."""
    parts = urlsplit(run.location.strip())
    path = parts.path.rstrip("/").removesuffix(".git").rstrip("/")
    host = (parts.hostname or "").lower()
    port = "" if parts.port in (None, 443) else f":{parts.port}"
    sub_path = run.sub_path.strip("/")
    return tuple(digest("git", f"{name}{path}".strip(), sub_path) for name in (host, f"{host}{port}"))


def with_port(apps, schema_editor):
    runs = apps.get_model("analysis", "AnalysisRun").objects
    documents = apps.get_model("analysis", "Document").objects
    tracked = apps.get_model("analysis", "TrackedFinding").objects
    moved = {}
    with_ports = runs.filter(source_kind="git", location__regex=r"^https?://[^/]*:[0-9]+(/|$)")
    for run in with_ports.only("pk", "owner_id", "location", "sub_path", "source_key").order_by("pk"):
        before, now = keys(run)
        if before == now or run.source_key != before:
            continue
        runs.filter(pk=run.pk).update(source_key=now)
        documents.filter(run=run.pk, source_key=before).update(source_key=now)
        tracked.filter(last_seen=run.pk, source_key=before).update(source_key=now)
        moved[run.owner_id, before] = now
    for (owner, before), now in moved.items():
        if not runs.filter(owner=owner, source_key=before).exists():
            tracked.filter(owner=owner, source_key=before).update(source_key=now)


class Migration(migrations.Migration):
    dependencies = [("analysis", "0004_hot_path")]
    operations = [migrations.RunPython(with_port, migrations.RunPython.noop)]
