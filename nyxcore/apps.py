from django.apps import AppConfig


class NyxcoreConfig(AppConfig):
    name = "nyxcore"

    def ready(self) -> None:
        """Signing out ends a person's event streams, in all processes; a broken connection is not met twice."""
        from nyxcore import contact, live

        live.connect_signals()
        contact.connect_signals()
