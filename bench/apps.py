from django.apps import AppConfig


class BenchConfig(AppConfig):
    name = "bench"

    def ready(self) -> None:
        """Add the step kind that does nothing, so that what is measured is the engine."""
        from bench.noop import NoopKind
        from workflows.kinds import KINDS

        KINDS["noop"] = NoopKind()
