from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        """Tell the kernel of the rows that this app stores."""
        from pathlib import Path

        from nyxcore import active, bulk, channels, sqlview, sweep, thinning, undo
        from workflows import operated, recovery
        from workflows.active import SOURCE as ACTIVE
        from workflows.bulk import SOURCE as BULK
        from workflows.models import Workflow

        channels.register("workflow", lambda: Workflow.objects.all())
        sweep.register(recovery.SWEPT)
        thinning.register("workflows", recovery.OLD_TEXTS)
        active.register(ACTIVE)
        for source in (BULK, operated.WORKFLOWS, operated.STEPS, operated.ATTEMPTS):
            bulk.register(source)
        undo.register("workflow", operated.WAYS)
        sqlview.register("workflow", Path(self.path) / "sql" / "active.sql")
