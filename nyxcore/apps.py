from django.apps import AppConfig


class NyxcoreConfig(AppConfig):
    name = "nyxcore"

    def ready(self) -> None:
        """Signing out ends a person's event streams, in all processes."""
        from nyxcore import live

        live.connect_signals()
