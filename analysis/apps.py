from pathlib import Path
from typing import Any

from django.apps import AppConfig


class AnalysisConfig(AppConfig):
    name = "analysis"

    def ready(self) -> None:
        """Tell the kernel of the rows that this app stores."""
        from celery.signals import worker_init

        from analysis import operated, recovery
        from analysis.active import SOURCE as ACTIVE
        from analysis.bulk import SOURCE as BULK
        from analysis.models import AnalysisRun
        from nyxcore import active, bulk, channels, sqlview, sweep, thinning, undo

        channels.register("analysis", lambda: AnalysisRun.objects.all())
        sweep.register(recovery.SWEPT)
        thinning.register("analyses", recovery.OLD_TEXTS)
        sweep.CHORES.append(recovery.tidy)
        active.register(ACTIVE)
        for source in (BULK, operated.RUNS):
            bulk.register(source)
        undo.register("analysisrun", operated.WAYS)
        sqlview.register("analysis", Path(self.path) / "sql" / "active.sql")
        worker_init.connect(_clean_up)


def _clean_up(**_kwargs: Any) -> None:
    """What workers of this machine have left behind when they were killed."""
    from analysis.scratch import remove_leftovers

    remove_leftovers()
